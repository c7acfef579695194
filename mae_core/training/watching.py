"""What is watched while masks are learned: a probe of the features, so that a reward that rises for nothing shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from mae_core.draws import permutation
from mae_core.evaluation.features import Samples, extract
from mae_core.evaluation.knn import knn_accuracy

WATCHED = 512
"""Labelled training samples, drawn once and always the same."""


class Watch:
    """How well k-NN tells classes apart by the features of whole samples: one half of those that are watched votes for the other.

    Args:
        samples: (n, …) of the train split.
        labels: (n,), −1 where there is none; None where nothing is known.
    """

    def __init__(self, samples: Samples, labels: np.ndarray | None) -> None:
        labels = np.full(len(samples), -1) if labels is None else labels
        known = np.flatnonzero(labels >= 0)
        rows = known[permutation(len(known), "watched")[:WATCHED].numpy()]
        self.samples, self.labels = samples[rows] if len(rows) > 1 else None, labels[rows]

    def says(self, model: Any, parts: dict[str, Tensor]) -> dict[str, float]:
        """What a learner of masks tells, by name, and ``mask/probe`` behind it where there are labels."""
        told = {name: float(part) for name, part in parts.items()}
        if self.samples is None:
            return told
        x, y = extract(model, self.samples), self.labels
        return told | {"mask/probe": knn_accuracy(x[::2], y[::2], x[1::2], y[1::2])}
