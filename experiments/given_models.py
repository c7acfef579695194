"""Models that a recipe is given: the one that a training starts from, and the frozen one whose features it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from experiments.recipe import RecipeError
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder, read_config
from mae_core.registry import resolve
from mae_core.training.state import TrainState

FREE = {"drop_path", "global_pool", "layer_scale", "local_start", "share"}
"""Keys of networks that change no meaning of their weights, so that a training may begin with another value of them."""


def check_given(key: str, folder: Path, name: str, config: Mapping[str, Any], info: dict[str, Any]) -> None:
    """Raises RecipeError where the model in ``folder`` reads other samples than a model of ``config``, or cuts them into other cells.

    Args:
        key: of the recipe, that names it.
        name: of the folder, as the recipe has it.
        info: ``dataset.json`` of what is trained on.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            (kind, theirs), (own, ours) = (_modality(one) for one in (read_config(folder), config))
    except ValueError as problem:
        raise RecipeError(f"{key}: {problem}") from None
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
        raise RecipeError(f"{key}: {name} {reason}")


def check_start(folder: Path, name: str, config: Mapping[str, Any], info: dict[str, Any]) -> None:
    """The same of the model that a training starts from, whose networks have to be those of ``config`` too."""
    key = "pretrain.init_from"
    check_given(key, folder, name, config, info)
    if unlike := unlike_networks(read_config(folder), config):
        raise RecipeError(_another(name, unlike))


@torch.no_grad()
def load_weights(state: TrainState, folder: str) -> None:
    """Starts ``state`` from the weights of a model folder. Raises ValueError where they do not fit, heads of objectives included."""
    begun = MaskedAutoencoder.load(folder)
    saved = begun.state_dict()
    own = {name: value.shape for name, value in state.model.state_dict().items()}
    wrong = unlike_networks(begun.config, state.model.config)
    wrong += [name for name, value in saved.items() if own.get(name) != value.shape]
    if wrong or set(own) != set(saved):
        raise ValueError(_another(folder, wrong or sorted(set(own) ^ set(saved))))
    state.load_model(saved)


def unlike_networks(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Keys of two configs' networks that differ in what weights mean, whatever their shapes."""
    return [
        f"model.{what}.{key}"
        for what in ("encoder", "decoder")
        for key in sorted(set(first[what]) & set(second[what]) - FREE)
        if first[what][key] != second[what][key]
    ]


def _another(name: str, differ: list[str]) -> str:
    return f"pretrain.init_from: {name} is another architecture than this recipe's ({', '.join(differ[:3])} differ)"


def _modality(config: Mapping[str, Any]) -> tuple[str, Any]:
    """Its name, and itself as a model of ``config`` has it."""
    asked = dict(config["modality"])
    kind = asked.pop("kind")
    return kind, resolve(MODALITIES, kind, "modality")(width=config["encoder"]["width"], **asked)
