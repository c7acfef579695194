"""The MAE decoder (He et al. 2022, §3): visible latents and mask tokens, attended jointly.

Attention does not care about order, so tokens stay as (global, kept, hidden) instead of being put back on the grid, and the last
block computes the hidden tokens alone: both are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mae_core.cells import Latent, Plan
from mae_core.costs import Cost, Look, tower, transformer
from mae_core.layers import LAYER_NORM_EPS, Block, Positions, init_linear, run_block, start_local


class TokenDecoder(nn.Module):
    """What decoders share that are given tokens: latents and mask tokens in their own width, each with its place.

    Args:
        encoder_width: D of the latents.
        width: of the decoder.
        kinds: of cells; each has a mask token of its own, and where there are several, a vector that is added to its kept tokens.
    """

    reads: ClassVar[str] = "tokens"
    """What of a latent is read: its ``tokens``, or its ``maps``, which only convolutional encoders make."""
    share: float = 1.0
    """Of the hidden cells that are predicted in a training step."""

    def __init__(self, encoder_width: int, width: int, kinds: int = 1) -> None:
        super().__init__()
        self.width = width
        self.recompute = 0
        """How many blocks, from the first, are recomputed in backward."""
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, kinds, width))
        self.kept_kind = nn.Parameter(torch.zeros(kinds, width)) if kinds > 1 else None
        self.positions = Positions(width)
        self.blocks = nn.ModuleList()

    def init_weights(self) -> None:
        """As the official code."""
        nn.init.normal_(self.mask_token, std=0.02)
        if self.kept_kind is not None:
            nn.init.normal_(self.kept_kind, std=0.02)
        init_linear(self)

    def read(self, latent: Latent, plan: Plan, coords: Tensor, kind: Tensor | None) -> tuple[Tensor, Tensor]:
        """Latents (B, G + V, D_dec), the kept ones with their places, and what is asked of the hidden cells (B, M, D_dec)."""
        x = self.embed(latent.tokens)
        n_global = x.shape[1] - plan.keep.shape[1]
        kept = x[:, n_global:] + self.positions(coords, plan.keep)
        hidden = self._asked(plan, kind) + self.positions(coords, plan.hide)
        if self.kept_kind is not None and kind is not None:
            kept = kept + self.kept_kind[kind[plan.keep]]
        return torch.cat([x[:, :n_global], kept], 1), hidden.to(x.dtype)

    def _asked(self, plan: Plan, kind: Tensor | None) -> Tensor:
        """(1, 1, D_dec) or (B, M, D_dec): the mask tokens."""
        if self.kept_kind is None:
            return self.mask_token
        if kind is None:
            raise ValueError("cells of several kinds: the decoder has to be told the kind of each")
        return self.mask_token[0][kind[plan.hide]]


class JointDecoder(TokenDecoder):
    """A small transformer over latents and mask tokens.

    Args:
        encoder_width, width, kinds: as in ``TokenDecoder``.
        depth, heads: of the decoder.
        local_start: keys start as queries.
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
        super().__init__(encoder_width, width, kinds)
        self.local_start = local_start
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def init_weights(self) -> None:
        """As the official code."""
        super().init_weights()
        if self.local_start:
            start_local(self)

    def forward(self, latent: Latent, plan: Plan, coords: Tensor, kind: Tensor | None = None) -> Tensor:
        """(B, M, D_dec): one vector for each hidden cell of ``plan``; ``kind`` (N,) says of which kind each cell is, if of several."""
        x = torch.cat(self.read(latent, plan, coords, kind), 1)
        n_hide = plan.hide.shape[1]
        n_global = x.shape[1] - n_hide - plan.keep.shape[1]
        for i, block in enumerate(self.blocks):
            tail = n_hide if n_hide and i == len(self.blocks) - 1 else None
            x = run_block(block, i < self.recompute, x, _key_ok(plan, n_global), tail)
        return self.norm(x[:, x.shape[1] - n_hide :])

    @staticmethod
    def cost(options: Mapping[str, Any], look: Look, width: int, encoder: Cost) -> Cost:
        """Of one sample; ``width`` and ``encoder`` are those of what made the latents."""
        own, depth, heads = options["width"], options["depth"], options["heads"]
        ratio = options.get("mlp_ratio", 4.0)
        seen = encoder.n_global + look.kept
        asked = seen + look.hidden
        blocks = tower(max(depth - 1, 0), own, asked, heads, ratio, look.plain)
        if depth:
            blocks += (transformer(own, look.hidden, asked, heads, ratio, look.plain),)
        return Cost(2.0 * seen * width * own, seen * width + 2.0 * asked * own, blocks)


def _key_ok(plan: Plan, n_global: int) -> Tensor | None:
    """(B, G + V + M) bool: which tokens are real; None where all are."""
    if plan.keep_ok is None or plan.hide_ok is None:
        return None
    always = plan.keep_ok.new_ones(len(plan.keep_ok), n_global)
    return torch.cat([always, plan.keep_ok, plan.hide_ok], 1)
