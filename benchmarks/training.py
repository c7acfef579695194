"""A training of a sweep: all that decides what it gives, and the state that it begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError

from experiments.given_models import load_weights
from experiments.recipe import Recipe, RecipeError, explain
from experiments.resolving import resolve
from mae_core.data.dataset import Dataset
from mae_core.flops import train_flops
from mae_core.teacher import weights_sum
from mae_core.training.loop import Settings, start
from mae_core.training.precision import choose_precision
from mae_core.training.state import TrainState


class Training(NamedTuple):
    """One of a recipe on a dataset."""

    root: Path
    """Of the project: the model folders that the recipe names lie below it."""
    data: Dataset
    recipe: Recipe
    config: dict[str, Any]
    """What MaskedAutoencoder.build takes."""
    settings: Settings
    device: str

    def told(self) -> list[Any]:
        """For ``spread.file_of``: another for other samples, labels or first weights, another precision that ``auto`` is here, or a GPU.

        Raises ValueError where ``pretrain.init_from`` is no model folder.
        """
        precision = choose_precision(self.settings.precision, torch.device(self.device)).name
        settings = asdict(replace(self.settings, precision=precision))
        init = self._folder(self.recipe.pretrain.init_from)
        told = [self.data.fingerprint, self.config, settings, weights_sum(init) if init else None]
        return told if self.device == "cpu" else [*told, self.device]

    @property
    def step_flops(self) -> float:
        """FLOPs of a step of the whole batch."""
        batch = self.settings.batch_size
        return batch * train_flops(self.config, batch)

    def begin(self) -> TrainState:
        """Fresh weights, or those that the recipe starts from, and the frozen features that it predicts.

        Raises ValueError where a folder holds another model than is asked for.
        """
        init, features = self.recipe.pretrain.init_from, self.recipe.objective.features_from
        state = start(self.config, self.settings, self.device, features_from=self._folder(features))
        if folder := self._folder(init):
            load_weights(state, str(folder))
        return state

    def _folder(self, name: str | None) -> Path | None:
        return self.root / name if name else None


def training_of(
    root: Path, data: Dataset, recipe: Recipe, device: str, chosen: Mapping[str, Any] | None = None
) -> Training:
    """What ``recipe`` trains on ``data``, with what a search chose (dotted keys). Raises RecipeError where that cannot be."""
    resolved = resolve(recipe, data.info, dict(chosen or {}), data.modality, root)
    return Training(root, data, recipe, resolved.config, resolved.settings, device)


def recipe_with(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """``recipe`` with other values at dotted keys. Raises RecipeError for a key or a value that no recipe has."""
    told = recipe.model_dump()
    for name, value in changes.items():
        *above, last = name.split(".")
        place: Any = told
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise RecipeError(f"{name}: {part} is a value and holds no keys")
        place[last] = value
    try:
        return Recipe.model_validate(told)
    except ValidationError as problem:
        raise RecipeError("; ".join(explain(problem, Recipe))) from None
