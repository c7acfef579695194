"""Writing ``params.yaml``: listing datasets and recipes without touching its comments."""

from __future__ import annotations

from pathlib import Path

import yaml

from experiments.recipe import NAME, RecipeError, read_params
from mae_core.atomic import write_text


def enable(root: Path, recipe: str, dataset: str, modality: str = "image") -> None:
    """Lists ``recipe`` on ``dataset``; what is listed already stays as it is.

    Raises RecipeError for names that cannot be part of a path, or where the file is not laid out as expected.
    """
    for name in (recipe, dataset):
        if not NAME.match(name):
            raise RecipeError(f"name {name!r}: use 1 to 40 of a-z, 0-9 and _")
    path = root / "params.yaml"
    text = path.read_text()
    before = read_params(root)
    listed = list(before.get("datasets") or [])
    rows = dict(before.get("recipes") or {})
    wanted_datasets = listed if dataset in listed else [*listed, dataset]
    wanted_rows = {**rows, recipe: {"dataset": dataset, "modality": modality}}
    lines = []
    for line in text.splitlines():
        if line.startswith("datasets:"):
            line = f"datasets: [{', '.join(wanted_datasets)}]"
        if recipe in rows and line.strip().startswith(f"{recipe}:"):
            continue
        lines.append(line)
        if line.startswith("recipes:"):
            lines.append(f"  {recipe}: {{dataset: {dataset}, modality: {modality}}}")
    after = "\n".join(lines) + "\n"
    try:
        edited = yaml.safe_load(after)
    except yaml.YAMLError:
        edited = None
    if edited != {**before, "datasets": wanted_datasets, "recipes": wanted_rows}:
        raise RecipeError(
            f"{path} is laid out by hand: add {recipe} under recipes and {dataset} under datasets yourself"
        )
    write_text(path, after)
