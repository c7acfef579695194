"""The reconstruction loss: the mean error over hidden cells, visible ones do not count (He et al. 2022, §3)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mae_core.cells import Terms, View


class Reconstruction:
    """Compares a masked view's prediction with a target."""

    views = ("masked",)

    def __init__(self, target: Any) -> None:
        self.target = target

    def forward(self, views: tuple[View, ...]) -> Terms:
        """The mean over the batch's valid hidden cells; where the target has parts, the mean of each beside it."""
        (view,) = views
        per_cell = self.target.cell_loss(view.prediction, self.target.target(view.cells, view.plan), view.plan)
        ok = view.plan.hide_ok
        hidden: Tensor | int
        if ok is None:
            total, hidden = per_cell.mean(), per_cell.numel()
        else:
            hidden = ok.sum()
            total = (per_cell * ok).sum() / hidden.clamp_min(1)
        parts = {"reconstruction": total.detach()}
        if hasattr(self.target, "parts"):
            named = self.target.parts(per_cell.detach(), view.plan)
            parts |= {f"reconstruction/{name}": value for name, value in named.items()}
        return Terms(total, parts, per_cell.detach(), hidden)
