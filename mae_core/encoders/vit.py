"""A plain vision transformer that is given the visible cells alone (He et al. 2022, §3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mae_core.cells import Cells, Latent, Plan, pool_mean
from mae_core.layers import LAYER_NORM_EPS, Block, Positions, init_linear, run_block, start_local


class ViT(nn.Module):
    """Pre-norm transformer with one global token and fixed sin-cos positions.

    Args:
        width, depth, heads: D, blocks, attention heads.
        mlp_ratio: hidden width of the MLPs over D.
        local_start: keys start as queries.
    """

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: float = 4.0, local_start: bool = False) -> None:
        super().__init__()
        self.width, self.local_start = width, local_start
        self.recompute = False
        self.global_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = Positions(width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def init_weights(self) -> None:
        """As the official code."""
        nn.init.normal_(self.global_token, std=0.02)
        init_linear(self.blocks)
        if self.local_start:
            start_local(self.blocks)

    def forward(self, modality: Any, cells: Cells, plan: Plan | None = None, layer: int | None = None) -> Latent:
        """Encodes the kept cells of ``plan``, or every cell where it is None.

        ``layer`` stops after that many blocks (all by default) before the final norm. The pooled vector is the mean over the cells seen.
        """
        keep, ok = (None, cells.valid) if plan is None else (plan.keep, plan.keep_ok)
        x = modality.embed(cells, keep, ok) + self.positions(cells.coords, keep)
        x = torch.cat([self.global_token.expand(len(x), -1, -1), x], 1)
        key_ok = None if ok is None else torch.cat([ok.new_ones(len(ok), 1), ok], 1)
        for block in self.blocks[:layer]:
            x = run_block(block, x, key_ok, None, self.recompute)
        x = self.norm(x)
        return Latent(x, pool_mean(x[:, 1:], ok))
