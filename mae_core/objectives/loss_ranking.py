"""Which of two hidden cells is reconstructed worse (Wang et al. 2023, HPM, §3.2): what the masker ``loss_ranked`` is led by."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import Plan, Terms, View
from mae_core.objectives.options import DEFAULTS, Options
from mae_core.objectives.reconstruction import mean_of_hidden


class RankHead(nn.Linear):
    """D_dec → a number for each cell; it has no bias, which would cancel in every difference."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 1, bias=False)
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor, plan: Plan) -> Tensor:  # type: ignore[override]
        """(B, M, D_dec) → (B, M, 1)."""
        return super().forward(x)


class LossRanking:
    """A linear head on the decoder gives each hidden cell a number; of two cells of a sample, that of the larger error should be larger.

    Only the order is learned: the errors themselves shrink as training goes on, their order hardly changes. The error is that of
    reconstruction, without a gradient. Unlike in the paper the head has no decoder of its own, so its gradient reaches the one there is.

    Cells of different parts of a joint sample are no pair: their errors differ in unit, and in what the loss weighs them by.
    """

    views: tuple[str, ...] = ("masked",)

    def __init__(self, target: Any = None, options: Options = DEFAULTS) -> None:
        pass

    def head(self, width: int) -> nn.Module | None:
        """D_dec → 1."""
        return RankHead(width)

    def forward(self, views: tuple[View, ...]) -> Terms:
        """Nats a pair: for each hidden cell the mean over the sample's others, then over the batch's valid hidden cells (Eq. 6)."""
        (view,) = views
        assert view.error is not None
        kind = None if view.cells.kind is None else view.cells.kind[view.plan.hide]
        return mean_of_hidden(
            "loss_ranking", pair_nats(view.prediction, view.error, view.plan.hide_ok, kind), view.plan
        )


def pair_nats(said: Tensor, error: Tensor, ok: Tensor | None, kind: Tensor | None = None) -> Tensor:
    """(B, M), of predictions (B, M, 1) and errors (B, M): −log σ of the difference the right way round, the mean over other ok cells.

    Cells of equal error are no pair, nor are those of different ``kind`` (B, M).
    """
    difference = said.float() - said.float().transpose(1, 2)
    order = torch.sign(error.unsqueeze(2) - error.unsqueeze(1))
    pair = order != 0
    if ok is not None:
        pair = pair & ok.unsqueeze(2) & ok.unsqueeze(1)
    if kind is not None:
        pair = pair & (kind.unsqueeze(2) == kind.unsqueeze(1))
    nats = torch.where(pair, F.softplus(-order * difference), 0.0)
    return nats.sum(2) / pair.sum(2).clamp_min(1)
