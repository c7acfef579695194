"""Which few labelled samples a probe may see: the same ones for every model."""

from __future__ import annotations

import numpy as np
import torch

from mae_core.draws import Draws


def few(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions of ``per_class`` samples of every class, or of all where a class has fewer, in ascending order.

    A function of (seed, position) alone, so every model gets the same samples, and more labels contain the fewer.
    Unlabelled samples (−1) are never chosen.
    """
    rank = Draws(seed, 0, torch.arange(len(labels))).uniform("few labels").numpy()
    order = np.argsort(rank, kind="stable")
    chosen = [order[labels[order] == name][:per_class] for name in np.unique(labels[labels >= 0])]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
