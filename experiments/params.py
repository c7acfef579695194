"""``params.yaml``: which recipe trains on which dataset. Rows are added without touching its comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from experiments.recipe import NAME, RecipeError
from experiments.yaml_files import read_yaml
from mae_core.atomic import write_text
from mae_core.modalities import MODALITIES
from mae_core.registry import nearest


class Row(NamedTuple):
    """What params.yaml says of a recipe."""

    dataset: str
    modality: str


def read_params(root: Path = Path()) -> dict[str, Any]:
    """What params.yaml lists; empty where there is none. Raises RecipeError where it is no mapping."""
    path = root / "params.yaml"
    params: Any = read_yaml(path, RecipeError) if path.is_file() else {}
    if not isinstance(params, dict):
        raise RecipeError(f"{path} holds a {type(params).__name__} instead of a mapping of datasets and recipes")
    return params


def recipe_row(name: str, root: Path = Path()) -> Row:
    """The dataset and modality that params.yaml pairs with a recipe."""
    path = root / "params.yaml"
    rows = read_params(root).get("recipes") or {}
    if not isinstance(rows, dict):
        raise RecipeError(f"{path}: recipes is a {type(rows).__name__} instead of a mapping of names to rows")
    if name not in rows:
        raise RecipeError(
            f"{path} does not list the recipe {name!r}{nearest(name, map(str, rows))}: add\n"
            f"  {name}: {{dataset: NAME, modality: image}}\nunder recipes, or run `maestro enable {name} --dataset NAME`"
        )
    row = rows[name] or {}
    if not isinstance(row, dict) or not all(isinstance(value, str) for value in row.values()):
        raise RecipeError(f"{path}: recipes.{name} is {row!r} instead of {{dataset: NAME, modality: image}}")
    missing = {"dataset", "modality"} - set(row)
    if missing:
        raise RecipeError(f"{path}: recipes.{name} lacks {', '.join(sorted(missing))}")
    if row["modality"] not in MODALITIES:
        raise RecipeError(f"{path}: recipes.{name}.modality {row['modality']!r}: there are {', '.join(MODALITIES)}")
    return Row(row["dataset"], row["modality"])


def enable(root: Path, recipe: str, dataset: str, modality: str = "image") -> str:
    """Lists ``recipe`` on ``dataset``, and moves it there where it is listed on another one; says which that was, '' of none.

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
    row = rows.get(recipe)
    moved = str(row.get("dataset", "")) if isinstance(row, dict) else ""
    return moved if moved != dataset else ""
