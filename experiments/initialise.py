"""From a folder of somebody's own pictures to a dataset and a recipe: what ``maestro init`` writes, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

import numpy as np

from experiments.names import unfit_name
from experiments.params import enable
from experiments.recipe import Recipe
from experiments.resolving import resolve
from experiments.stages import repro, what_next
from experiments.words import amount
from experiments.yaml_files import dump_yaml
from mae_core.atomic import write_text
from mae_core.data.images import ImageProblem, is_grey, open_image
from mae_core.data.sources.folder import UNLABELLED, Item, Listing, list_files
from mae_core.flops import train_flops
from mae_core.modalities.image import LEAST_CELLS, ImageModality

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
"""What folders of an own split are called; with the first of them there, the split is kept."""
LOOKED_AT = 300
"""Pictures that are opened to find sizes and colours, evenly spread."""
SMALLEST, LARGEST, MULTIPLE = 32, 224, 16
"""Pixels a side: below 32 a picture has too few cells, 224 is what most published encoders see; 16 leaves every patch size."""
GREY_SHARE = 0.98
"""Share of grey pictures above which colour is dropped."""
GREY_DEPTH = 3.0
"""Mean difference between channels (of 255) up to which an RGB picture is grey: JPEG adds about one."""
VALIDATION, TEST = 0.1, 0.2
"""Shares that are cut where the folder has no split of its own."""
EPOCHS, FEWEST_STEPS, MOST_STEPS, BATCH = 100, 1000, 8000, 128
"""Few pictures are seen more often: below 1,000 steps nothing is learnt, 8,000 take a core about ten minutes at 32 pixels."""
SMALL_PATCH = 4
"""Pixels: below it there are very many cells."""
FEW_LABELS = (1, 5, 10, 50)


class InitialiseError(ValueError):
    """A folder that no dataset can be made of, or a name that is taken: says what to do."""


class Initialised(NamedTuple):
    """What was found and written."""

    text: str
    """For people."""
    name: str
    dataset: Path
    recipe: Path
    size: int
    channels: int


class _Found(NamedTuple):
    """What lies in the folder, by part."""

    parts: dict[str, str] | None
    """Split → subfolder; None where the folder has no split of its own."""
    listings: dict[str, Listing]
    loose: bool
    """Whether pictures beside the class folders are samples without a label."""
    passed_over: list[str]
    """Folders that are not read."""


class _Look(NamedTuple):
    """What the opened pictures are like."""

    sides: list[int]
    """The shorter side of each, pixels."""
    grey: int
    refused: list[tuple[str, str]]
    """File and reason."""


def initialise(
    folder: Path, root: Path, name: str | None = None, size: int | None = None, channels: int | None = None
) -> Initialised:
    """Writes ``experiments/datasets/NAME.yaml`` and ``experiments/recipes/NAME.yaml`` for the pictures in ``folder`` and lists them.

    Args:
        size: pixels a side; by default the largest multiple of 16 that half of the pictures fill, between 32 and 224.
        channels: 1 (grey) or 3 (RGB); by default what the pictures have.

    Raises InitialiseError for a folder without usable pictures, a name that is taken, and values that cannot be; writes nothing then.
    """
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise InitialiseError(f"{folder} is no folder: give the one your pictures are in")
    name = _name(name, folder)
    if not (root / "params.yaml").is_file():
        raise InitialiseError(f"{root.resolve()} has no params.yaml: run maestro init in the folder of a project")
    dataset, recipe = (root / "experiments" / kind / f"{name}.yaml" for kind in ("datasets", "recipes"))
    for path in (dataset, recipe):
        if path.exists():
            raise InitialiseError(f"{path} exists already and is left as it is: give another --name, or remove it")
    found = _find(folder)
    items = [item for part in found.listings.values() for item in part.items]
    if not items:
        raise InitialiseError(f"{folder} holds no pictures (.jpg, .png, .webp, .bmp, .gif, .tif), at any depth")
    look = _look(items)
    if not look.sides:
        first = "; ".join(f"{file}: {reason}" for file, reason in look.refused[:3])
        raise InitialiseError(f"{folder}: none of {len(look.refused)} pictures can be used: {first}")
    side, why_side = _side(look, size)
    depth, why_depth = _depth(look, channels)
    train = _labels_of_train(found)
    values = _recipe(side, depth, sum(train.values()), {label: n for label, n in train.items() if label})
    try:
        write_text(dataset, _dataset_yaml(folder, found, side, depth))
        write_text(recipe, _recipe_yaml(name, values))
        enable(root, name, name)
    except BaseException:
        dataset.unlink(missing_ok=True)
        recipe.unlink(missing_ok=True)
        raise
    lines = [
        *_summary(folder, found, look),
        f"{side} x {side} pixels: {why_side}",
        f"{'grey' if depth == 1 else 'colour'}: {why_depth}",
        f"patches of {values.model.patch} pixels, {values.pretrain.steps} steps of {BATCH} pictures: {_cost(values, side, depth)}",
        *_advice(train),
        f"written: {dataset}, {recipe}; listed in params.yaml",
        f"Next: {repro('prepare', name)} && maestro plan {name}",
        f"Then: {what_next(name)}",
    ]
    return Initialised("\n".join(lines), name, dataset, recipe, side, depth)


def _name(given: str | None, folder: Path) -> str:
    name = given if given is not None else re.sub(r"[^a-z0-9]+", "_", folder.name.lower()).strip("_")[:40]
    if wrong := unfit_name(name):
        raise InitialiseError(f"name {name!r}: {wrong}: give --name with another, such as my_pictures")
    return name


def _find(folder: Path) -> _Found:
    """Lists the pictures: an own split where there is a folder ``train``, else everything as one part."""
    folders = {path.name.lower(): path.name for path in sorted(folder.iterdir()) if path.is_dir()}
    parts = {part: folders[word] for part, words in PARTS.items() for word in reversed(words) if word in folders}
    if "train" not in parts:
        whole = list_files(folder, folder, "ignore")
        loose = whole.stray > 0
        return _Found(None, {"all": list_files(folder, folder, "loose") if loose else whole}, loose, [])
    others = sorted(name for name in folders.values() if name not in parts.values() and not name.startswith("."))
    listings = {part: list_files(folder / place, folder, "ignore") for part, place in parts.items()}
    loose = any(part.stray for part in listings.values())
    if loose:
        listings = {part: list_files(folder / place, folder, "loose") for part, place in parts.items()}
    return _Found(parts, listings, loose, others)


def _look(items: Sequence[Item]) -> _Look:
    """Opens up to LOOKED_AT pictures, evenly spread over the listing."""
    chosen = [items[i * len(items) // LOOKED_AT] for i in range(LOOKED_AT)] if len(items) > LOOKED_AT else list(items)
    sides: list[int] = []
    refused: list[tuple[str, str]] = []
    grey = 0
    with ThreadPoolExecutor() as pool:
        for item, seen in zip(chosen, pool.map(_open, chosen)):
            if isinstance(seen, str):
                refused.append((item.origin, seen))
                continue
            side, flat = seen
            sides.append(side)
            grey += flat
    return _Look(sides, grey, refused)


def _open(item: Item) -> tuple[int, bool] | str:
    """Shorter side and whether it is grey, or why it is refused."""
    try:
        image = open_image(item.path.read_bytes())
    except ImageProblem as problem:
        return problem.reason
    except OSError as problem:
        return f"unreadable ({problem.strerror})"
    if is_grey(image):
        return min(image.size), True
    small = image.copy()
    small.thumbnail((64, 64))
    pixels = np.asarray(small, dtype=np.float32)
    return min(image.size), bool((pixels.max(2) - pixels.min(2)).mean() <= GREY_DEPTH)


def _side(look: _Look, given: int | None) -> tuple[int, str]:
    if given is not None:
        if given < 1:
            raise InitialiseError(f"--size {given}: give pixels a side, such as 64")
        _default_patch(given)  # raises where no patch fits
        return given, "as asked for"
    middle = median_low(look.sides)
    side = min(max(middle // MULTIPLE * MULTIPLE, SMALLEST), LARGEST)
    why = f"the shorter side of half of the pictures has {middle} pixels or more, rounded down to a multiple of {MULTIPLE}"
    if side == LARGEST < middle:
        why = f"the shorter side has {middle} pixels (median); {LARGEST} is the most that is taken by default"
    if side == SMALLEST > middle:
        why = f"the shorter side has {middle} pixels (median); {SMALLEST} is the least that is taken by default"
    return side, f"{why} (--size changes it)"


def _depth(look: _Look, given: int | None) -> tuple[int, str]:
    if given is not None:
        if given not in (1, 3):
            raise InitialiseError(f"--channels {given}: pictures become 1 (grey) or 3 (RGB)")
        return given, "as asked for"
    share = look.grey / len(look.sides)
    return (1 if share >= GREY_SHARE else 3), f"{look.grey} of {len(look.sides)} opened pictures are grey"


def _labels_of_train(found: _Found) -> Counter[str]:
    """Pictures of each class (``''``: none) in what will be train."""
    items = found.listings["train" if found.parts else "all"].items
    counts = Counter(item.label or "" for item in items)
    cut = 0.0
    for part, share in (("validation", VALIDATION), ("test", TEST)):
        cut += share * (part not in found.listings)
    return Counter({label: round(n * (1 - cut)) for label, n in counts.items()})


def _default_patch(side: int) -> int:
    """The patch of square pictures. Raises ValueError where none fits."""
    return ImageModality.default_patch({"sample": {"shape": [1, side, side]}})


def _recipe(side: int, depth: int, pictures: int, labels: dict[str, int]) -> Recipe:
    """Defaults of ``Recipe`` but for what depends on the pictures: colour ones are flipped and cropped, few are seen more often."""
    patch = _default_patch(side)
    natural = depth == 3
    fewest = min(labels.values(), default=0)
    few = [n for n in FEW_LABELS if n <= max(fewest, 1)]
    return Recipe.model_validate(
        {
            "model": {"patch": patch},
            "pretrain": {
                "steps": min(max(EPOCHS * pictures // BATCH, FEWEST_STEPS), MOST_STEPS),
                "batch_size": BATCH,
                "crop": 0.5 if natural else 1.0,
                "flip": natural,
            },
            "search": {"trials": 0},
            "evaluate": {"labels_per_class": few, "finetune": {"labels_per_class": [min(10, max(fewest, 1))]}},
        }
    )


def _cost(recipe: Recipe, side: int, depth: int) -> str:
    """What training will take, whatever it runs on."""
    facts = {"sample": {"shape": [depth, side, side]}, "mean": [0.5] * depth, "std": [0.25] * depth}
    batch = recipe.pretrain.batch_size
    flops = train_flops(resolve(recipe, facts).config, batch) * batch * recipe.pretrain.steps
    return f"{amount(flops, 'FLOP')} of training ({_cheaper(side)})"


def _cheaper(side: int) -> str:
    """Which --size costs less: a smaller one, unless so small a patch is to blame that a larger side has fewer cells."""
    patch, better = _default_patch(side), -(-side // 8) * 8
    if patch < SMALL_PATCH and better // _default_patch(better) < side // patch:
        return (
            f"{side} has no larger patch that divides it into {LEAST_CELLS} cells or more: a --size that is a multiple of 8 or 16, such as "
            f"{better}, costs far less"
        )
    return "a smaller --size costs less"


def _recipe_yaml(name: str, recipe: Recipe) -> str:
    """Every section and key written out, so that ``dvc exp run -S`` finds it."""
    lines = [
        f"# Made by `maestro init` for the dataset {name}; experiments/recipe.py says what each key means and may be.",
        "# `auto` is the default, or what the search finds: set search.trials to 6 to let it look.",
    ]
    for section, keys in recipe.model_dump().items():
        lines += [f"{section}:", *(f"  {_flow(key, value)}" for key, value in keys.items())]
    return "\n".join(lines) + "\n"


def _flow(key: str, value: Any) -> str:
    """``key: value`` on one line."""
    text = dump_yaml({key: value}, default_flow_style=True, width=10**6)
    return text.strip()[1:-1]


def _dataset_yaml(folder: Path, found: _Found, side: int, depth: int) -> str:
    source: dict[str, Any] = {"kind": "folder", "path": str(folder), "size": [side, side], "channels": depth}
    if found.parts:
        source["parts"] = found.parts
    if found.loose:
        source["unlabelled"] = "loose"
    cut = {"validation": VALIDATION, "test": TEST}
    splits = {part: share for part, share in cut.items() if part not in found.listings}
    facts = {
        "schema": 1,
        "modality": "image",
        "licence": "your own files, none stated",
        "origin": f"the folder {folder.name}",
        "source": source,
        **({"splits": splits} if splits else {}),
    }
    head = "# Made by `maestro init`. After a change of the pictures: dvc repro -f prepare@NAME (DVC does not watch that folder)."
    return "\n".join([head, *(_flow(key, value) for key, value in facts.items())]) + "\n"


def _summary(folder: Path, found: _Found, look: _Look) -> list[str]:
    items = [item for part in found.listings.values() for item in part.items]
    labels = Counter(item.label for item in items if item.label)
    lines = [
        f"{folder}: {len(items)} pictures, {sum(labels.values())} labelled, {len(items) - sum(labels.values())} without a label"
    ]
    if found.parts:
        lines.append(
            "split as it lies: " + ", ".join(f"{part} {len(found.listings[part].items)}" for part in found.parts)
        )
    if labels:
        shown = ", ".join(f"{label} {n}" for label, n in sorted(labels.items())[:10])
        lines.append(f"{len(labels)} classes, by folder: {shown}{' …' if len(labels) > 10 else ''}")
    if found.passed_over:
        lines.append(
            f"not read, because train/ is there: {', '.join(found.passed_over)} (move unlabelled ones into train/{UNLABELLED}/)"
        )
    ignored = sum(part.ignored for part in found.listings.values())
    if ignored:
        lines.append(f"{ignored} other files are passed over")
    opened = len(look.sides) + len(look.refused)
    reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(reason for _, reason in look.refused).most_common(3))
    lines.append(f"{opened} opened, {len(look.refused)} of them refused{f': {reasons}' if reasons else ''}")
    return lines


def _advice(train: Counter[str]) -> list[str]:
    """What the labels allow."""
    labels = {label: n for label, n in train.items() if label}
    if not labels:
        return ["no labels: models are compared without them, and probes are skipped; class folders would give labels"]
    if len(labels) == 1:
        return ["one class only: probes are skipped; give each class a folder of its own"]
    fewest = min(labels, key=lambda label: labels[label])
    return [f"class {fewest} has about {labels[fewest]} training labels, the fewest: that is what probes go by"]
