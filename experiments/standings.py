"""From the long table of scores to a leaderboard: means, 95 % intervals that say what they cover, paired differences.

Pure functions over one DataFrame with the columns of `results/<recipe>/scores.csv`; no files, no state.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

DATA_BASELINES = ("pixels_knn", "pixels_logistic", "pca")  # made from the dataset alone: the same whatever the recipe
LOWER_IS_BETTER = ("mse", "mae", "loss")
NOTHING = "–"
COLUMNS = [
    "recipe", "model", "value", "low", "high", "covers", "n_seeds", "n_probe_seeds", "n_train", "n_test", "validation",
    "rank", "difference", "difference_low", "difference_high", "difference_covers", "is_baseline",
]  # fmt: skip


class Interval(NamedTuple):
    """A 95 % interval and the words for the variance it covers; `low` and `high` are NaN where there is none."""

    low: float
    high: float
    covers: str


NO_INTERVAL = Interval(math.nan, math.nan, NOTHING)


class Contender(NamedTuple):
    """All rows of one (recipe, model) for one task, averaged inside each seed."""

    by_seed: pd.Series  # index: pretraining seed (−1 where the model has none), values: mean over probe seeds
    by_probe: pd.Series  # index: (pretraining seed, probe seed)
    bootstrap: Interval
    n_train: float
    n_test: float


def t_interval(values: np.ndarray, covers: str) -> Interval:
    """Student's t interval of the mean; needs at least 3 finite values, else there is none."""
    n = len(values)
    if n < 3:
        return NO_INTERVAL
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    mean = float(np.mean(values))
    return Interval(mean - half, mean + half, f"{covers} (n={n})")


def wider(first: Interval, second: Interval) -> Interval:
    """The wider of two intervals; one that does not exist loses to one that does."""
    if math.isnan(first.low):
        return second
    if math.isnan(second.low):
        return first
    return first if first.high - first.low >= second.high - second.low else second


def contender(rows: pd.DataFrame) -> Contender:
    """Average the rows of one model: first over probe seeds inside a pretraining seed, then kept per seed."""
    seeds = rows["pretrain_seed"].fillna(-1).astype(int)
    probes = rows["probe_seed"].fillna(-1).astype(int)
    by_probe = rows["value"].groupby([seeds, probes]).mean()
    bounds = rows[["low", "high"]].dropna()
    bootstrap = NO_INTERVAL
    if len(bounds) == len(rows):
        bootstrap = Interval(float(bounds["low"].mean()), float(bounds["high"].mean()), "test items (bootstrap)")
    return Contender(by_probe.groupby(level=0).mean(), by_probe, bootstrap, rows["n_train"].max(), rows["n_test"].max())


def interval(one: Contender) -> Interval:
    """Over pretraining seeds where there are three; else the wider of probe seeds and test items."""
    if len(one.by_seed) >= 3:
        return t_interval(one.by_seed.to_numpy(), "pretraining seeds")
    if len(one.by_seed) == 1:
        return wider(t_interval(one.by_probe.to_numpy(), "probe seeds"), one.bootstrap)
    return one.bootstrap


def difference(one: Contender, base: Contender, base_has_seeds: bool) -> tuple[float, Interval]:
    """Mean of (one − base) over shared pretraining seeds, and its interval.

    A baseline without pretraining seeds is the same number for every seed. With fewer than three pairs the interval is
    made from the two bootstraps as if they were independent, which is too wide for two models on the same test items.
    """
    if base_has_seeds:
        shared = one.by_seed.index.intersection(base.by_seed.index)
        if shared.empty:
            return math.nan, NO_INTERVAL
        gaps = one.by_seed[shared] - base.by_seed[shared]
    else:
        gaps = one.by_seed - base.by_seed.mean()
    if len(gaps) >= 3:
        covers = "paired, pretraining seeds" if base_has_seeds else "pretraining seeds, baseline as it is"
        return float(gaps.mean()), t_interval(gaps.to_numpy(), covers)
    mean, a, b = float(gaps.mean()), one.bootstrap, base.bootstrap
    found = NO_INTERVAL
    if not (math.isnan(a.low) or math.isnan(b.low)):
        half = math.hypot(a.high - a.low, b.high - b.low) / 2
        found = Interval(mean - half, mean + half, "test items (unpaired)")
    probes = one.by_probe.index.intersection(base.by_probe.index)
    if len(one.by_seed) == 1 and len(probes) >= 3:
        pairs = (one.by_probe[probes] - base.by_probe[probes]).to_numpy()
        found = wider(t_interval(pairs, "paired, probe seeds"), found)
    return mean, found


