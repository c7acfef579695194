"""The learning rate of each step: linear warm-up, then half a cosine down to zero (He et al. 2022, Table 8), set per step."""

from __future__ import annotations

import math

BASE_LR = 4e-3
"""Per 256 samples. He et al. use 1.5e-4 over 800 epochs; runs of minutes need far more per step (docs/recipes.md)."""


def peak_lr(batch_size: int, base_lr: float = BASE_LR) -> float:
    """The linear rule: base rate × batch size / 256."""
    return base_lr * batch_size / 256


def lr_at(step: int, steps: int, peak: float, warmup: float) -> float:
    """The rate of ``step`` (from 0) of ``steps``; ``warmup`` is a share of the steps."""
    warm = max(round(steps * warmup), 1)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def averaging_at(step: int, decay: float) -> float:
    """What averaged weights keep of themselves at ``step``: ``decay``, in the first steps less, so that they forget the start."""
    return min(decay, (1 + step) / (10 + step))
