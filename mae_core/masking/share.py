"""Predicting a share of what is hidden: the rest of the hidden cells is neither seen nor asked for in that step."""

from __future__ import annotations

import torch

from mae_core.cells import Plan
from mae_core.draws import Draws
from mae_core.masking.order import ascending


def check_share(share: float) -> float:
    """Raises ValueError for a share outside (0, 1]."""
    if not 0 < share <= 1:
        raise ValueError(f"share {share} is outside (0, 1]")
    return share


def count_shared(hidden: int, share: float) -> int:
    """How many of ``hidden`` cells are predicted: ``int(hidden · share + 1e-9)``, at least one where any is hidden."""
    return min(max(int(hidden * share + 1e-9), 1), hidden)


def shared(plan: Plan, share: float, draws: Draws) -> Plan:
    """``plan`` with that share of each sample's hidden cells, drawn at random, in the order they had; itself where the share is 1.

    Kept cells stay. Counts are exact: of a sample with h hidden cells ``count_shared(h, share)`` are left.
    """
    if share >= 1:
        return plan
    cells = plan.hide.shape[1]
    chance = draws.uniform("share", cells)
    if plan.hide_ok is not None:
        chance = chance.masked_fill(~plan.hide_ok, 2.0)
    place = ascending(chance)[:, : count_shared(cells, share)]
    if plan.hide_ok is None:
        return plan._replace(hide=plan.hide.gather(1, place.sort(1).values))
    count = plan.hide_ok.sum(1, keepdim=True)
    wanted = (count.double() * share + 1e-9).long().clamp_min(1).minimum(count)
    ok = torch.arange(place.shape[1], device=place.device) < wanted
    # unwanted ones go to the end, whatever their place, so that padding comes last
    order = (place + cells * (~ok).long()).argsort(dim=1, stable=True)
    return plan._replace(hide=plan.hide.gather(1, place.gather(1, order)), hide_ok=ok)
