"""The report's page of a search: which proxies could have been trusted, and which trials none dominates."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from experiments import words
from experiments.correlations import caveat
from experiments.goals import COSTS, OBJECTIVES, PROXIES
from experiments.markup import Markup, details, table, tag
from experiments.pareto import PICKED


def percent(metric: str) -> bool:
    """Whether scores by this metric are accuracies."""
    return metric in PROXIES and PROXIES[metric].labels


def trusted(proxies: pd.DataFrame, summary: dict[str, Any]) -> Markup | None:
    """Rank correlations with the score, a row per proxy and pair of rungs; all but the first rung with its last target are folded away."""
    if proxies.empty:
        return None
    first = proxies["rung"].eq(0)
    shown = first & proxies["target_rung"].eq(proxies.loc[first, "target_rung"].max())
    columns = ["proxy", "at rung", "with the score at rung", "Spearman's ρ", "n", "of the better half", "n"]
    note = (
        "Values are turned so that +1 is a proxy that would have chosen the same. 95 % bootstrap intervals over trials. "
        f"{caveat(summary)}"
    )
    drawn = table(columns, [_row(one) for one in proxies[shown].to_dict("records")], numbers=(1, 2, 4, 6), caption=note)
    rest = [_row(one) for one in proxies[~shown].to_dict("records")]
    more = details("Other rungs", table(columns, rest, numbers=(1, 2, 4, 6))) if rest else None
    return tag("div", tag("h4", "Which proxies could have been trusted"), drawn, more)


def _row(one: dict[Any, Any]) -> list[Any]:
    def number(prefix: str) -> str:
        value, low, high = (float(one[prefix + name]) for name in ("spearman", "low", "high"))
        if math.isnan(value):
            return words.NONE
        return f"{value:+.2f}" + ("" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]")

    what = PROXIES[one["proxy"]].what if one["proxy"] in PROXIES else "training loss"
    rungs = [f"{one['rung']:.0f}", f"{one['target_rung']:.0f}"]
    return [what, *rungs, number(""), f"{one['n']:.0f}", number("top_"), f"{one['top_n']:.0f}"]


def front(summary: dict[str, Any], trials: pd.DataFrame) -> Markup | None:
    """The trials that none dominates, with what they score and cost; None for a search with one objective."""
    ahead, goals = summary.get("front") or [], [g for g in summary.get("objectives") or [] if g in OBJECTIVES]
    last = trials[trials["rung"].eq(trials["rung"].max()) & trials["origin"].ne("confirm")] if len(trials) else trials
    rows = last[last["trial"].isin(ahead)] if len(last) else last
    if rows.empty or len(goals) < 2:
        return None
    columns = {"flops": "encode_flops", "parameters": "parameters"}
    shown = [g for g in goals[1:] if (columns.get(g) or f"proxy.{g}") in rows]
    listed = [
        [
            f"{one['trial']}{' (picked)' if one['trial'] == summary.get('picked') else ''}",
            f"{one['score']:.4f}",
            *(
                words.amount(float(one[columns[g]]), "FLOP" if g == "flops" else "")
                if g in COSTS
                else f"{one[f'proxy.{g}']:.4g}"
                for g in shown
            ),
        ]
        for one in rows.sort_values("score", ascending=False).to_dict("records")
    ]
    note = f"Trials of the longest schedule that none dominates. Picked: {PICKED}."
    return table(
        ["trial", "score", *(OBJECTIVES[g].what for g in shown)], listed, numbers=range(1, 2 + len(shown)), caption=note
    )


def schedule(summary: dict[str, Any]) -> Markup | None:
    """What the best member of a population did, in steps of a final run; None for other searches."""
    found = summary.get("schedule")
    changes = found.get("changes") if isinstance(found, dict) else None
    if not found or not changes:
        return None
    rows: list[list[Any]] = [[f"{one['step']:,}", f"{one['ratio']:.3g}", f"{one['lr']:.3g}"] for one in changes]
    note = f"Schedule of the best member of a population, over {found['steps']:,} steps; the rate is the peak of its curve."
    return table(["from step", "mask ratio", "learning rate"], rows, numbers=range(3), caption=note)
