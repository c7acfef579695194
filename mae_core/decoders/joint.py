"""The MAE decoder (He et al. 2022, §3): visible latents and mask tokens, attended jointly.

Attention does not care about order, so tokens stay as (global, kept, hidden) instead of being put back on the grid, and the last
block computes the hidden tokens alone: both are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae_core.cells import Latent, Plan
from mae_core.layers import LAYER_NORM_EPS, Block, Positions, init_linear, run_block, start_local


class JointDecoder(nn.Module):
    """A small transformer over latents and mask tokens.

    Args:
        encoder_width: D of the latents.
        width, depth, heads: of the decoder.
        local_start: keys start as queries.
        kinds: of cells; each has a mask token of its own, and where there are several, a vector that is added to its kept tokens.
    """

    def __init__(
        self,
        encoder_width: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        local_start: bool = False,
        kinds: int = 1,
    ) -> None:
        super().__init__()
        self.width, self.local_start = width, local_start
        self.recompute = False
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, kinds, width))
        self.kept_kind = nn.Parameter(torch.zeros(kinds, width)) if kinds > 1 else None
        self.positions = Positions(width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def init_weights(self) -> None:
        """As the official code."""
        nn.init.normal_(self.mask_token, std=0.02)
        if self.kept_kind is not None:
            nn.init.normal_(self.kept_kind, std=0.02)
        init_linear(self)
        if self.local_start:
            start_local(self)

    def forward(self, latent: Latent, plan: Plan, coords: Tensor, kind: Tensor | None = None) -> Tensor:
        """(B, M, D_dec): one vector for each hidden cell of ``plan``; ``kind`` (N,) says of which kind each cell is, if of several."""
        x = self.embed(latent.tokens)
        n_global, n_hide = x.shape[1] - plan.keep.shape[1], plan.hide.shape[1]
        kept = x[:, n_global:] + self.positions(coords, plan.keep)
        hidden = self._asked(plan, kind) + self.positions(coords, plan.hide)
        if self.kept_kind is not None and kind is not None:
            kept = kept + self.kept_kind[kind[plan.keep]]
        x = torch.cat([x[:, :n_global], kept, hidden.to(x.dtype)], 1)
        for i, block in enumerate(self.blocks):
            tail = n_hide if n_hide and i == len(self.blocks) - 1 else None
            x = run_block(block, x, _key_ok(plan, n_global), tail, self.recompute)
        return self.norm(x[:, x.shape[1] - n_hide :])

    def _asked(self, plan: Plan, kind: Tensor | None) -> Tensor:
        """(1, 1, D_dec) or (B, M, D_dec): the mask tokens."""
        if self.kept_kind is None:
            return self.mask_token
        if kind is None:
            raise ValueError("cells of several kinds: the decoder has to be told the kind of each")
        return self.mask_token[0][kind[plan.hide]]


def _key_ok(plan: Plan, n_global: int) -> Tensor | None:
    """(B, G + V + M) bool: which tokens are real; None where all are."""
    if plan.keep_ok is None or plan.hide_ok is None:
        return None
    always = plan.keep_ok.new_ones(len(plan.keep_ok), n_global)
    return torch.cat([always, plan.keep_ok, plan.hide_ok], 1)
