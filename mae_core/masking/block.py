"""Block-wise masking (Bao et al. 2022, BEiT, Alg. 1): rectangles are hidden until the budget is spent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.extent import extent

RECTANGLES = 16
AREA = (0.1, 0.35)
"""Share of the grid one rectangle covers: smallest, largest."""
ASPECT = (0.3, 1 / 0.3)
"""Cells of its height over those of its width, unless the grid is too short for it."""
FLOAT_BIAS = 127
"""What the exponent of 1.0 reads in the bits of a float32."""


class BlockMasker:
    """Rectangles of drawn area, aspect and place, the first drawn hidden first; the last is cut at random to the exact count.

    They lie whole in what a sample fills of the grid.
    """

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): higher for cells of earlier rectangles; noise orders the cells of one rectangle and the uncovered rest.

        Cells need two axes (y, x).
        """
        coords = cells.coords if cells.coords.dim() == 3 else cells.coords.unsqueeze(0)
        if coords.shape[-1] != 2:
            raise ValueError(f"block masking needs cells on a 2-D grid, these have {coords.shape[-1]} axes")
        sides = extent(coords, cells.valid)
        area, aspect, top, left = draws.uniform("rectangles", 4, RECTANGLES).unbind(1)
        area = AREA[0] + area * (AREA[1] - AREA[0])
        aspect = torch.exp(math.log(ASPECT[0]) + aspect * (math.log(ASPECT[1]) - math.log(ASPECT[0])))
        size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], -1) * sides.prod(-1, keepdim=True).sqrt()
        size = torch.minimum(size.round().clamp_min(1), sides)
        # floor(u * (free + 1)) reaches the last row and column as often as the first
        start = (torch.stack([top, left], -1) * (sides - size + 1)).floor()
        down, across = _covering(coords.mT, start.mT, (start + size).mT).unbind(1)
        exponent = (down & across).float().view(
            torch.int32
        ) >> 23  # of the highest bit, in a float's own code; of none 0
        order = (exponent - (FLOAT_BIAS - 1)).clamp_min_(0)
        return Scored(order + draws.uniform("mask", coords.shape[1]))


def _covering(place: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """(B, axes, N) int: which rectangles lie over each cell along each axis, a bit each, the first drawn the highest.

    Args:
        place: (B or 1, axes, N): where cells lie.
        start: (B, axes, RECTANGLES): the first cell of each rectangle.
        end: (B, axes, RECTANGLES): the one after its last.
    """
    bit = 1 << torch.arange(RECTANGLES - 1, -1, -1, dtype=torch.int32, device=place.device)
    edges = torch.cat([start, end], -1).long()
    changes = bit.new_zeros(*edges.shape[:2], place.shape[2] + 1)
    changes.scatter_add_(2, edges, torch.cat([bit, -bit]).expand_as(edges))
    return changes.cumsum(2, dtype=torch.int32).gather(2, place.long().expand(len(edges), -1, -1))
