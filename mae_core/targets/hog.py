"""Histograms of oriented gradients (Dalal & Triggs 2005, §6) as what is predicted (Wei et al. 2022, MaskFeat, §3.2)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.cells import Cells, Plan
from mae_core.targets.pixels import NotShown, Pixels

BINS = 9
"""Orientations, evenly over half a turn: a gradient and its opposite are alike."""
SIDE = 8
"""Pixels a side of a histogram, at most; it is the largest divisor of the patch's side up to this, so that histograms tile cells."""
EPS = 1e-5
"""Added to a histogram's norm; flat places stay near zero."""


class Hog(NotShown, Pixels):
    """The histograms of a cell of pixels behind one another, for each channel, each of unit length; a clip has some for every frame."""

    name = "hog"

    def __init__(self, modality: Any, loss: str = "l2") -> None:
        if not hasattr(modality, "to_map") or not hasattr(modality, "channels"):
            raise ValueError(f"target 'hog' is for pictures, not for {type(modality).__name__}")
        super().__init__(modality, loss)
        self.modality = modality
        height, width = modality.patch[-2:]
        self.window = largest_divisor(height), largest_divisor(width)
        self.tiles = (*modality.patch[:-2], height // self.window[0], width // self.window[1])
        self.values_per_cell = math.prod(self.tiles) * modality.channels * BINS

    def target(self, cells: Cells, plan: Plan) -> Tensor:
        """(B, N, P'): ordered as a cell's pixels are, a histogram in place of each pixel."""
        grid, channels = self.modality.grid, self.modality.channels
        found = histograms(self.modality.to_map(cells.values.float()), self.window)
        k = len(grid)
        sides = [side for pair in zip(grid, self.tiles) for side in pair]
        found = found.reshape(-1, channels, *sides, BINS)
        found = found.permute(0, *range(2, 2 * k + 2, 2), *range(3, 2 * k + 2, 2), 1, 2 * k + 2)
        return found.reshape(-1, math.prod(grid), self.values_per_cell)


def histograms(picture: Tensor, window: tuple[int, int]) -> Tensor:
    """(…, H, W) → (…, H / h, W / w, BINS): gradient magnitudes by orientation, each window's of unit length.

    Gradients are central differences, the border repeated; a gradient votes for the two nearest orientations in proportion.
    """
    along = torch.cat([picture[..., :1], picture, picture[..., -1:]], -1)
    down = torch.cat([picture[..., :1, :], picture, picture[..., -1:, :]], -2)
    x, y = along[..., 2:] - along[..., :-2], down[..., 2:, :] - down[..., :-2, :]
    size = torch.hypot(x, y)
    turn = torch.atan2(y, x).remainder(math.pi) / math.pi * BINS - 0.5
    found = []
    for middle in range(BINS):
        away = (turn - middle + BINS / 2).remainder(BINS) - BINS / 2
        votes = size * (1 - away.abs()).clamp_min(0)
        found.append(F.avg_pool2d(votes.reshape(-1, *votes.shape[-2:]), window))
    whole = torch.stack(found, -1)
    whole = whole.reshape(*picture.shape[:-2], *whole.shape[1:])
    return whole / (whole.norm(dim=-1, keepdim=True) + EPS)


def largest_divisor(side: int, most: int = SIDE) -> int:
    """Of ``side``, up to ``most``."""
    return max(d for d in range(1, min(side, most) + 1) if side % d == 0)
