"""Sampling without replacement: adding Gumbel noise to log-weights and taking the highest (Gumbel top-k, Kool et al. 2019, §2.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mae_core.draws import Draws

HALF = 2.0**-25
"""Half the distance between two draws: none is 0."""
BELOW_ONE = 1 - 2**-24
"""The largest float32 that is less than 1, which half a distance more than the largest draw rounds to."""
LEAST = 1e-30
"""Of a weight: one of 0 is drawn after all others."""


def gumbel(draws: Draws, stream: str, cells: int) -> Tensor:
    """(B, N) float32 of the standard Gumbel distribution, finite."""
    return draws.uniform(stream, cells).add_(HALF).clamp_(max=BELOW_ONE).log_().neg_().log_().neg_()


def log_weights(weights: Tensor) -> Tensor:
    """Logarithms of weights that are not negative, finite."""
    return weights.clamp_min(LEAST).log()


def order_log_prob(logits: Tensor, order: Tensor, ok: Tensor | None, valid: Tensor | None) -> Tensor:
    """(B, M): the log-probability of each pick, given the ones before it (Plackett 1975; Luce 1959); 0 where a pick is not ``ok``.

    Args:
        logits: (B, N) log-weights.
        order: (B, M) long: which cells were drawn, in this order, each once.
        ok: (B, M) bool: False for entries of ``order`` that pad a ragged batch, which come last.
        valid: (B, N) bool: cells that could be drawn at all.
    """
    if valid is not None:
        logits = logits.masked_fill(~valid, -math.inf)
    chosen = logits.gather(1, order)
    if ok is not None:
        chosen = chosen.masked_fill(~ok, -math.inf)
    times = torch.zeros_like(logits, dtype=torch.int32)
    times.scatter_add_(1, order, torch.ones_like(order, dtype=torch.int32) if ok is None else ok.int())
    never = logits.masked_fill(times > 0, -math.inf).logsumexp(1, keepdim=True)
    # what is left before pick i is what is never drawn, and the picks from i on
    left = torch.cat([never, chosen.flip(1)], 1).logcumsumexp(1)[:, 1:].flip(1)
    found = chosen - left
    return found if ok is None else torch.where(ok, found, 0.0)
