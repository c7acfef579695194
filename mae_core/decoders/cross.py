"""Hidden cells read from the latents and not from each other (Fu et al. 2024, CrossMAE, §3): each is predicted as if it were alone.

So a training step may predict a share of them, and what it predicts is what it would have predicted among all. The paper's mixing of
several encoder layers is left out: the last one is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mae_core.cells import Latent, Plan
from mae_core.costs import Cost, Look, crossing
from mae_core.decoders.joint import TokenDecoder
from mae_core.layers import LAYER_NORM_EPS, Mlp, attend, run_block
from mae_core.masking.share import check_share, count_shared


class CrossAttention(nn.Module):
    """Queries of one sequence, keys and values of another."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} cannot be split into {heads} heads: choose a divisor of {width}")
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor, key_ok: Tensor | None = None) -> Tensor:
        """``x`` (B, M, D), ``seen`` (B, T, D), ``key_ok`` (B, T) bool → (B, M, D)."""
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(seen).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(attend(q, k, v, key_ok).transpose(1, 2).flatten(2))


class CrossBlock(nn.Module):
    """Cross-attention and MLP, both pre-norm; the latents are normalised once for all blocks."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, seen: Tensor, key_ok: Tensor | None = None) -> Tensor:
        """``x`` (B, M, D), ``seen`` (B, T, D) → (B, M, D)."""
        x = x + self.attn(self.norm1(x), seen, key_ok)
        return x + self.mlp(self.norm2(x))


class CrossDecoder(TokenDecoder):
    """Mask tokens that read from the latents in every block.

    Args:
        encoder_width, width, kinds: as in ``TokenDecoder``.
        depth, heads: of the decoder.
        share: of the hidden cells that a training step predicts, drawn at random; in (0, 1].
    """

    def __init__(
        self,
        encoder_width: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        share: float = 1.0,
        kinds: int = 1,
    ) -> None:
        super().__init__(encoder_width, width, kinds)
        if depth < 1:
            raise ValueError("a cross decoder of depth 0 would read nothing: choose 1 or more")
        self.share = check_share(share)
        self.seen_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.blocks = nn.ModuleList(CrossBlock(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def forward(self, latent: Latent, plan: Plan, coords: Tensor, kind: Tensor | None = None) -> Tensor:
        """(B, M, D_dec): one vector for each hidden cell of ``plan``; ``kind`` (N,) says of which kind each cell is, if of several."""
        seen, x = self.read(latent, plan, coords, kind)
        seen, x = self.seen_norm(seen), x.expand(len(seen), -1, -1)
        key_ok = seen_ok(plan, seen.shape[1])
        for i, block in enumerate(self.blocks):
            x = run_block(block, i < self.recompute, x, seen, key_ok)
        return self.norm(x)

    @staticmethod
    def cost(options: Mapping[str, Any], look: Look, width: int, encoder: Cost) -> Cost:
        """Of one sample; ``width`` and ``encoder`` are those of what made the latents."""
        own, seen = options["width"], encoder.n_global + look.kept
        asked = count_shared(look.hidden, options.get("share", 1.0))
        block = crossing(own, asked, seen, options["heads"], options.get("mlp_ratio", 4.0), look.plain)
        saved = seen * width + 2.0 * (seen + asked) * own
        return Cost(2.0 * seen * width * own, saved, (block,) * options["depth"])


def seen_ok(plan: Plan, tokens: int) -> Tensor | None:
    """(B, G + V) bool: which of so many latents are real; None where all are."""
    if plan.keep_ok is None:
        return None
    always = plan.keep_ok.new_ones(len(plan.keep_ok), tokens - plan.keep_ok.shape[1])
    return torch.cat([always, plan.keep_ok], 1)
