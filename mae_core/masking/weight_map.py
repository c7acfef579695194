"""Masks drawn by a map that the user gives: where the tumour, the face or the road tends to be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.gumbel import gumbel, log_weights


class WeightMapMasker:
    """Cells are drawn in proportion to their weights, without replacement; one of weight 0 after all others.

    Args:
        weights: one for each cell, not negative, the same for all samples; None: all alike.
    """

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        if weights is None:
            self.logits = None
            return
        bad = [value for value in weights if not math.isfinite(value) or value < 0]
        if bad:
            raise ValueError(f"masking.weights holds {bad[0]}: weights are finite and not negative")
        if not any(weights):
            raise ValueError("masking.weights are all 0: at least one cell has to be likely to be hidden")
        self.logits = log_weights(torch.tensor([float(value) for value in weights], device="cpu"))

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): log-weights plus Gumbel noise."""
        n = cells.coords.shape[-2]
        noise = gumbel(draws, "mask", n)
        if self.logits is None:
            return Scored(noise)
        if len(self.logits) != n:
            raise ValueError(f"masking.weights has {len(self.logits)} numbers for {n} cells")
        return Scored(noise + self.logits.to(noise.device))
