"""Several objectives at once: who is dominated, who stands apart, and which one is picked where nobody says otherwise.

Points are rows (n, K) of numbers of which more is better; a row with a value that is not finite is worse than every whole one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

PICKED = "nearest to the best of every objective, each scaled to 0..1 over the front, costs by their logarithm"
"""How the default pick is made, in words."""


class Gain(NamedTuple):
    """What the pick has over the defaults in one objective, more being better."""

    n: int
    """Fresh seeds."""
    gain: float | None
    """Mean of the paired differences; None where fewer than two seeds have both."""
    error: float | None
    """Standard error of that mean: 0 where nothing of it is drawn, as of costs."""

    @property
    def better(self) -> bool:
        """Beyond its standard error."""
        return self.gain is not None and self.error is not None and self.gain > self.error

    @property
    def worse(self) -> bool:
        """Beyond its standard error."""
        return self.gain is not None and self.error is not None and -self.gain > self.error


def undone(trial: int, seeds: Sequence[int], without: Sequence[int] = ()) -> str:
    """Why a trial that could not be trained again on some fresh seeds replaces nothing; ``without``: those on which the defaults failed."""
    again = (
        f"trial {trial} failed when it was trained again on seed {', '.join(map(str, seeds))}, as the final run might"
    )
    return f"the defaults stay: {again}{unpaired(without)}"


def unpaired(seeds: Sequence[int]) -> str:
    """What a verdict adds about fresh seeds on which the defaults failed; '' where there are none."""
    return f"; the defaults failed on seed {', '.join(map(str, seeds))}, where nothing is compared" if seeds else ""


def weigh(
    trial: int, gains: Mapping[str, Gain], failed: Sequence[int] = (), without: Sequence[int] = ()
) -> tuple[str, str]:
    """``winner`` or ``default``, and why in one sentence; ``gains`` by objective, the score first.

    The pick replaces the defaults where it scores better, or where its mean score is no lower, it is better in something else and worse in
    nothing, and nothing was left unmeasured: costs are known exactly, so without the second rule any cheaper network would win half of the
    time that it scores a little lower. ``failed`` are seeds on which the pick failed, ``without`` those on which the defaults did.
    """
    if failed:
        return "default", undone(trial, failed, without)
    (_, score), *others = gains.items()
    if score.gain is None or score.error is None:
        pairs = f"trial {trial} could be compared with them on {score.n} seeds, 2 are needed"
        return "default", f"the defaults stay: {pairs}{unpaired(without)}"
    ahead = [name for name, one in others if one.better]
    behind = [name for name, one in others if one.worse]
    unknown = [name for name, one in others if one.gain is None or one.n < score.n]
    facts = f"its paired gain in score on {score.n} fresh seeds is {score.gain:+.4f}, with a standard error of {score.error:.4f}"
    for said, names in (("better in", ahead), ("worse in", behind), ("not measured on every seed:", unknown)):
        facts += f"; {said} {', '.join(names)}" if names else ""
    facts += unpaired(without)
    if score.better or (score.gain >= 0 and ahead and not behind and not unknown):
        return "winner", f"trial {trial} replaces the defaults: {facts}"
    return "default", f"the defaults stay: trial {trial} {_why_not(score, ahead, behind, unknown)}: {facts}"


def _why_not(score: Gain, ahead: Sequence[str], behind: Sequence[str], unknown: Sequence[str]) -> str:
    """What keeps a pick that does not score better from replacing the defaults."""
    if score.gain is not None and score.gain < 0 and ahead:
        return "is a trade, not a gain"
    if score.worse:
        return "is behind"
    close = "is within one standard error of them"
    if not ahead:
        return f"{close} and better in nothing else"
    return f"{close} and elsewhere a trade" if behind else f"{close} and may be worse in {', '.join(unknown)}"


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better."""
    return all(x >= y for x, y in zip(a, b)) and any(x > y for x, y in zip(a, b))


def fronts(points: Any) -> np.ndarray:
    """(n, K) → (n,) int: 0 for what nothing dominates, 1 for what only those dominate, and so on (Deb et al. 2002, §III-A)."""
    points = np.asarray(points, float)
    whole = np.isfinite(points).all(1)
    ahead = (points[:, None] >= points).all(-1) & (points[:, None] > points).any(-1)
    left, found = np.flatnonzero(whole), np.full(len(points), -1)
    front = 0
    while len(left):
        free = ~ahead[np.ix_(left, left)].any(0)
        found[left[free]] = front
        left, front = left[~free], front + 1
    found[~whole] = front
    return found


def crowding(points: Any) -> np.ndarray:
    """(n, K) of one front → (n,): how far apart each one's neighbours are, ends first (Deb et al. 2002, §III-B).

    A column that is the same for all has no ends.
    """
    points = np.asarray(points, float)
    total = np.zeros(len(points))
    for column in range(points.shape[1]):
        order = np.argsort(points[:, column], kind="stable")
        values = points[order, column]
        span = values[-1] - values[0]
        if span > 0:
            total[order[[0, -1]]] = np.inf
            total[order[1:-1]] += (values[2:] - values[:-2]) / span
    return total


def ranked(points: Any) -> list[int]:
    """Rows from best to worst: by front, inside a front by the first objective where there are two points or fewer, else by crowding.

    Ties go to the earlier row. Rows that are not whole come last.
    """
    points = np.asarray(points, float)
    if not len(points):
        return []
    front, apart = fronts(points), np.zeros(len(points))
    for number in range(int(front.max()) + 1):
        rows = np.flatnonzero((front == number) & np.isfinite(points).all(1))
        if len(rows):
            apart[rows] = crowding(points[rows])
    first = np.nan_to_num(points[:, 0], nan=-np.inf)
    return sorted(range(len(points)), key=lambda row: (front[row], -apart[row], -first[row], row))


def front_of(points: Any) -> list[int]:
    """The rows that nothing dominates, best first objective first; none where no row is whole."""
    points = np.asarray(points, float)
    if not len(points) or not np.isfinite(points).all(1).any():
        return []
    rows = np.flatnonzero(fronts(points) == 0)
    return sorted(rows.tolist(), key=lambda row: (-points[row, 0], row))


def knee(points: Any, costs: Sequence[bool]) -> int | None:
    """The row of the front that is nearest to the best of every objective at once (Zeleny 1973); None where there is no front.

    ``costs`` says which columns hold costs (with a minus): those are compared by their logarithm, for half a cost is worth as much at
    any size. Ties go to the better first objective.
    """
    front = front_of(points)
    if not front:
        return None
    values = np.asarray(points, float)[front]
    for column in np.flatnonzero(np.asarray(costs, bool)):
        values[:, column] = -np.log(np.maximum(-values[:, column], np.finfo(float).tiny))
    best, span = values.max(0), np.ptp(values, 0)
    gap = (best - values) / np.where(span > 0, span, 1.0)
    return front[int(np.sqrt((gap**2).sum(1)).argmin())]
