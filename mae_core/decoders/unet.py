"""A U-Net's way up over the maps of a convolutional encoder, mask tokens where cells are hidden (Tian et al. 2023, SparK, §3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mae_core.cells import Latent, Plan, gather_cells
from mae_core.convolution import ConvBlock, Part, init_convolutions
from mae_core.costs import Cost, Look, Piece, Stage, convolutional
from mae_core.layers import LAYER_NORM_EPS, run_block


class Scale(nn.Module):
    """One resolution: what came from the coarser one, plus the encoder's map with its mask token in every hidden cell, then blocks.

    Args:
        stage: of the encoder.
        width: of the decoder at this resolution.
        part: from the coarser resolution; None for the coarsest.
        depth, kernel, mlp_ratio: of the blocks.
    """

    def __init__(
        self,
        stage: Stage,
        width: int,
        grid: Sequence[int],
        part: Part | None,
        depth: int,
        kernel: int,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        self.part = part
        self.norm = nn.LayerNorm(stage.width, eps=LAYER_NORM_EPS)
        self.project = nn.Linear(stage.width, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.cells = prod(grid)
        self.blocks = nn.ModuleList(ConvBlock(width, grid, kernel, mlp_ratio) for _ in range(depth))

    def forward(
        self, kept: Tensor, coarser: Tensor | None, keep: Tensor, keep_ok: Tensor | None, there: Tensor | None
    ) -> Tensor:
        """``kept`` (B, V, *sub, C) → (B, N, *sub, width); cells that are not ``there`` (B, N) touch no others."""
        kept = self.project(self.norm(kept))
        at = keep if keep_ok is None else torch.where(keep_ok, keep, self.cells)  # padding goes behind the last cell
        whole = self.mask_token.to(kept.dtype).expand(len(kept), self.cells + 1, *kept.shape[2:]).flatten(2)
        whole = whole.scatter(1, at.unsqueeze(-1).expand(-1, -1, whole.shape[-1]), kept.flatten(2))
        x = whole[:, : self.cells].unflatten(-1, kept.shape[2:])
        if self.part is not None and coarser is not None:
            x = x + self.part(coarser)
        for block in self.blocks:
            x = block(x, None, there)
        return x


class UNetDecoder(nn.Module):
    """From the coarsest map to the finest; a hidden cell's vector is made of all its sites.

    Args:
        encoder_width: D of the latents; unused, for what is read are the maps.
        width: of the coarsest resolution and of the vectors; halved at every finer one.
        depth: blocks at each resolution.
        maps: stages of the encoder, finest first.
        grid: cells along each axis.
        kernel: sites along each axis that a convolution reaches over; odd.
    """

    reads: ClassVar[str] = "maps"
    share: ClassVar[float] = 1.0

    def __init__(
        self,
        encoder_width: int,
        width: int,
        depth: int,
        maps: Sequence[Stage],
        grid: Sequence[int],
        kernel: int = 7,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError("a U-Net of depth 0 would mix nothing: choose 1 block at each resolution or more")
        if kernel % 2 == 0 or kernel < 1:
            raise ValueError(f"kernel {kernel} has no middle: choose an odd one")
        self.width = width
        self.recompute = 0
        """How many blocks, from the first, are recomputed in backward."""
        widths = _widths(width, len(maps))
        scales: list[Scale] = []
        for number in reversed(range(len(maps))):
            part = None
            if scales:
                factors = [fine // coarse for fine, coarse in zip(maps[number].sub, maps[number + 1].sub)]
                part = Part(widths[number + 1], factors, widths[number])
            scales.append(Scale(maps[number], widths[number], grid, part, depth, kernel, mlp_ratio))
        self.blocks = nn.ModuleList(scales)
        self.out = nn.Linear(prod(maps[0].sub) * widths[0], width)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def init_weights(self) -> None:
        """Convolutions as in the encoder; mask tokens normal with a standard deviation of 0.02."""
        init_convolutions(self)
        for name, parameter in self.named_parameters():
            if name.endswith("mask_token"):
                nn.init.normal_(parameter, std=0.02)

    def forward(self, latent: Latent, plan: Plan, coords: Tensor, kind: Tensor | None = None) -> Tensor:
        """(B, M, D_dec): one vector for each hidden cell of ``plan``; what the plan does not name is nowhere."""
        assert latent.maps is not None
        there = _there(plan, coords.shape[-2])
        x = None
        for i, (scale, kept) in enumerate(zip(self.blocks, reversed(latent.maps))):
            x = run_block(scale, i < self.recompute, kept, x, plan.keep, plan.keep_ok, there)
        assert x is not None
        return self.norm(self.out(gather_cells(x.flatten(2), plan.hide)))

    @staticmethod
    def cost(options: Mapping[str, Any], look: Look, width: int, encoder: Cost) -> Cost:
        """Of one sample; ``encoder`` is that of what made the maps."""
        own, ratio, depth = options["width"], options.get("mlp_ratio", 4.0), options["depth"]
        assert look.raster is not None
        stages, axes = encoder.stages, len(look.raster.grid)
        widths = _widths(own, len(stages))
        pieces: list[Piece] = []
        for number in reversed(range(len(stages))):
            sites = prod(stages[number].sub)
            one = convolutional(
                widths[number], look.cells * sites, look.cells * sites, options.get("kernel", 7), axes, ratio, False
            )
            skip = look.kept * sites * stages[number].width
            flops, saved = depth * one.flops + 2.0 * skip * widths[number], depth * one.saved + 2.0 * skip
            entering = float(skip)
            if number + 1 < len(stages):
                coarser = look.cells * prod(stages[number + 1].sub) * widths[number + 1]
                flops += 2.0 * coarser * (sites // prod(stages[number + 1].sub)) * widths[number]
                saved, entering = saved + 2.0 * coarser, entering + coarser
            pieces.append(Piece(flops, saved, entering))
        asked = look.hidden * prod(stages[0].sub) * widths[0]
        return Cost(2.0 * asked * own, asked + look.hidden * own, tuple(pieces))


def _widths(width: int, stages: int) -> list[int]:
    """Of the resolutions, finest first."""
    if width % 2 ** (stages - 1):
        raise ValueError(
            f"decoder width {width} cannot be halved {stages - 1} times: choose a multiple of {2 ** (stages - 1)}"
        )
    return [width >> (stages - 1 - number) for number in range(stages)]


def _there(plan: Plan, cells: int) -> Tensor | None:
    """(B, N) bool: which cells the plan keeps or hides; None where it is all of them."""
    named = plan.keep.shape[1] + plan.hide.shape[1]
    if plan.keep_ok is None and plan.hide_ok is None and named >= cells:
        return None
    found = torch.zeros(len(plan.keep), cells + 1, dtype=torch.bool, device=plan.keep.device)
    for index, ok in ((plan.keep, plan.keep_ok), (plan.hide, plan.hide_ok)):
        found.scatter_(1, index if ok is None else torch.where(ok, index, cells), True)
    return found[:, :cells]
