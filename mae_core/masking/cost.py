"""What learned masks cost beside the passes that train the model, from a config, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mae_core.masking.bandit import PROBE
from mae_core.masking.making import options_of
from mae_core.masking.policy import scorer_flops
from mae_core.masking.rewards import REWARDS
from mae_core.masking.updates import UPDATES
from mae_core.registry import resolve

BATCH = 128
"""Samples of a step, among which what is done once a step is shared out: the recipes' own number."""


class Learning(NamedTuple):
    """For each training sample of a step, in the mean over steps."""

    masked: float = 0.0
    """Forward passes of the masked model, without backward."""
    views: float = 0.0
    """Of the encoder over visible cells."""
    whole: float = 0.0
    """Encodings of whole samples."""
    scorer: float = 0.0
    """FLOPs of the policy's network, its own training included."""


def learning(masking: Mapping[str, Any], cells: int, width: int) -> Learning:
    """What a ``policy`` or a ``bandit`` takes of ``cells`` cells of ``width``; nothing of other strategies."""
    told = {**options_of(masking["strategy"]), **(masking.get("options") or {})}
    if masking["strategy"] == "bandit":
        return Learning(masked=PROBE / BATCH / told["every"])
    if masking["strategy"] != "policy":
        return Learning()
    needs = resolve(REWARDS, told["reward"], "reward").needs
    steps = 1 + 3 * resolve(UPDATES, told["update"], "update").epochs
    learned = 1 - told["random"]  # batches that are masked at random teach nothing
    drawn = learned * told["plans"]
    return Learning(
        learned * needs.passes,
        drawn * needs.views,
        learned * needs.bank / BATCH,
        drawn * steps * scorer_flops(cells, width, told["hidden"]),
    )
