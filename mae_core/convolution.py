"""Convolutions that see kept cells alone: ConvNeXt V2 blocks (Woo et al. 2023, §3) on the sites of cells.

A hidden cell has no sites at all. Only the depthwise convolution mixes cells: there the kept ones are laid out on a map that is zero
everywhere else, and only they are taken from its outcome. Everything else is computed for kept cells alone, so nothing hidden can enter,
training statistics are those of evaluation, and most of the cost shrinks with what is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.layers import LAYER_NORM_EPS, Mlp, init_linear
from mae_core.raster import fold, to_map, to_sites, unfold

TINY = 1e-6
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
"""By the number of axes."""


class ResponseNorm(nn.Module):
    """Global response normalisation: channels compete by their norm over the sites of a sample (Woo et al. 2023, §3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, ok: Tensor | None) -> Tensor:
        """(B, V, *sub, C) → the same shape; the norm is over the sites of cells that are ``ok`` (B, V)."""
        spatial = tuple(range(1, x.dim() - 1))
        square = x.float().square()
        if ok is not None:
            square = square * _beside(ok, x)
        norm = (square.sum(spatial, keepdim=True) + TINY**2).sqrt()
        share = norm / (norm.mean(-1, keepdim=True) + TINY)
        return torch.addcmul(self.shift.to(x.dtype), x, (1 + self.scale * share).to(x.dtype))


class Merge(nn.Module):
    """A convolution whose stride is its size: so many neighbouring sites of a cell become one, of another width; normalised first."""

    def __init__(self, width: int, factors: Sequence[int], out: int) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.project = nn.Linear(width * prod(factors), out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, *sub, C) → (B, V, *(sub / factors), out)."""
        return self.project(fold(self.norm(x), self.factors))


class Part(nn.Module):
    """The transposed convolution to ``Merge``: each site becomes so many, of another width; normalised first."""

    def __init__(self, width: int, factors: Sequence[int], out: int) -> None:
        super().__init__()
        self.factors = tuple(factors)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.project = nn.Linear(width, out * prod(factors))

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, *sub, C) → (B, V, *(sub · factors), out)."""
        return unfold(self.project(self.norm(x)), self.factors)


class ConvBlock(nn.Module):
    """Depthwise convolution, then norm, MLP and response norm at each site, added to what came in.

    Args:
        width: C.
        grid: cells along each axis.
        kernel: sites along each axis that the convolution reaches over; odd.
        merge: for the first block of a stage, from the width of the stage before to C, and what to merge.
    """

    def __init__(
        self, width: int, grid: Sequence[int], kernel: int, mlp_ratio: float = 4.0, merge: Merge | None = None
    ) -> None:
        super().__init__()
        self.grid = tuple(grid)
        self.merge = merge
        self.mix = CONVOLUTIONS[len(grid)](width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.response = ResponseNorm(int(width * mlp_ratio))

    def forward(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        ok: Tensor | None = None,
        gate: Tensor | None = None,
        place: Tensor | None = None,
    ) -> Tensor:
        """(B, V, *sub, C) of the cells ``keep`` (B, V), all where None → the same shape, or that of the stage.

        Cells that are not ``ok`` (B, V) touch no others, and what comes of them means nothing. ``gate`` (B,) multiplies what is added to
        each sample; ``place`` (1 or B, V, *1, C) is added to what comes in, merged.
        """
        if self.merge is not None:
            x = self.merge(x)
        if place is not None:
            x = x + place.to(x.dtype)
        added = self.norm(self._mixed(x, keep, ok))
        added = self.mlp.fc2(self.response(F.gelu(self.mlp.fc1(added)), ok))
        return x + (added if gate is None else added * _beside(gate, x))

    def _mixed(self, x: Tensor, keep: Tensor | None, ok: Tensor | None) -> Tensor:
        """The depthwise convolution of the map that is zero where nothing is kept."""
        kept = x if ok is None else x * _beside(ok, x)
        if keep is None:
            return to_sites(self._reached(to_map(kept, self.grid)), self.grid)
        index = keep.unsqueeze(-1).expand(-1, -1, prod(x.shape[2:]))
        whole = x.new_zeros(len(x), prod(self.grid), index.shape[-1])
        whole = whole.scatter_add(1, index, kept.flatten(2)).view(len(x), -1, *x.shape[2:])
        mixed = to_sites(self._reached(to_map(whole, self.grid)), self.grid)
        return mixed.flatten(2).gather(1, index).view(x.shape)

    def _reached(self, whole: Tensor) -> Tensor:
        """The convolution of a map (B, C, *sites).

        Volumes are laid out channels first: otherwise torch 2.13 on CPUs gives wrong gradients of the weights in bf16 where an axis is
        shorter than the kernel.
        """
        return self.mix(whole.contiguous() if whole.dim() == 5 else whole)


def init_convolutions(module: nn.Module) -> None:
    """Of everything below ``module``: Linears as in the transformers, depthwise weights so that the variance stays, biases zero.

    The paper's normal weights of 0.02 are meant for wide stages and long schedules; narrow ones begin with almost nothing in their blocks.
    """
    init_linear(module)
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.normal_(part.weight, std=prod(part.kernel_size) ** -0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _beside(flags: Tensor, x: Tensor) -> Tensor:
    """``flags`` (B,) or (B, V) so that they multiply ``x`` (B, V, …, C)."""
    return flags.view(*flags.shape, *(1 for _ in range(x.dim() - flags.dim()))).to(x.dtype)
