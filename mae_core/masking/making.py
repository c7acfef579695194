"""From a model's ``masking`` config to its masker, and what a masker may know."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from mae_core.cells import Cells, Context
from mae_core.masking import MASKERS
from mae_core.modalities.base import Modality
from mae_core.registry import nearest, resolve

NOT_OPTIONS = ("weights", "width")
"""Of constructors: what a recipe says elsewhere, and what the model says."""


def make_masker(masking: Mapping[str, Any], width: int = 0) -> Any:
    """The masker that ``masking`` describes: ``strategy``, and where they are there ``options`` and ``weights``.

    ``width`` is D of the embedding, which a learned masker reads. Raises ValueError naming what a masker does not know.
    """
    strategy, options = masking["strategy"], dict(masking.get("options") or {})
    kind = resolve(MASKERS, strategy, "masking strategy")
    takes = options_of(strategy)
    for name in options:
        if name not in takes:
            known = f"there are {', '.join(takes)}" if takes else "it has none"
            raise ValueError(f"masking.options: {strategy} masking has no {name!r}{nearest(name, takes)}: {known}")
    parameters = inspect.signature(kind).parameters
    if masking.get("weights") is not None:
        if "weights" not in parameters:
            raise ValueError(f"masking.weights is for weight_map masking, not for {strategy}: set it to null")
        options["weights"] = masking["weights"]
    if "width" in parameters:
        options["width"] = width
    return kind(**options)


def options_of(strategy: str) -> dict[str, Any]:
    """Name → default of what ``masking.options`` may hold for a strategy."""
    found = inspect.signature(resolve(MASKERS, strategy, "masking strategy")).parameters
    return {name: parameter.default for name, parameter in found.items() if name not in NOT_OPTIONS}


def looks_of(masking: Mapping[str, Any]) -> int:
    """How many masks a training tries on each sample at each step: what a learned strategy's ``plans`` say, of others ``looks``.

    One where nothing is hidden, since all would be the same.
    """
    if not masking["ratio"]:
        return 1
    told = {**options_of(masking["strategy"]), **(masking.get("options") or {})}
    return int(told.get("plans", masking.get("looks", 1)))


def context_for(masker: Any, modality: Modality, cells: Cells, context: Context) -> Context:
    """``context`` with what ``masker`` asks of the modality: ``details`` by name, or where it is ``learned`` the embedding.

    Both are taken of all cells, without gradient, and in float32 so that masks do not depend on the precision of the training.
    """
    details, learned = getattr(masker, "details", ()), getattr(masker, "learned", False)
    if not details and not learned:
        return context
    with torch.no_grad(), torch.autocast(cells.coords.device.type, enabled=False):
        if learned:
            context = context._replace(embedding=modality.embed(cells).float())
        if details:
            context = context._replace(details={name: modality.detail(cells, name).float() for name in details})
    return context
