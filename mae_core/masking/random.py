"""Uniform random masking (He et al. 2022, §3)."""

from __future__ import annotations

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws


class RandomMasker:
    """Every cell is as likely to be hidden as any other."""

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N) in [0, 1)."""
        return Scored(draws.uniform("mask", cells.coords.shape[-2]))
