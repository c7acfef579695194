"""Pixel targets: raw, and normalised by each patch's own mean and variance (He et al. 2022, §3 and Table 1d)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from mae_core.cells import Belief, Cells, Plan, gather_cells
from mae_core.modalities.base import Modality
from mae_core.targets.errors import error_of

VARIANCE_EPS = 1e-6
"""Inside the root, as in the official code; the variance is the unbiased one."""


class Decoded(NamedTuple):
    """Predictions as the modality pastes them."""

    values: Tensor
    """(B, M, P)."""
    used_true_statistics: bool
    """True where the hidden patch's own mean and variance were needed to undo the normalisation: a hint of the answer."""
    belief: Belief | None = None
    """How sure the prediction is of each hidden cell, (B, M), where the target is a likelihood."""


class NotShown:
    """A target that is no sample: predictions of it cannot be pasted into one."""

    shown = False
    name: str

    def decode(self, prediction: Tensor, cells: Cells, plan: Plan) -> Decoded:
        """Raises ValueError: there is no way back to a sample."""
        raise ValueError(
            f"target {self.name!r} predicts what cannot be shown as a sample: train with another objective.target and give "
            f"{self.name!r} a weight in objective.targets, beside it"
        )


class LinearHead(nn.Linear):
    """D_dec → values of a cell, the same for every cell."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__(width, values)
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, plan: Plan) -> Tensor:  # type: ignore[override]
        """(B, M, D_dec) → (B, M, P); ``plan`` tells other heads which cells these are."""
        return super().forward(x)


class Pixels:
    """The cell's values as they are, normalised with the dataset's statistics alone.

    Args:
        modality: gives P.
        loss: a row of ``ERRORS``.
    """

    takes: tuple[str, ...] = ("loss",)

    def __init__(self, modality: Modality, loss: str = "l2") -> None:
        self.values_per_cell: int = modality.values_per_cell
        self.error = error_of(loss)

    def head(self, width: int) -> nn.Module:
        """D_dec → P."""
        return LinearHead(width, self.values_per_cell)

    def target(self, cells: Cells, plan: Plan) -> Tensor:
        """(B, N, P)."""
        return cells.values

    def cell_loss(self, prediction: Tensor, target: Tensor, plan: Plan) -> Tensor:
        """(B, M): the error of each hidden cell, averaged over its P values, in float32."""
        return self.error(prediction.float() - gather_cells(target, plan.hide)).mean(-1)

    def decode(self, prediction: Tensor, cells: Cells, plan: Plan) -> Decoded:
        """Predictions (B, M, P) as cell values."""
        return Decoded(prediction.float(), used_true_statistics=False)


class NormPixels(Pixels):
    """Each cell less its mean, over its standard deviation (unbiased)."""

    helped = True
    """A prediction becomes a sample by what the hidden cells themselves tell."""

    def __init__(self, modality: Modality, loss: str = "l2") -> None:
        if modality.values_per_cell < 2:
            raise ValueError(
                "a cell of one value has no variance to normalise by: use target 'pixels' or larger patches"
            )
        super().__init__(modality, loss)

    def target(self, cells: Cells, plan: Plan) -> Tensor:
        """(B, N, P)."""
        mean, std = self.statistics(cells.values)
        return (cells.values - mean) / std

    def decode(self, prediction: Tensor, cells: Cells, plan: Plan) -> Decoded:
        """Undoes the normalisation with the true statistics of the hidden cells."""
        mean, std = self.statistics(gather_cells(cells.values, plan.hide))
        return Decoded(prediction.float() * std + mean, used_true_statistics=True)

    @staticmethod
    def statistics(values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each cell, (…, 1) each."""
        return values.mean(-1, keepdim=True), (values.var(-1, keepdim=True) + VARIANCE_EPS).sqrt()
