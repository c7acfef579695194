"""A transformer whose cells come out of small convolutions (Xiao et al. 2021, Early Convolutions), each cell by itself."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mae_core.cells import Cells, gather_cells
from mae_core.convolution import CONVOLUTIONS
from mae_core.costs import Cost, Look
from mae_core.encoders.vit import ViT
from mae_core.raster import Raster

STEM = 3
"""Values along each axis that a convolution of the stem reaches over."""


class CellStem(nn.Module):
    """Two convolutions within each cell, whose edge is padded with zeros, then a linear map of all that is left.

    The second one halves every side that is 2 or longer. Norms are over a cell's own values, so nothing passes from cell to cell.
    """

    def __init__(self, raster: Raster, width: int) -> None:
        super().__init__()
        self.raster = raster
        inner = inner_width(width)
        kind = CONVOLUTIONS[len(raster.patch)]
        self.first = kind(raster.channels, inner, STEM, padding=STEM // 2)
        self.second = kind(inner, inner, STEM, stride=2, padding=STEM // 2)
        self.norms = nn.ModuleList(nn.GroupNorm(1, inner) for _ in range(2))
        self.project = nn.Linear(inner * prod(halved(raster.patch)), width)

    def init_weights(self) -> None:
        """He-normal convolutions, as rectified units want them; the projection like a Linear."""
        for part in (self.first, self.second):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, values: Tensor) -> Tensor:
        """(B, V, P) → (B, V, D)."""
        x = self.raster.sites(values).movedim(-1, 2).flatten(0, 1)
        for convolution, norm in zip((self.first, self.second), self.norms):
            x = nn.functional.gelu(norm(convolution(x)))
        return self.project(x.flatten(1)).unflatten(0, values.shape[:2])


class Hybrid(ViT):
    """A ``ViT`` with a ``CellStem`` instead of the modality's linear embedding."""

    reads: ClassVar[str] = "raster"

    def __init__(self, width: int, depth: int, heads: int, raster: Raster, **options: Any) -> None:
        super().__init__(width, depth, heads, **options)
        self.stem = CellStem(raster, width)

    def init_weights(self) -> None:
        """As ``ViT``."""
        super().init_weights()
        self.stem.init_weights()

    def embed(self, modality: Any, cells: Cells, keep: Tensor | None, ok: Tensor | None) -> Tensor:
        """Of values, cell by cell; of kept ones alone where ``keep`` says which."""
        values = cells.values if keep is None else gather_cells(cells.values, keep)
        return self.stem(values if ok is None else torch.where(ok.unsqueeze(-1), values, 0.0))

    @classmethod
    def stem_cost(cls, options: Mapping[str, Any], look: Look) -> Cost:
        """Of the convolutions and the projection."""
        raster, width = look.raster, options["width"]
        if raster is None:
            raise ValueError("a convolutional stem needs cells that tile a map")
        inner, taps = inner_width(width), STEM ** len(raster.patch)
        whole, half = prod(raster.patch), prod(halved(raster.patch))
        each = 2.0 * taps * inner * (raster.channels * whole + inner * half) + 2.0 * inner * half * width
        saved = raster.channels * whole + 3.0 * inner * (whole + half)
        return Cost(look.kept * each, look.kept * saved)


def inner_width(width: int) -> int:
    """Channels of the stem's convolutions."""
    return max(width // 4, 1)


def halved(patch: tuple[int, ...]) -> tuple[int, ...]:
    """Sites of a cell behind the stem's second convolution."""
    return tuple(-(-side // 2) for side in patch)
