"""Targets of time series: moments at the level that the visible part of the sample shows, scored there or in the units of the dataset."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mae_core.cells import Cells, Plan, gather_cells
from mae_core.targets.errors import error_of
from mae_core.targets.pixels import Decoded, LinearHead


class VisibleLevel:
    """Each cell's moments less the visible mean of their channel, over its visible standard deviation.

    Args:
        modality: knows levels.
        loss: a row of ``ERRORS``.
    """

    takes: tuple[str, ...] = ("loss",)

    def __init__(self, modality: Any, loss: str = "l2") -> None:
        self.modality, self.error = modality, error_of(loss)

    def head(self, width: int) -> nn.Module:
        """D_dec → p."""
        return LinearHead(width, self.modality.values_per_cell)

    def target(self, cells: Cells, plan: Plan) -> Tensor:
        """(B, N, 2p): normalised moments, then whether they are there."""
        level = self.modality.level(cells, plan.keep, plan.keep_ok)
        x, there = cells.values.float().chunk(2, -1)
        return torch.cat([(x - level.mean) / level.std * there, there], -1)

    def cell_loss(self, prediction: Tensor, target: Tensor, plan: Plan) -> Tensor:
        """(B, M): the error of each hidden cell, averaged over the moments that are there, in float32."""
        return self._mean(prediction, gather_cells(target, plan.hide), 1.0)

    def _mean(self, prediction: Tensor, wanted: Tensor, scale: Tensor | float) -> Tensor:
        """(B, M): the mean error of the moments that are there, differences counted in units of which ``scale`` make one."""
        x, there = wanted.chunk(2, -1)
        error = self.error((prediction.float() - x) * scale) * there
        return error.sum(-1) / there.sum(-1).clamp_min(1)

    def decode(self, prediction: Tensor, cells: Cells, plan: Plan) -> Decoded:
        """Predictions (B, M, p) in raw units, at the level that was visible."""
        level = self.modality.level(cells, plan.keep, plan.keep_ok)
        std, mean = gather_cells(level.std, plan.hide), gather_cells(level.mean, plan.hide)
        return Decoded(prediction.float() * std + mean, used_true_statistics=False)


class RawSeries(VisibleLevel):
    """Predicted at the visible level too, but scored in standard deviations of train, as forecasts are (Kim et al. 2022, RevIN, §3).

    A channel that looks flat and then moves counts as much as it moves, not as much as it surprises.
    """

    def target(self, cells: Cells, plan: Plan) -> Tensor:
        """(B, N, 2p + 1): as above, then the visible standard deviation over that of train."""
        ratio = self.modality.level(cells, plan.keep, plan.keep_ok).std / self.modality.std_of_cells()
        return torch.cat([super().target(cells, plan), ratio], -1)

    def cell_loss(self, prediction: Tensor, target: Tensor, plan: Plan) -> Tensor:
        """(B, M): the error in units of train."""
        wanted = gather_cells(target, plan.hide)
        return self._mean(prediction, wanted[..., :-1], wanted[..., -1:])
