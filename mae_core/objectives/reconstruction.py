"""The reconstruction loss: the mean error over hidden cells, visible ones do not count (He et al. 2022, §3)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mae_core.cells import Plan, Terms, View
from mae_core.objectives.options import DEFAULTS, Options


class Reconstruction:
    """Compares a masked view's prediction with a target.

    Args:
        target: what is predicted.
        options: nothing of them is needed.
        name: of the part, where it is not the model's main target.
    """

    views: tuple[str, ...] = ("masked",)

    def __init__(self, target: Any, options: Options = DEFAULTS, name: str = "reconstruction") -> None:
        self.target, self.name = target, name

    def head(self, width: int) -> nn.Module | None:
        """D_dec → what the target wants."""
        return self.target.head(width)

    def forward(self, views: tuple[View, ...]) -> Terms:
        """The mean over the batch's valid hidden cells; where the target has parts, sum and count of each beside it."""
        (view,) = views
        per_cell = self.target.cell_loss(view.prediction, self.target.target(view.cells, view.plan), view.plan)
        found = mean_of_hidden(self.name, per_cell, view.plan)
        if not hasattr(self.target, "parts"):
            return found
        named = {f"{self.name}/{name}": one for name, one in self.target.parts(per_cell.detach(), view.plan).items()}
        sums = {name: total for name, (total, _) in named.items()}
        return found._replace(parts={**found.parts, **sums}, counts={name: count for name, (_, count) in named.items()})


def mean_of_hidden(name: str, per_cell: Tensor, plan: Plan) -> Terms:
    """``per_cell`` (B, M) as the term ``name``: its mean over the valid hidden cells of ``plan``."""
    ok = plan.hide_ok
    hidden: Tensor | int
    if ok is None:
        total, hidden = per_cell.mean(), per_cell.numel()
    else:
        hidden = ok.sum()
        total = (per_cell * ok).sum() / hidden.clamp_min(1)
    return Terms(total, {name: total.detach()}, per_cell.detach(), hidden)
