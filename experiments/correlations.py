"""Which proxy may be trusted: its rank correlation with the probe that counts, over the finished trials of a search."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from experiments.columns import PROXY_COLUMNS
from experiments.goals import COLUMN, LOSS, METRICS, PROXIES, oriented
from mae_core.evaluation.statistics import Interval, rank_correlation

FEW = 10
"""Trials below which an interval spans most of what is possible."""
CHOSEN = "Trials of a higher rung were chosen by the score, which lowers these figures."
TAKEN_OVER = (
    "A round of a population stands by itself: members take over the weights of others, so an early measure and a late score of one "
    "number can be of two trainings. Members of one descent are alike, so that intervals beyond the first round are too narrow."
)


def caveat(summary: dict[str, Any]) -> str:
    """What to bear in mind of the correlations of a search, by its search.json."""
    return TAKEN_OVER if summary.get("schedule") else CHOSEN


def correlations(trials: pd.DataFrame, metric: str, target: str = "score") -> pd.DataFrame:
    """``PROXY_COLUMNS``: Spearman's ρ of every proxy at every rung with ``target`` at that rung and at the longest one.

    Values are turned so that more is better: +1 is a proxy that would have chosen the same, whatever its direction. ``trials`` is the
    table of trials.parquet; confirming and failed runs do not count. What the target is made of (``metric``) is left out at the target's
    own rung. Beside all trials stands the better half of them by the target, among which a search has to choose. Trials of the longest rung
    were chosen by the metric, so correlations with that rung are lower than over all trials (restriction of range).

    Of a population (rows with a ``parent``) each rung stands beside itself alone. A member that took over another one's weights keeps its
    number, so numbers do not join an early measure with what came of it. Descent would, but after some rounds all members descend from a
    few: the same early measure would stand in many pairs, and a bootstrap over them would claim more than those few can tell.
    """
    scored = trials[trials["origin"].ne("confirm") & trials[target].notna()]
    if scored.empty:
        return pd.DataFrame(columns=PROXY_COLUMNS)
    own = set(METRICS.get(metric, (metric,))) if target == "score" else {target.removeprefix(COLUMN)}
    longest = int(scored["rung"].max())
    population = "parent" in scored and scored["parent"].notna().any()
    rows = []
    for rung in sorted({int(r) for r in scored["rung"]}):
        at = scored[scored["rung"] == rung].set_index("trial")
        for end in sorted({rung} if population else {rung, longest}):
            wanted = scored[scored["rung"] == end].set_index("trial")[target]
            for name in (*PROXIES, LOSS):
                column = LOSS if name == LOSS else COLUMN + name
                if column not in at or (end == rung and name in own):
                    continue
                both = pd.DataFrame({"proxy": at[column], "target": wanted}).dropna()
                if both.empty:
                    continue
                rows.append({"proxy": name, "rung": rung, "target_rung": end, **_pair(name, both)})
    return pd.DataFrame(rows, columns=PROXY_COLUMNS)


def _pair(name: str, both: pd.DataFrame) -> dict[str, Any]:
    turned = np.array([oriented(name, float(value)) for value in both["proxy"]])
    wanted = both["target"].to_numpy(dtype=float)
    whole = rank_correlation(turned, wanted)
    kept = wanted >= np.median(wanted)
    return {**_numbers("", whole), **_numbers("top_", rank_correlation(turned[kept], wanted[kept]))}


def _numbers(prefix: str, found: Interval) -> dict[str, Any]:
    def digits(value: float) -> float:
        return round(value, 4) if math.isfinite(value) else math.nan

    return {
        f"{prefix}n": found.n,
        f"{prefix}spearman": digits(found.mean),
        f"{prefix}low": digits(found.low),
        f"{prefix}high": digits(found.high),
    }
