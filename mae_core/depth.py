"""Stochastic depth: in training a block is skipped at random, sample by sample (Huang et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from mae_core.draws import Draws


def check_rate(rate: float) -> float:
    """Raises ValueError for a rate outside [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(f"drop_path {rate} is outside [0, 1)")
    return rate


def gates(draws: Draws, rate: float, depth: int, branches: int = 1) -> Tensor:
    """(B, depth, branches): 0 for a branch that a sample skips, else what keeps its mean.

    The chance of skipping grows evenly from 0 in the first block to ``rate`` in the last; one block alone has ``rate``.
    """
    chance = torch.linspace(0.0 if depth > 1 else rate, rate, depth, device=draws.ids.device).unsqueeze(-1)
    return (draws.uniform("drop_path", depth, branches) >= chance) / (1 - chance)
