"""What a recipe says of masking beside strategy and ratio: options, schedule, and a map of weights read from a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import mae_core.registry as registry
from experiments.recipe import MaskingSection, RecipeError
from mae_core.masking.making import make_masker, options_of
from mae_core.masking.ratio import ratios_of
from mae_core.modalities import MODALITIES

DIGITS = 6
"""Significant digits of a weight that a model's config keeps."""
OF_SCHEDULE = {
    "fixed": (),
    "truncated_normal": ("deviation", "low", "high"),
    "linear": ("end",),
    "cosine": ("end",),
    "steps": ("steps",),
}
"""Kind of schedule → the keys that it reads."""


def masking_details(masking: MaskingSection, config: Mapping[str, Any]) -> dict[str, Any]:
    """What joins the ``masking`` part of a model's config; nothing for what is left as it was.

    ``config`` is the model's, with its ``modality``, ``encoder``, strategy and ratio. Raises RecipeError for options that the strategy
    does not know, a schedule that makes no sense, and a map that does not fit.
    """
    found: dict[str, Any] = {}
    schedule = masking.schedule.model_dump()
    used = OF_SCHEDULE.get(schedule["kind"], tuple(schedule))
    for key in masking.schedule.model_dump(exclude_defaults=True):
        if key not in ("kind", *used):
            raise RecipeError(
                f"masking.schedule.{key} means nothing to the kind {schedule['kind']!r}: leave it out, or choose another kind"
            )
    if schedule["kind"] != "fixed":
        found["schedule"] = {"kind": schedule["kind"], **{key: schedule[key] for key in used}}
    if masking.options:
        found["options"] = dict(masking.options)
    if masking.looks > 1:
        strategy = config["masking"]["strategy"]
        if "plans" in options_of(strategy):
            raise RecipeError(f"masking.looks: {strategy} masking has its own, masking.options.plans: set looks to 1")
        found["looks"] = masking.looks
    led = config["masking"]["strategy"] == "weight_map"
    if led and masking.weights is None:
        raise RecipeError("masking.strategy weight_map needs masking.weights: a .npy file or a picture")
    if not led and masking.weights is not None and masking.strategy != "auto":
        raise RecipeError(f"masking.weights is for weight_map, the strategy is {masking.strategy}: set it to null")
    if led:
        found["weights"] = read_map(Path(str(masking.weights)), sides_of(config))
    try:
        masker = make_masker({**config["masking"], **found})
        if hasattr(masker, "check_training"):
            masker.check_training()
        ratios_of({**config["masking"], **found})
    except ValueError as problem:
        raise RecipeError(str(problem)) from None
    return found


def sides_of(config: Mapping[str, Any]) -> list[int]:
    """Cells of a model along each axis; their number alone where they lie on no whole grid."""
    described = dict(config["modality"])
    kind = registry.resolve(MODALITIES, described.pop("kind"), "modality")
    coords = kind(width=config["encoder"]["width"], **described).coords
    sides = [int(side) + 1 for side in coords.amax(0)]
    return sides if np.prod(sides) == len(coords) else [len(coords)]


def read_map(path: Path, sides: list[int]) -> list[float]:
    """One weight for each cell, the first axis slowest, from a ``.npy`` file or a picture (bright: often hidden).

    The file has a number for each cell, or a whole number of them along each axis of the cells' grid, of which the mean is taken. Raises
    RecipeError for a file that cannot be read, and for weights that are not finite, negative, or all 0.
    """
    shape = " x ".join(map(str, sides))
    values = _numbers(path)
    if values.size == np.prod(sides) and values.ndim != len(sides):
        values = values.reshape(sides)
    if values.ndim != len(sides) or any(n % side for n, side in zip(values.shape, sides)):
        raise RecipeError(
            f"masking.weights {path} has the shape {values.shape}: {shape} numbers, one a cell, or whole multiples of them are wanted"
        )
    if not np.isfinite(values).all() or (values < 0).any():
        raise RecipeError(f"masking.weights {path} holds numbers that are negative or not finite")
    blocks = [n for side, size in zip(sides, values.shape) for n in (side, size // side)]
    means = values.reshape(blocks).mean(tuple(range(1, 2 * len(sides), 2)))
    if not means.any():
        raise RecipeError(f"masking.weights {path} is 0 everywhere: at least one cell has to be likely to be hidden")
    return [float(f"{value:.{DIGITS}g}") for value in means.ravel()]


def _numbers(path: Path) -> np.ndarray:
    """The float64 content of a file."""
    if not path.is_file():
        raise RecipeError(f"masking.weights {path} is not there: the path is meant from the project's folder")
    content = path.read_bytes()
    try:
        if path.suffix.lower() == ".npy":
            return np.load(io.BytesIO(content), allow_pickle=False).astype(np.float64)
        from PIL import Image

        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture.convert("L"), np.float64)
    except (OSError, ValueError, TypeError) as problem:
        raise RecipeError(
            f"masking.weights {path} is neither a .npy file of numbers nor a picture: {problem}"
        ) from None
