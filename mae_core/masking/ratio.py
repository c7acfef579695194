"""How much is hidden, and when: ratios of a training as a short table, so that shapes stay few and the cost is known beforehand."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

from mae_core.draws import Draws
from mae_core.masking.plan import BUCKETS, ratio_buckets
from mae_core.registry import nearest

KEYS = ("kind", "end", "deviation", "low", "high", "steps")
"""Of a schedule."""


class Ratios(NamedTuple):
    """Stretches of the training, each with the ratios that its batches draw from, all as likely."""

    starts: list[float]
    """Share of the training done when each stretch begins; the first is 0."""
    rows: list[list[float]]

    def at(self, draws: Draws, progress: float) -> float:
        """The ratio of one batch, the same on every worker."""
        row = self.rows[bisect_right(self.starts, progress) - 1]
        return row[int(draws.shared("ratio") * len(row))]

    def shares(self) -> list[tuple[float, float]]:
        """(share of the batches, ratio) of every ratio: what a cost is the mean over."""
        ends = [*self.starts[1:], 1.0]
        return [
            ((end - start) / len(row), ratio) for start, end, row in zip(self.starts, ends, self.rows) for ratio in row
        ]


def ratios_of(masking: Mapping[str, Any]) -> Ratios:
    """The ratios of a model's ``masking`` config: ``ratio``, ``ratio_spread`` and ``schedule``. Raises ValueError for what makes no sense.

    A ratio of 0 is the plain autoencoder, whatever the schedule says. A bandit's ``ratios`` stand instead of all of them.
    """
    ratio, spread = float(masking["ratio"]), float(masking.get("ratio_spread", 0.0))
    schedule = dict(masking.get("schedule") or {"kind": "fixed"})
    if ratio and masking.get("strategy") == "bandit" and (arms := (masking.get("options") or {}).get("ratios")):
        if spread or schedule.get("kind", "fixed") != "fixed":
            raise ValueError(
                "masking.options.ratios are those of a bandit's arms: set masking.ratio_spread to 0 and masking.schedule.kind to fixed"
            )
        return Ratios([0.0], [[float(one) for one in arms]])
    for name in schedule:
        if name not in KEYS:
            raise ValueError(f"masking.schedule has no {name!r}{nearest(name, KEYS)}: there are {', '.join(KEYS)}")
    kind = schedule.pop("kind", "fixed")
    kinds = ("fixed", *SCHEDULES)
    if kind not in kinds:
        raise ValueError(f"unknown masking.schedule.kind {kind!r}{nearest(kind, kinds)}: there are {', '.join(kinds)}")
    if ratio == 0 or kind == "fixed":
        return Ratios([0.0], [ratio_buckets(ratio, spread)])
    if spread:
        raise ValueError(f"masking.ratio_spread {spread} goes with a fixed schedule: set it to 0 for {kind}")
    return SCHEDULES[kind](ratio, schedule)


def _truncated_normal(ratio: float, schedule: Mapping[str, Any]) -> Ratios:
    """The middles of eight equally likely parts of a normal distribution that is cut off at ``low`` and ``high`` (Li et al. 2023, MAGE)."""
    deviation, low, high = (float(schedule.get(k, d)) for k, d in (("deviation", 0.25), ("low", 0.0), ("high", 1.0)))
    if not (deviation > 0 and 0 <= low < high <= 1):
        raise ValueError(
            f"masking.schedule: deviation {deviation}, low {low}, high {high}: 0 < deviation and 0 <= low < high <= 1"
        )
    normal = NormalDist(ratio, deviation)
    first, last = normal.cdf(low), normal.cdf(high)
    if last - first < 1e-6:
        raise ValueError(f"masking.schedule: [{low}, {high}] is too far from the ratio {ratio} to draw from")
    middles = (first + (last - first) * (k + 0.5) / BUCKETS for k in range(BUCKETS))
    return Ratios([0.0], [[min(max(normal.inv_cdf(p), low), high) for p in middles]])


def _curve(bend: Callable[[float], float], ratio: float, schedule: Mapping[str, Any]) -> Ratios:
    """Eight stretches from ``ratio`` to ``end``, along a curve from 0 to 1."""
    end = schedule.get("end")
    if end is None or not 0 < end < 1:
        raise ValueError(f"masking.schedule.end is {end}: the ratio of the last stretch, within (0, 1), is wanted")
    rows = [[ratio + (end - ratio) * bend(k / (BUCKETS - 1))] for k in range(BUCKETS)]
    return Ratios([k / BUCKETS for k in range(BUCKETS)], rows)


def _linear(ratio: float, schedule: Mapping[str, Any]) -> Ratios:
    return _curve(lambda share: share, ratio, schedule)


def _cosine(ratio: float, schedule: Mapping[str, Any]) -> Ratios:
    return _curve(lambda share: (1 - math.cos(math.pi * share)) / 2, ratio, schedule)


def _steps(ratio: float, schedule: Mapping[str, Any]) -> Ratios:
    """``ratio``, then what ``steps`` says: [share of the training, ratio] each, in order."""
    points = schedule.get("steps")
    if not points:
        raise ValueError(
            "masking.schedule.steps is empty: [share of the training, ratio] are wanted, such as [0.5, 0.9]"
        )
    starts, rows = [0.0], [[ratio]]
    for point in points:
        if len(point) != 2 or not starts[-1] < point[0] < 1 or not 0 < point[1] < 1:
            raise ValueError(
                f"masking.schedule.steps {point}: [share of the training, ratio], both within (0, 1), shares rising"
            )
        starts.append(float(point[0]))
        rows.append([float(point[1])])
    return Ratios(starts, rows)


SCHEDULES: dict[str, Callable[[float, Mapping[str, Any]], Ratios]] = {
    "truncated_normal": _truncated_normal,
    "linear": _linear,
    "cosine": _cosine,
    "steps": _steps,
}
"""What there is beside ``fixed``."""
