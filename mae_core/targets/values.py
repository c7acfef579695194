"""Values of which some are missing: like pixels, but what is NaN in a cell counts neither in losses nor in statistics."""

from __future__ import annotations

import torch
from torch import Tensor

from mae_core.cells import Plan, gather_cells
from mae_core.targets.pixels import VARIANCE_EPS, NormPixels, Pixels


class Values(Pixels):
    """The known values of a cell as they are, normalised with the dataset's statistics alone."""

    def cell_loss(self, prediction: Tensor, target: Tensor, plan: Plan) -> Tensor:
        """(B, M): the error of each hidden cell, averaged over its known values, in float32; 0 where none is known."""
        wanted = gather_cells(target, plan.hide)
        known = ~wanted.isnan()
        error = self.error(prediction.float() - wanted.nan_to_num())
        return (error * known).sum(-1) / known.sum(-1).clamp_min(1)


class NormValues(Values, NormPixels):
    """Each cell less the mean of its known values, over their standard deviation (unbiased; of a single one, nearly 0)."""

    @staticmethod
    def statistics(values: Tensor) -> tuple[Tensor, Tensor]:
        """(…, 1) each; of cells without a known value, finite numbers that mean nothing."""
        known = ~values.isnan()
        count = known.sum(-1, keepdim=True)
        mean = values.nan_to_num().sum(-1, keepdim=True) / count.clamp_min(1)
        spread = torch.where(known, values - mean, 0.0).square().sum(-1, keepdim=True)
        return mean, (spread / (count - 1).clamp_min(1) + VARIANCE_EPS).sqrt()
