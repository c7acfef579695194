"""Intervals that say which variance they cover: pretraining seeds, probe seeds or test items."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

DRAWS = 1000
LEAST_RANKED = 6
"""Units of a rank correlation; fewer give no interval: of five in the same order every resample is in it, too."""
RARE = 10
"""Items that are wrong (or right, or told apart by two models): of fewer a bootstrap draws too many samples with none of them."""
Z = 1.959964
"""Of 95 %."""
LEAST_SEEDS = 3
"""Fewer give no interval: a spread of two numbers says nothing."""


class Interval(NamedTuple):
    """A mean with its 95 % interval; ``low`` and ``high`` are NaN where none can be given."""

    mean: float
    low: float
    high: float
    n: int
    """How many units vary: seeds, or items."""
    covers: str

    @property
    def width(self) -> float:
        """NaN where there is no interval."""
        return self.high - self.low


def over_seeds(values: np.ndarray, what: str) -> Interval:
    """Student's t interval of the mean of one value per seed; none for fewer than three."""
    values = np.asarray(values, float)
    n, mean = len(values), float(np.mean(values))
    if n < LEAST_SEEDS:
        return Interval(mean, math.nan, math.nan, n, "")
    from scipy.stats import t

    half = float(t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n, what)


def over_items(values: np.ndarray, what: str = "test items", draws: int = DRAWS, seed: int = 0) -> Interval:
    """Percentile bootstrap (Efron & Tibshirani 1993, §13.3) of the mean of one value per item, such as right or wrong.

    Resampling n items of few distinct values is one multinomial draw of how often each value comes, so 60,000 items cost no more
    than 60. Where fewer than ``RARE`` items are right, or wrong, Wilson's interval (1927). None for fewer than two items.
    """
    values = np.asarray(values, float)
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, math.nan, math.nan, n, "")
    distinct, counts = np.unique(values, return_counts=True)
    if _told(values) and n * min(mean, 1 - mean) < RARE:
        centre, half = (mean + Z**2 / (2 * n)), Z * math.sqrt(mean * (1 - mean) / n + (Z / (2 * n)) ** 2)
        low, high = (centre - half) / (1 + Z**2 / n), (centre + half) / (1 + Z**2 / n)
        return Interval(mean, max(low, 0.0), min(high, 1.0), n, what)
    resampled = np.random.default_rng(seed).multinomial(n, counts / n, draws) @ distinct / n
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(mean, float(low), float(high), n, what)


def wider(first: Interval, second: Interval) -> Interval:
    """The wider of two intervals of the same mean; one that does not exist loses to one that does."""
    if math.isnan(first.low) or second.width > first.width:
        return second
    return first


def paired_over_items(ours: np.ndarray, theirs: np.ndarray, what: str = "paired, test items") -> Interval:
    """Of ours − theirs, item by item: what both get right or wrong alike does not widen it.

    Where fewer than ``RARE`` items are right in the one and wrong in the other, the interval of Agresti & Min (2005, §3), who add half
    an item to each of the four cases.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    if ours.shape != theirs.shape:
        raise ValueError(f"paired items must be the same ones: {ours.shape} against {theirs.shape}")
    gaps, n = ours - theirs, len(ours)
    if n < 2 or not (_told(ours) and _told(theirs)) or np.abs(gaps).sum() >= RARE:
        return over_items(gaps, what)
    won, lost, items = float((gaps > 0).sum()) + 0.5, float((gaps < 0).sum()) + 0.5, n + 2
    half = Z * math.sqrt(won + lost - (won - lost) ** 2 / items) / items
    centre, mean = (won - lost) / items, float(gaps.mean())
    return Interval(mean, max(centre - half, -1.0), min(centre + half, 1.0), n, what)


def _told(values: np.ndarray) -> bool:
    """Whether each item is right or wrong."""
    return bool(np.isin(values, (0, 1)).all())


def rank_correlation(
    ours: np.ndarray, theirs: np.ndarray, what: str = "trials (bootstrap)", draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Spearman's ρ of paired values, with its percentile bootstrap over the pairs; pairs with a value that is not finite are left out.

    ρ is NaN for fewer than three pairs or where one side is constant; resamples in which that is so are left out of the interval. None
    where every resample says the same.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    if ours.shape != theirs.shape:
        raise ValueError(f"paired values must be of the same units: {ours.shape} against {theirs.shape}")
    known = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[known], theirs[known]
    n = len(ours)
    if n < 3:
        return Interval(math.nan, math.nan, math.nan, n, "")
    value = float(_spearman(ours[None], theirs[None])[0])
    if n < LEAST_RANKED or math.isnan(value):
        return Interval(value, math.nan, math.nan, n, "")
    picks = np.random.default_rng(seed).integers(0, n, (draws, n))
    resampled = _spearman(ours[picks], theirs[picks])
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    if low == high:
        return Interval(value, math.nan, math.nan, n, "")
    return Interval(value, float(low), float(high), n, what)


def _spearman(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(r, n) and (r, n) → (r,): Pearson's correlation of ranks, ties sharing theirs; NaN where a row is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(rows, axis=1) for rows in (ours, theirs))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), size, out=np.full(len(a), math.nan), where=size > 0)
