"""``params.yaml``: which recipe trains on which dataset. Rows are added without touching its comments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from experiments.names import unfit_name
from experiments.recipe import RecipeError
from experiments.yaml_files import parse_yaml, read_text, read_yaml
from mae_core.atomic import write_text
from mae_core.modalities import MODALITIES
from mae_core.registry import nearest

LIST = re.compile(r"^datasets:[ \t]*(\[(?P<names>[^\[\]#\n]*)\])?(?P<comment>[ \t]*(#.*)?)$", re.MULTILINE)
"""The datasets on one line."""


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


def _rows(params: dict[str, Any], path: Path) -> dict[Any, Any]:
    """What stands under recipes. Raises RecipeError where that is no mapping."""
    rows = params.get("recipes") or {}
    if not isinstance(rows, dict):
        raise RecipeError(f"{path}: recipes is a {type(rows).__name__} instead of a mapping of names to rows")
    return rows


def _datasets(params: dict[str, Any], path: Path) -> list[str]:
    """What stands under datasets. Raises RecipeError where that is no list of names."""
    names = params.get("datasets") or []
    if not isinstance(names, list):
        raise RecipeError(f"{path}: datasets is a {type(names).__name__} instead of a list of names, such as [mnist5k]")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise RecipeError(
            f"{path}: datasets lists {wrong[0]!r}, a {type(wrong[0]).__name__} instead of a name: put it in quotes"
        )
    return names


def recipe_row(name: str, root: Path = Path()) -> Row:
    """The dataset and modality that params.yaml pairs with a recipe."""
    path = root / "params.yaml"
    rows = _rows(read_params(root), path)
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

    Lines that need no change keep theirs, and comments. Raises RecipeError for names that cannot be part of a path or are no words in YAML,
    and where the file is not laid out as expected.
    """
    for name in (recipe, dataset):
        if wrong := unfit_name(name):
            raise RecipeError(f"name {name!r}: {wrong}: give its file another (maestro init and pin take --name)")
    path = root / "params.yaml"
    text, before = read_text(path, RecipeError), read_params(root)
    listed, rows = _datasets(before, path), _rows(before, path)
    row = {"dataset": dataset, "modality": modality}
    wanted = {
        **before,
        "datasets": listed if dataset in listed else [*listed, dataset],
        "recipes": {**rows, recipe: row},
    }
    after = text
    if dataset not in listed:
        after = LIST.sub(lambda found: _longer(found, dataset), after, count=1)
    if rows.get(recipe) != row:
        after = _with_row(after, recipe, f"{{dataset: {dataset}, modality: {modality}}}", recipe in rows)
    try:
        edited = parse_yaml(after, str(path), RecipeError)
    except RecipeError:
        edited = None
    if edited != wanted:
        raise RecipeError(
            f"{path} is laid out by hand: add {recipe} under recipes and {dataset} under datasets yourself"
        )
    write_text(path, after)
    old = rows.get(recipe)
    moved = str(old.get("dataset", "")) if isinstance(old, dict) else ""
    return moved if moved != dataset else ""


def _longer(found: re.Match[str], dataset: str) -> str:
    """The line of the datasets with one more."""
    names = (found["names"] or "").strip().rstrip(",")
    return f"datasets: [{names}{', ' * bool(names)}{dataset}]{found['comment'] or ''}"


def _with_row(text: str, recipe: str, row: str, listed: bool) -> str:
    """``text`` with a recipe's row: in the place of the old one where it is ``listed``, else the first of them."""
    old = re.compile(rf"(?P<name>\s+(['\"]?){recipe}\2\s*:)\s*\{{[^{{}}#]*\}}(?P<comment>\s*(#.*)?)")
    lines, inside = [], False
    for line in text.split("\n"):
        if re.match(r"[^\s#]", line):
            inside = line.startswith("recipes:")
        found = old.fullmatch(line) if inside and listed else None
        lines.append(f"{found['name']} {row}{found['comment']}" if found else line)
        if line.startswith("recipes:") and not listed:
            lines.append(f"  {recipe}: {row}")
    return "\n".join(lines)
