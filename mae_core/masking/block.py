"""Block-wise masking (Bao et al. 2022, BEiT, Alg. 1): rectangles are hidden until the budget is spent."""

from __future__ import annotations

import math

import torch

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws

RECTANGLES = 16
AREA = (0.1, 0.35)
"""Share of the grid one rectangle covers: smallest, largest."""
ASPECT = (0.3, 1 / 0.3)


class BlockMasker:
    """Rectangles of drawn area, aspect and place, the first drawn hidden first; the last is cut at random to the exact count."""

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): higher for cells of earlier rectangles; noise orders the cells of one rectangle and the uncovered rest.

        Cells need two axes (y, x).
        """
        coords = cells.coords if cells.coords.dim() == 3 else cells.coords.unsqueeze(0)
        if coords.shape[-1] != 2:
            raise ValueError(f"block masking needs cells on a 2-D grid, these have {coords.shape[-1]} axes")
        sides = coords.amax(1, keepdim=True) + 1
        area, aspect, top, left = draws.uniform("rectangles", 4, RECTANGLES).unbind(1)
        area = AREA[0] + area * (AREA[1] - AREA[0])
        aspect = torch.exp(math.log(ASPECT[0]) + aspect * (math.log(ASPECT[1]) - math.log(ASPECT[0])))
        size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], -1) * sides
        size = torch.minimum(size.round().clamp_min(1), sides)
        # floor(u * (free + 1)) reaches the last row and column as often as the first
        start = (torch.stack([top, left], -1) * (sides - size + 1)).floor()
        (y, x), (top, left), (bottom, right) = (
            at.unsqueeze(axis).unbind(-1) for at, axis in ((coords, 1), (start, 2), (start + size, 2))
        )
        inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
        order = torch.arange(RECTANGLES, 0, -1, device=coords.device, dtype=torch.uint8)
        return Scored((inside * order[:, None]).amax(1) + draws.uniform("mask", coords.shape[1]))
