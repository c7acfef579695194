"""From scores to a plan: one sort, exact equal counts, static shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from mae_core.cells import Plan
from mae_core.masking.order import ascending


def count_kept(n: int, ratio: float) -> int:
    """How many of ``n`` valid cells stay visible: ``int(n (1 - ratio) + 1e-9)``, within [1, n - 1].

    The small term undoes binary rounding: ``int(10 * (1 - 0.9))`` would be 0. Ratio 0 is the plain autoencoder and keeps all.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"mask ratio {ratio} is outside [0, 1)")
    if ratio == 0:
        return n
    return max(min(int(n * (1 - ratio) + 1e-9), n - 1), 1)


BUCKETS = 8
"""Mask ratios that a spread gives: shapes stay few."""


def ratio_buckets(ratio: float, spread: float) -> list[float]:
    """Mask ratios that training draws from, all as likely: the middles of eight equal parts of ratio ± spread, within 0..1.

    ``ratio`` alone where the spread is 0.
    """
    if not 0 <= spread <= 0.5:
        raise ValueError(f"ratio_spread {spread} is outside [0, 0.5]")
    if spread == 0 or ratio == 0:
        return [ratio]
    low, high = max(ratio - spread, 0.0), min(ratio + spread, 1.0)
    return [low + (high - low) * (k + 0.5) / BUCKETS for k in range(BUCKETS)]


def plan_from_scores(scores: Tensor, ratio: float, valid: Tensor | None = None) -> Plan:
    """The plan that hides the cells of highest score.

    Args:
        scores: (B, N) float.
        ratio: the share of valid cells to hide, in [0, 1). At 0 every cell is both kept and predicted.
        valid: (B, N) bool; cells that are not valid are neither kept nor hidden. A row with fewer than 2 valid cells hides nothing.
    """
    batch, cells = scores.shape
    if ratio == 0:
        return everything(cells, batch, valid, scores.device)
    n_keep = count_kept(cells, ratio)
    if valid is None:
        order = ascending(scores)
        return Plan(order[:, :n_keep], order[:, n_keep:].flip(1))

    order = ascending(scores.masked_fill(~valid, float("inf")))
    n_valid = valid.sum(1)
    kept = (n_valid.double() * (1 - ratio) + 1e-9).long().clamp_min(1)
    kept = torch.minimum(kept, (n_valid - 1).clamp_min(1)).minimum(n_valid)
    hidden = n_valid - kept
    keep_rank = torch.arange(n_keep, device=scores.device)
    hide_rank = torch.arange(cells - n_keep, device=scores.device)
    hide_at = (n_valid[:, None] - 1 - hide_rank).clamp_min(0)
    return Plan(
        keep=order[:, :n_keep],
        hide=order.gather(1, hide_at),
        keep_ok=keep_rank < kept[:, None],
        hide_ok=hide_rank < hidden[:, None],
    )


def everything(n: int, batch: int, valid: Tensor | None, device: torch.device) -> Plan:
    """Every one of ``n`` cells both kept and predicted, in order; ``valid`` (B, n) bool, None = all."""
    index = torch.arange(n, device=device).expand(batch, n)
    return Plan(index, index, valid, valid)


def complement(plan: Plan) -> Plan:
    """What was hidden is kept, and the other way round."""
    return Plan(plan.hide, plan.keep, plan.hide_ok, plan.keep_ok)


def plan_of(keep: Tensor, hide: Tensor) -> Plan:
    """The plan that keeps and hides exactly these cells, (B, N) bool each, in their order; a cell may be neither."""
    chosen = []
    for cells in (keep, hide):
        count = cells.sum(1)
        order = ascending((~cells).float())[:, : max(int(count.max()), 1)]
        chosen.append((order, torch.arange(order.shape[1], device=order.device) < count[:, None]))
    (kept, keep_ok), (hidden, hide_ok) = chosen
    return Plan(kept, hidden, keep_ok, hide_ok)
