"""What a search chose for a recipe, as the stages after it read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from experiments.recipe import RecipeError


def read_best(root: Path, recipe: str) -> dict[str, Any]:
    """The values by dotted key of ``results/<recipe>/best.yaml``, none where there is no such file.

    Raises RecipeError for a damaged one.
    """
    path = root / "results" / recipe / "best.yaml"
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise RecipeError(
            f"{path} cannot be read ({' '.join(str(problem).split())}): make it again with dvc repro search@{recipe}"
        ) from None
    if not isinstance(found, dict):
        raise RecipeError(f"{path} holds no values by key: make it again with dvc repro search@{recipe}")
    return found
