"""Masks of cells that belong together: whole words (whole word masking of BERT, Devlin et al. 2019, 2019-05 release notes)."""

from __future__ import annotations

import torch

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.order import ranks


class WholeWordMasker:
    """Whole groups of cells are hidden one after another, the last cut at random to the exact count; a cell without a group is its own."""

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): the drawn rank of a cell's group plus noise that orders cells within it."""
        n = cells.coords.shape[-2]
        alone = torch.arange(n, device=cells.coords.device).expand(len(draws.ids), -1)
        group = alone if cells.group is None else cells.group
        rank = ranks(draws.uniform("group", n)).float()
        return Scored(rank.gather(1, group) + 0.9 * draws.uniform("mask", n))
