"""What learned masks cost beside the passes that train the model, from a config, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mae_core.masking import MASKERS
from mae_core.masking.making import options_of
from mae_core.registry import resolve

BATCH = 128
"""Samples of a step, where nobody says: the recipes' own number."""


class Learning(NamedTuple):
    """For each training sample of a step, in the mean over steps."""

    masked: float = 0.0
    """Forward passes of the masked model, without backward."""
    views: float = 0.0
    """Of the encoder over visible cells."""
    whole: float = 0.0
    """Encodings of whole samples."""
    taught: float = 0.0
    """What teachers say of a whole sample, where something asks them."""
    scorer: float = 0.0
    """FLOPs of a network that scores cells, its own training included."""


def learning(masking: Mapping[str, Any], cells: int, width: int, batch: int) -> Learning:
    """What the strategy's class says in ``learning`` for ``cells`` cells of ``width``; nothing of one that says nothing.

    What is done once a step is shared out among its ``batch`` samples.
    """
    strategy = masking["strategy"]
    kind = resolve(MASKERS, strategy, "masking strategy")
    if not hasattr(kind, "learning"):
        return Learning()
    told: Learning = kind.learning({**options_of(strategy), **(masking.get("options") or {})}, cells, width, batch)
    return told
