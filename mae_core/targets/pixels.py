"""Pixel targets: raw, and normalised by each patch's own mean and variance (He et al. 2022, §3 and Table 1d)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from mae_core.cells import Cells, Plan, gather_cells

VARIANCE_EPS = 1e-6
"""Inside the root, as in the official code; the variance is the unbiased one."""


class Decoded(NamedTuple):
    """Predictions in the units of the cells."""

    values: Tensor
    """(B, M, P)."""
    used_true_statistics: bool
    """True where the hidden patch's own mean and variance were needed to undo the normalisation: a hint of the answer."""


class Pixels:
    """The cell's values as they are, normalised with the dataset's statistics alone."""

    def __init__(self, values_per_cell: int) -> None:
        self.values_per_cell = values_per_cell

    def head(self, width: int) -> nn.Linear:
        """D_dec → P."""
        head = nn.Linear(width, self.values_per_cell)
        nn.init.xavier_uniform_(head.weight)
        nn.init.zeros_(head.bias)
        return head

    def target(self, cells: Cells) -> Tensor:
        """(B, N, P)."""
        return cells.values

    def cell_loss(self, prediction: Tensor, target: Tensor, plan: Plan) -> Tensor:
        """(B, M): the squared error of each hidden cell, averaged over its P values, in float32."""
        return (prediction.float() - gather_cells(target, plan.hide)).square().mean(-1)

    def decode(self, prediction: Tensor, cells: Cells, plan: Plan) -> Decoded:
        """Predictions (B, M, P) as cell values."""
        return Decoded(prediction.float(), used_true_statistics=False)


class NormPixels(Pixels):
    """Each cell less its mean, over its standard deviation (unbiased)."""

    def __init__(self, values_per_cell: int) -> None:
        if values_per_cell < 2:
            raise ValueError(
                "a cell of one value has no variance to normalise by: use target 'pixels' or larger patches"
            )
        super().__init__(values_per_cell)

    def target(self, cells: Cells) -> Tensor:
        """(B, N, P)."""
        mean, std = _statistics(cells.values)
        return (cells.values - mean) / std

    def decode(self, prediction: Tensor, cells: Cells, plan: Plan) -> Decoded:
        """Undoes the normalisation with the true statistics of the hidden cells."""
        mean, std = _statistics(gather_cells(cells.values, plan.hide))
        return Decoded(prediction.float() * std + mean, used_true_statistics=True)


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.mean(-1, keepdim=True), (values.var(-1, keepdim=True) + VARIANCE_EPS).sqrt()
