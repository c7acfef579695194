"""From the long table of scores to a leaderboard: means, 95 % intervals that say what they cover, paired differences.

Pure functions over one DataFrame with the columns of `results/<recipe>/scores.csv`; no files, no state.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments import words

DATA_BASELINES = ("pixels_knn", "pixels_logistic", "pca", "boosting")
"""Made from the dataset alone: the same whatever the recipe, unless recipes measure with other settings or saw other data."""
ROUNDING = 1e-6
"""The last digit of scores.csv."""
LOWER_IS_BETTER = (
    "mse", "mse_hidden", "mae", "loss", "rmse_hidden", "rmse_db_hidden", "mae_db_hidden", "nll_hidden", "dead_features",
)  # fmt: skip
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

    by_seed: dict[int, float]
    """By pretraining seed (−1 where the model has none): the mean over its probe seeds."""
    by_probe: dict[tuple[int, int], float]
    """By pretraining seed and probe seed."""
    by_items: Interval
    """Over test items, the mean of its rows."""
    n_train: float
    n_test: float

    @property
    def seeds(self) -> int:
        """How many pretraining seeds; 0 for what was not pretrained."""
        return sum(seed >= 0 for seed in self.by_seed)

    @property
    def mean(self) -> float:
        """Over pretraining seeds."""
        return float(np.mean(list(self.by_seed.values())))


def t_interval(values: Sequence[float], covers: str) -> Interval:
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


def contender(rows: list[_Row]) -> Contender:
    """Average the rows of one model: first over probe seeds inside a pretraining seed, then kept per seed."""
    by_probe: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        by_probe.setdefault((row.pretrain_seed, row.probe_seed), []).append(row.value)
    means = {key: float(np.mean(values)) for key, values in sorted(by_probe.items())}
    by_seed: dict[int, list[float]] = {}
    for (seed, _), value in means.items():
        by_seed.setdefault(seed, []).append(value)
    by_items = NO_INTERVAL
    if not any(math.isnan(row.low) or math.isnan(row.high) for row in rows):
        low, high = (
            float(np.mean([row[at] for row in rows])) for at in (_Row._fields.index("low"), _Row._fields.index("high"))
        )
        by_items = Interval(low, high, "test items")
    n_train, n_test = max(row.n_train for row in rows), max(row.n_test for row in rows)
    return Contender({seed: float(np.mean(v)) for seed, v in by_seed.items()}, means, by_items, n_train, n_test)


def interval(one: Contender) -> Interval:
    """The wider of test items and pretraining seeds, where there are three; of one seed, of test items and probe seeds.

    Seeds say nothing of what other test items would have given, nor items of other seeds: alone either is too narrow.
    """
    if len(one.by_seed) >= 3:
        return wider(t_interval(list(one.by_seed.values()), "pretraining seeds"), one.by_items)
    if len(one.by_seed) == 1:
        return wider(t_interval(list(one.by_probe.values()), "probe seeds"), one.by_items)
    return one.by_items


def difference(one: Contender, base: Contender, base_has_seeds: bool) -> tuple[float, Interval]:
    """Mean of (one − base) over shared pretraining seeds, and its interval.

    A baseline without pretraining seeds is the same number for every seed. The interval is the wider of that over three pairs or more
    and the one made of both over items as if they were independent, which is too wide for two models on the same test items.
    """
    if base_has_seeds:
        gaps = [value - base.by_seed[seed] for seed, value in one.by_seed.items() if seed in base.by_seed]
        if not gaps:
            return math.nan, NO_INTERVAL
    else:
        gaps = [value - base.mean for value in one.by_seed.values()]
    mean, a, b = float(np.mean(gaps)), one.by_items, base.by_items
    found = NO_INTERVAL
    if not (math.isnan(a.low) or math.isnan(b.low)):
        half = math.hypot(a.high - a.low, b.high - b.low) / 2
        found = Interval(mean - half, mean + half, "test items (unpaired)")
    if len(gaps) >= 3:
        covers = "paired, pretraining seeds" if base_has_seeds else "pretraining seeds, baseline as it is"
        return mean, wider(t_interval(gaps, covers), found)
    pairs = [value - base.by_probe[probe] for probe, value in one.by_probe.items() if probe in base.by_probe]
    if len(one.by_seed) == 1 and len(pairs) >= 3:
        found = wider(t_interval(pairs, "paired, probe seeds"), found)
    return mean, found


def item_by_item(gain: Contender) -> Interval | None:
    """The interval of a gain that was measured on the same items, None where there is none."""
    found = interval(gain)
    return None if math.isnan(found.low) else found._replace(covers=f"paired, {found.covers}")


class _Row(NamedTuple):
    """The numbers of one row of scores.csv; NaN where there is none, −1 for no seed."""

    recipe: str
    model: str
    pretrain_seed: int
    probe_seed: int
    n_train: float
    n_test: float
    value: float
    low: float
    high: float


def disputed(scores: pd.DataFrame, task: str, metric: str, dataset: str) -> set[str]:
    """Data baselines of which two tables say different things, on any split and any number of labels.

    One split decides for all, so that a row finds its validation score and a curve over labels stays one curve.
    """
    wanted = scores["task"].eq(task) & scores["metric"].eq(metric) & scores["dataset"].eq(dataset)
    found = scores[wanted & scores["model"].isin(DATA_BASELINES)]
    if found["recipe"].nunique() < 2:
        return set()
    same = ["model", "split", "labels_per_class", "pretrain_seed", "probe_seed"]
    by_question = found.groupby(same, dropna=False)[["value", "n_train", "n_test"]]
    apart = (by_question.max() - by_question.min()).gt(1.5 * ROUNDING).fillna(False).any(axis=1)
    return set(apart[apart].index.get_level_values("model"))


def disagreement(table: pd.DataFrame) -> str:
    """Which data baselines of a leaderboard stand under their recipes, and why; '' where none does."""
    own = table[table["model"].isin(DATA_BASELINES) & table["recipe"].ne("")]
    if own.empty:
        return ""
    names = ", ".join(words.model(name) for name in sorted(set(own["model"])))
    return (
        f"Recipes measured {names} with other settings or on other data, so each recipe has a row of its own: "
        "compare a model with the row of its recipe."
    )


def remarks(table: pd.DataFrame) -> list[str]:
    """What to know of a leaderboard before its rows are compared."""
    unranked = "These rows have no validation score, so they are in order of their names, not of their merit."
    told = [unranked if len(table) and table["rank"].isna().all() else "", disagreement(table)]
    return [one for one in told if one]


def contenders(rows: pd.DataFrame, apart: Collection[str] = ()) -> dict[tuple[str, str], Contender]:
    """(recipe, model) → its averaged rows.

    A data baseline is one contender, recipe '', in however many tables it is; one of ``apart`` is a contender of each recipe.
    """
    groups: dict[tuple[str, str], list[_Row]] = {}
    seen: set[tuple[str, int, int]] = set()
    numbers = [rows[name].to_numpy(dtype=float, na_value=math.nan) for name in _Row._fields[2:]]
    for recipe, model, *values in zip(rows["recipe"], rows["model"], *numbers):
        seeds = (-1 if math.isnan(seed) else int(seed) for seed in values[:2])
        shared = model in DATA_BASELINES and model not in apart
        row = _Row("" if shared else str(recipe), str(model), *seeds, *values[2:])
        if shared:
            once = row[1:4]  # the same baseline in another recipe's table, whatever its bootstrap drew
            if once in seen:
                continue
            seen.add(once)
        groups.setdefault((row.recipe, row.model), []).append(row)
    return {name: contender(groups[name]) for name in sorted(groups)}


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

    A data baseline is one row, recipe '', where all recipes agree on it (`disputed`), else a row for each of them.
    `baseline` is a (recipe, model) of the same table; differences are value − baseline, those that
    `evaluate` paired item by item (metric `accuracy_gain_over_…`) where there are any.
    """
    apart = disputed(scores, task, metric, dataset)
    shown = contenders(pick(scores, task, metric, dataset, split, labels_per_class), apart)
    ranking = contenders(pick(scores, task, metric, dataset, "validation", labels_per_class), apart)
    base = shown.get(baseline) if baseline else None
    gain = f"{metric}{words.GAIN}{baseline[1]}" if baseline else ""
    gains = contenders(pick(scores, task, gain, dataset, split, labels_per_class)) if gain else {}
    rows = []
    for (recipe, model), one in shown.items():
        found = interval(one)
        gap, around = math.nan, NO_INTERVAL
        if base is not None and (recipe, model) != baseline:
            gap, around = difference(one, base, base.seeds > 0)
            paired = gains.get((recipe, model))
            if paired is not None and baseline is not None and baseline[0] in ("", recipe):
                gap, around = paired.mean, item_by_item(paired) or around
        chosen_on = ranking.get((recipe, model))
        rows.append(
            {
                "recipe": recipe,
                "model": model,
                "value": one.mean,
                "low": found.low,
                "high": found.high,
                "covers": found.covers,
                "n_seeds": one.seeds,
                "n_probe_seeds": len({probe for _, probe in one.by_probe}),
                "n_train": one.n_train,
                "n_test": one.n_test,
                "validation": chosen_on.mean if chosen_on else math.nan,
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
    ascending = words.plain(metric) in LOWER_IS_BETTER
    table = table.astype({"n_train": "Int64", "n_test": "Int64"})
    table["rank"] = table["validation"].rank(ascending=ascending, method="min").astype("Int64")
    table = table.sort_values(["rank", "recipe", "model"], na_position="last", ignore_index=True)
    return table[COLUMNS]