def contenders(rows: pd.DataFrame) -> dict[tuple[str, str], Contender]:
    """(recipe, model) → its averaged rows. A data baseline is one contender, recipe '', in however many tables it is."""
    rows = rows.copy(deep=False)
    shared = rows["model"].isin(DATA_BASELINES)
    rows["recipe"] = rows["recipe"].mask(shared, "")
    keys = ["recipe", "model", "pretrain_seed", "probe_seed", "n_train", "n_test", "value"]
    rows = rows[~(shared & rows.duplicated(keys))]
    return {(str(r), str(m)): contender(group) for (r, m), group in rows.groupby(["recipe", "model"], sort=True)}


def pick(scores: pd.DataFrame, task: str, metric: str, dataset: str, split: str, labels: int | None) -> pd.DataFrame:
    """The rows of one question; `labels=None` means all labels."""
    wanted = (scores["task"] == task) & (scores["metric"] == metric)
    wanted &= (scores["dataset"] == dataset) & (scores["split"] == split)
    wanted &= (
        scores["labels_per_class"].isna() if labels is None else scores["labels_per_class"].eq(labels).fillna(False)
    )
    return scores[wanted.astype(bool)]


def leaderboard(
    scores: pd.DataFrame,
    task: str,
    metric: str,
    dataset: str,
    split: str = "test",
    labels_per_class: int | None = None,
    baseline: tuple[str, str] | None = None,
) -> pd.DataFrame:
    """One row per (recipe, model), best on *validation* first; rows without a validation score come last, by name.

    `baseline` is a (recipe, model) of the same table (recipe '' for a data baseline); differences are value − baseline.
    """
    shown = contenders(pick(scores, task, metric, dataset, split, labels_per_class))
    ranking = contenders(pick(scores, task, metric, dataset, "validation", labels_per_class))
    base = shown.get(baseline) if baseline else None
    rows = []
    for (recipe, model), one in shown.items():
        found = interval(one)
        gap, around = math.nan, NO_INTERVAL
        if base is not None and (recipe, model) != baseline:
            has_seeds = baseline is not None and baseline[1] not in DATA_BASELINES
            gap, around = difference(one, base, has_seeds)
        chosen_on = ranking.get((recipe, model))
        rows.append(
            {
                "recipe": recipe,
                "model": model,
                "value": float(one.by_seed.mean()),
                "low": found.low,
                "high": found.high,
                "covers": found.covers,
                "n_seeds": 0 if model in DATA_BASELINES else len(one.by_seed),
                "n_probe_seeds": len(one.by_probe.index.unique(level=1)),
                "n_train": one.n_train,
                "n_test": one.n_test,
                "validation": float(chosen_on.by_seed.mean()) if chosen_on else math.nan,
                "difference": gap,
                "difference_low": around.low,
                "difference_high": around.high,
                "difference_covers": around.covers,
                "is_baseline": (recipe, model) == baseline,
            }
        )
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.DataFrame(rows)
    ascending = metric in LOWER_IS_BETTER
    table["rank"] = table["validation"].rank(ascending=ascending, method="min").astype("Int64")
    table = table.sort_values(["rank", "recipe", "model"], na_position="last", ignore_index=True)
    return table[COLUMNS]
