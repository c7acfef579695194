"""Several blocks of similar size (Assran et al. 2023, I-JEPA, §3; over time, Bardes et al. 2024, V-JEPA, §3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.extent import extent
from mae_core.masking.options import interval, whole

NOISE = 1e-3
"""Orders the cells of one edge of a block, which lie equally far from its centre."""


class MultiBlockMasker:
    """Blocks grow about drawn centres, all at once, until the budget is spent: exact counts at any ratio.

    Centres are uniform, and what a sample fills of the grid is closed to a ring along both axes: a block that leaves it on one side enters
    on the other. Every cell is therefore as likely to be hidden as any other. (The published sampler places blocks whole inside the image,
    which favours its middle, and never reaches the last row and column.) Cells with a third axis, time, are hidden alike at all moments.

    Args:
        blocks: how many.
        aspect: height over width, drawn evenly in its logarithm from this interval.
        area: of blocks, relative to one another, drawn evenly.
    """

    def __init__(
        self, blocks: int = 4, aspect: Sequence[float] = (0.75, 1.5), area: Sequence[float] = (0.15, 0.2)
    ) -> None:
        self.blocks = whole("blocks", blocks)
        self.aspect, self.area = interval("aspect", aspect, 0.01, 100), interval("area", area, 1e-3, 1)

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): minus the distance to the nearest centre, in sizes of its block."""
        place = _plane(cells)
        sides = extent(place, cells.valid)
        area, aspect, down, across = draws.uniform("blocks", 4, self.blocks).unsqueeze(-1).unbind(1)
        area = torch.lerp(area.new_full((), self.area[0]), area.new_full((), self.area[1]), area)
        low, high = (math.log(end) for end in self.aspect)
        stretch = ((low + aspect * (high - low)) / 2).exp()
        size = area.sqrt()
        far = torch.maximum(
            _around(place[..., 0], down, sides[..., 0]) / (size * stretch),
            _around(place[..., 1], across, sides[..., 1]) / (size / stretch),
        )
        return Scored(NOISE * draws.uniform("mask", place.shape[1]) - far.amin(1))


def _plane(cells: Cells) -> Tensor:
    """(B or 1, N, 2): the two axes that are not time."""
    coords = cells.coords if cells.coords.dim() == 3 else cells.coords.unsqueeze(0)
    axes = coords.shape[-1]
    if axes not in (2, 3):
        raise ValueError(f"multi_block masking needs cells on a 2-D grid, or one over time; these have {axes} axes")
    kept = [axis for axis in range(axes) if axes == 2 or axis != cells.time % axes]
    return torch.stack([coords[..., axis] for axis in kept], -1)


def _around(place: Tensor, start: Tensor, side: Tensor) -> Tensor:
    """(B, blocks, N): how far the middles of cells (B or 1, N) lie from ``start`` (B, blocks, 1) in 0..1, on a ring of ``side`` cells."""
    side = side.unsqueeze(-1)
    apart = (place.unsqueeze(1) + 0.5 - start * side).abs()
    return torch.minimum(apart, side - apart)
