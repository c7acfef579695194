"""Masks led by what cells show: weighted sampling without replacement by a measure that the modality takes of each cell.

What is measured decides which cells are hidden and nothing else: the encoder gets the cells that are left, as under any other mask. Which
cells those are does tell something of the hidden ones (with ``hide: much``, that they are the detailed ones).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.gumbel import gumbel
from mae_core.masking.options import choice, number

FLOOR = 0.01
"""Of a cell's measure over the sample's mean: one that shows nothing may still be drawn."""


class VarianceMasker:
    """Cells are drawn by how much their values vary.

    Args:
        hide: ``much`` draws cells of much detail first, ``little`` those of little.
        sharpness: the measure's power in the weights: 0 draws at random, 1 in proportion, more nearly in order.
    """

    details: ClassVar[tuple[str, ...]] = ("variance",)
    """What is asked of ``Modality.detail``."""

    def __init__(self, hide: str = "much", sharpness: float = 1.0) -> None:
        self.sign = 1.0 if choice("hide", hide, ("much", "little")) == "much" else -1.0
        self.sharpness = number("sharpness", sharpness, 0)

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): log-weights plus Gumbel noise."""
        (name,) = self.details
        if context is None or context.details is None or name not in context.details:
            raise ValueError(f"{name} masking needs the {name} of cells, which only a modality can tell")
        relative = over_mean(context.details[name], cells.valid).clamp_min(FLOOR)
        noise = gumbel(draws, "mask", cells.coords.shape[-2])
        return Scored(noise + self.sign * self.sharpness * relative.log())


class EdgesMasker(VarianceMasker):
    """Cells are drawn by the size of the gradient in them."""

    details = ("edges",)


class MotionMasker(VarianceMasker):
    """Cells are drawn by how much they differ from the one before in time."""

    details = ("motion",)


def over_mean(detail: Tensor, valid: Tensor | None) -> Tensor:
    """(B, N) over the mean of each sample's valid cells; 1 everywhere where that is 0."""
    if valid is None:
        mean = detail.mean(1, keepdim=True)
    else:
        mean = torch.where(valid, detail, 0.0).sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp_min(1)
    return torch.where(mean > 0, detail / mean, 1.0)
