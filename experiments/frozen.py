"""Whether a frozen model, whose features a recipe predicts, reads the samples that are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from experiments.recipe import RecipeError
from mae_core.modalities import MODALITIES
from mae_core.model import read_config
from mae_core.registry import resolve


def check_frozen(folder: Path, name: str, config: Mapping[str, Any], info: dict[str, Any]) -> None:
    """Raises RecipeError where the model in ``folder`` reads other samples than a model of ``config``, or cuts them into other cells.

    Args:
        name: of the folder, as the recipe has it.
        info: ``dataset.json`` of what is trained on.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            (kind, theirs), (own, ours) = (_modality(one) for one in (read_config(folder), config))
    except ValueError as problem:
        raise RecipeError(f"objective.features_from: {problem}") from None
    reason = ""
    if kind != own:
        reason = f"is a model of modality {kind}, the dataset holds {own}"
    elif theirs.shape != ours.shape:
        reason = f"takes samples of shape {theirs.shape}, those of the dataset have {ours.shape}"
    elif differs := theirs.differs(info):
        reason = f"does not read what the dataset holds: {differs}"
    elif not torch.equal(theirs.coords, ours.coords):
        reason = f"has {len(theirs.coords)} cells where this model has {len(ours.coords)}, or in other places: take its model.patch"
    if reason:
        raise RecipeError(f"objective.features_from: {name} {reason}")


def _modality(config: Mapping[str, Any]) -> tuple[str, Any]:
    """Its name, and itself as a model of ``config`` has it."""
    asked = dict(config["modality"])
    kind = asked.pop("kind")
    return kind, resolve(MODALITIES, kind, "modality")(width=config["encoder"]["width"], **asked)
