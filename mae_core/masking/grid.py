"""Grid-wise masking (He et al. 2022, Fig. 6): at 75 % one cell of every 2 × 2 stays visible."""

from __future__ import annotations

import torch

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.order import ranks


class GridMasker:
    """Hides whole phases of a 2-per-axis lattice one after another; which phase survives is drawn for each sample."""

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): the drawn rank of a cell's phase plus noise that orders cells within it."""
        axes = cells.coords.shape[-1]
        weights = 2 ** torch.arange(axes, device=cells.coords.device)
        phase = ((cells.coords.long() % 2) * weights).sum(-1).expand(len(draws.ids), -1)
        rank = ranks(draws.uniform("phase", 2**axes))
        return Scored(rank.gather(1, phase).float() + draws.uniform("mask", phase.shape[1]))
