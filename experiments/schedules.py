"""Training by a schedule: the mask ratio and the learning rate are constant in each part of the steps and may change from part to part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_core.masking.ratio import ratios_of
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit
from mae_core.training.progress import Progress
from mae_core.training.state import TrainState, load_checkpoint, save_checkpoint

MARK = "population"
"""Fingerprint of checkpoints that members of a population hand on: they lie in the run folder of one search."""
REPORTS = 10
"""Of a part, about."""


class Part(NamedTuple):
    """A stretch of steps with constant settings."""

    end: int
    """The step after its last."""
    ratio: float
    """Share of cells hidden."""
    lr: float
    """The peak of the learning-rate curve, which goes on over all the steps."""


class Leg(NamedTuple):
    """Where a training begins and ends."""

    parts: list[Part]
    source: str | None = None
    """Folder of the checkpoint to go on from; None: the fresh state."""
    target: str | None = None
    """Folder for the checkpoint at the end."""


def play(
    state: TrainState,
    samples: np.ndarray,
    settings: Settings,
    leg: Leg,
    config: Mapping[str, Any],
    labels: np.ndarray | None = None,
) -> Iterator[Progress]:
    """Trains ``state`` through the parts of ``leg`` that it has not passed yet, and yields progress some ten times a part.

    ``settings.steps`` is the length of the whole schedule, over which the learning rate falls, whatever part is played.
    Raises CheckpointError where the source is damaged, and what ``fit`` raises.
    """
    if leg.source and not load_checkpoint(state, Path(leg.source), MARK):
        raise FileNotFoundError(f"{leg.source} holds no checkpoint to go on from: start the search again")
    for part in (Part(*one) for one in leg.parts):
        if state.step >= part.end:
            continue
        set_ratio(state.model, config, part.ratio)
        length = part.end - state.step
        every = next(d for d in range(max(length // REPORTS, 1), 0, -1) if part.end % d == 0)
        for progress in fit(state, samples, replace(settings, lr=part.lr), report_every=every, labels=labels):
            yield progress
            if state.step >= part.end:
                break
    if leg.target:
        save_checkpoint(state, Path(leg.target), MARK)


def set_ratio(model: MaskedAutoencoder, config: Mapping[str, Any], ratio: float) -> None:
    """From now on ``model`` trains as one built with this mask ratio; no weight depends on it."""
    model.ratio, model.ratios = ratio, ratios_of({**config["masking"], "ratio": ratio})
