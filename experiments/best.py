"""What a search chose for a recipe, as the stages after it read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.recipe import RecipeError, value_at
from experiments.yaml_files import read_yaml


def read_best(root: Path, recipe: str) -> dict[str, Any]:
    """The values by dotted key of ``results/<recipe>/best.yaml``, none where there is no such file.

    Raises RecipeError for a damaged one.
    """
    path = root / "results" / recipe / "best.yaml"
    if not path.is_file():
        return {}
    again = f"make it again with dvc repro search@{recipe}"
    try:
        found = read_yaml(path, RecipeError)
    except RecipeError as problem:
        raise RecipeError(f"{' '.join(str(problem).split())}: {again}") from None
    if not isinstance(found, dict):
        raise RecipeError(f"{path} holds no values by key: {again}")
    try:
        return {str(key): value_at(str(key), value) for key, value in found.items()}
    except RecipeError as problem:
        raise RecipeError(f"{path}: {problem}: {again}") from None
