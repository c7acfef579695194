"""The least decoder that can tell places apart: one read from the latents by position, and linear maps.

SimMIM's linear head (Xie et al. 2022) works on an encoder that is given mask tokens; ours sees kept cells alone, so there is nothing at a
hidden cell that a linear map could take. Here a hidden cell's place asks once, by softmax attention, and what it gets is linear in the
latents. There is no MLP and no second block: what is not linear is left to the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mae_core.cells import Latent, Plan
from mae_core.costs import Cost, Look, reading
from mae_core.decoders.cross import CrossAttention, seen_ok
from mae_core.decoders.joint import TokenDecoder
from mae_core.layers import LAYER_NORM_EPS
from mae_core.masking.share import check_share, count_shared


class LinearDecoder(TokenDecoder):
    """One cross-attention whose queries are places.

    Args:
        encoder_width, width, kinds: as in ``TokenDecoder``.
        heads: of the attention.
        share: as in ``CrossDecoder``.
    """

    def __init__(self, encoder_width: int, width: int, heads: int, share: float = 1.0, kinds: int = 1) -> None:
        super().__init__(encoder_width, width, kinds)
        self.share = check_share(share)
        self.attn = CrossAttention(width, heads)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def forward(self, latent: Latent, plan: Plan, coords: Tensor, kind: Tensor | None = None) -> Tensor:
        """(B, M, D_dec): one vector for each hidden cell of ``plan``; ``kind`` (N,) says of which kind each cell is, if of several."""
        seen, asked = self.read(latent, plan, coords, kind)
        asked = asked.expand(len(seen), -1, -1)
        return asked + self.attn(self.norm(asked), seen, seen_ok(plan, seen.shape[1]))

    @staticmethod
    def cost(options: Mapping[str, Any], look: Look, width: int, encoder: Cost) -> Cost:
        """Of one sample; ``width`` and ``encoder`` are those of what made the latents."""
        own, seen = options["width"], encoder.n_global + look.kept
        asked = count_shared(look.hidden, options.get("share", 1.0))
        read = reading(own, asked, seen, options["heads"], look.plain)
        return Cost(2.0 * seen * width * own + read.flops, seen * (width + own) + read.saved)
