"""What a study shows: what mattered, how the mask ratio did, what cost what, and which proxies could have been trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import figures, state
from experiments import words
from experiments.correlations import caveat
from experiments.goals import COSTS, FEW_TRIALS, LOSS, PROXIES, metric_words
from experiments.pareto import PICKED
from experiments.pinning import searched_keys
from experiments.results import best_trial, last_rungs

SMOOTH = 0.1
"""Width of the Gaussian under a mask-ratio curve."""
COLUMNS = {"flops": "encode_flops", "parameters": "parameters"}
"""Columns of trials.parquet that hold what a configuration costs to use."""


def first_rung(trials: pd.DataFrame) -> pd.DataFrame:
    """Scored trials of the shortest schedule, or of a population's first round."""
    return trials[trials["rung"].eq(0) & trials["score"].notna() & trials["origin"].ne("confirm")]


def alike(summary: dict[str, Any]) -> str:
    """What trials of one rung have in common, in words: members of a population make equal steps, and hiding less costs more."""
    return "of equal steps, whatever they cost" if summary.get("schedule") else "at equal cost"


def charts(trials: pd.DataFrame, summary: dict[str, Any], metric: str) -> None:
    """Importance beside the mask ratio, slices beside parallel coordinates, cost beside loss.

    Members of a population change their mask ratio on the way: ``schedule`` shows it instead.
    """
    if summary.get("schedule"):
        importance(summary, metric)
    else:
        left, right = st.columns(2)
        with left:
            importance(summary, metric)
        with right:
            ratio(trials, summary, metric)
    keys = [key for key in searched_keys(map(str, trials.columns)) if first_rung(trials)[key].nunique() > 1]
    if keys:
        left, right = st.columns(2)
        with left:
            slices(trials, summary, keys, metric)
        with right:
            lines(trials, keys, metric)
    left, right = st.columns(2)
    with left:
        cost(trials, summary, metric)
    with right:
        loss(trials, summary, metric)


def importance(summary: dict[str, Any], metric: str) -> None:
    """Bars with the number of trials that they rest on."""
    st.subheader("Importance", anchor=False)
    shares = {str(k): float(v) for k, v in (summary.get("importance") or {}).items() if isinstance(v, int | float)}
    n = summary.get("importance_n") or 0
    if not shares:
        st.caption("Too few finished trials, or only one searched key.")
        return
    frame = pd.DataFrame({"key": list(shares), "share": list(shares.values())})
    frame = frame.sort_values("share", ascending=False, kind="stable")
    title = f"share of the variance of {metric} (n = {n})"
    state.chart(figures.bars(list(frame["key"]), list(frame["share"]), title), frame, "importance")
    if n < FEW_TRIALS:
        st.caption(
            f":orange-badge[Noisy] from {n} trials. Below {FEW_TRIALS} the order can change with the next trial."
        )


def ratio(trials: pd.DataFrame, summary: dict[str, Any], metric: str) -> None:
    """The score by mask ratio: a curve per strategy over the first rung, where strategies were tried, else all trials."""
    st.subheader("Mask ratio", anchor=False)
    last, first = last_rungs(trials), first_rung(trials)
    if "masking.ratio" not in last or last.empty:
        st.caption("The recipe pins masking.ratio, so the search leaves it alone.")
    elif "masking.strategy" in first and first["masking.strategy"].nunique() > 1:
        axes = ("masking.ratio", "score", "masking.strategy", "mask ratio", metric)
        state.chart(figures.by_group(first, *axes, SMOOTH), first, "mask-ratio")
        st.caption(f"First rung, all trials {alike(summary)}. Curves are means under a Gaussian of width {SMOOTH}.")
    else:
        best = best_trial(trials)
        drawn = figures.trials(
            last, "masking.ratio", "score", "mask ratio", metric, best, line=(0.75, "0.75, He et al.")
        )
        state.chart(drawn, last, "mask-ratio")
        st.caption("Pale dots were stopped early, on a shorter budget: compare full dots with full dots.")


def slices(trials: pd.DataFrame, summary: dict[str, Any], keys: list[str], metric: str) -> None:
    """The score against one searched key."""
    st.subheader("Slice", anchor=False)
    key = state.choose("Searched key", keys, "slice", format_func=words.short)
    first = first_rung(trials)
    state.chart(figures.trials(first, key, "score", key, metric, log_x=key == "pretrain.lr"), first, "slice")
    st.caption(f"First rung, n = {len(first)} trials {alike(summary)}; the other keys vary, too.")


def lines(trials: pd.DataFrame, keys: list[str], metric: str) -> None:
    """Parallel coordinates."""
    st.subheader("Parallel coordinates", anchor=False)
    first = first_rung(trials)
    state.chart(figures.parallel(first, keys, "score", metric), first[["trial", *keys, "score"]], "parallel")
    st.caption("A line is a trial of the first rung. Drag along an axis to keep the lines that pass there.")


def cost(trials: pd.DataFrame, summary: dict[str, Any], metric: str) -> None:
    """What a configuration costs to use against what it scores, with the front; of older searches the training cost."""
    st.subheader("Cost and score", anchor=False)
    last, best = last_rungs(trials), best_trial(trials)
    if last.empty:
        return
    asked = [name for name in summary.get("objectives") or [] if name in COSTS]
    able = [name for name in (*asked, *COSTS) if COLUMNS[name] in last and last[COLUMNS[name]].gt(0).all()]
    if not (able and "encode_flops" in last):
        drawn = figures.trials(last, "flops", "score", "training FLOPs", metric, best, log_x=True)
        state.chart(drawn, last, "cost")
        st.caption("Trials of one rung get equal FLOPs; a stopped trial cost less. Seconds never decide.")
        return
    name = state.choose("Cost", list(dict.fromkeys(able)), "cost", format_func=lambda one: COSTS[one].what)
    longest = last[last["rung"].eq(last["rung"].max())]
    ahead = [int(trial) for trial in summary.get("front") or []]
    star, called = best, "best"
    if ahead:
        picked = longest[longest["trial"].eq(summary.get("picked") or 0)]
        star, called = picked.iloc[0] if len(picked) else None, "picked"
    default = longest[longest["origin"].eq("default")]
    cross = default.iloc[0] if len(default) else None
    axes = (COLUMNS[name], "score", COSTS[name].what, metric)
    state.chart(figures.front(longest, *axes, ahead, star, cross, called), longest, "cost")
    if ahead:
        goals = ", ".join(map(str, summary.get("objectives") or []))
        told = f"The stair joins {len(ahead)} of {len(longest)} trials of the longest schedule that none dominates in {goals}."
        st.caption(f"{told} Picked by default: {PICKED}. Lines cross at the defaults.")
    elif summary.get("schedule"):
        st.caption(
            "The last round: all made equal steps, and those that hide less cost more to train. Lines cross at the defaults."
        )
    else:
        st.caption("The longest schedule: all cost the same to train, not to use. Lines cross at the defaults.")


def loss(trials: pd.DataFrame, summary: dict[str, Any], metric: str) -> None:
    """How far the loss would have led."""
    st.subheader("Loss and score", anchor=False)
    last = last_rungs(trials)
    if len(last):
        drawn = figures.trials(last, "loss", "score", "reconstruction loss", metric, best_trial(trials))
        state.chart(drawn, last, "loss-score")
    found = summary.get("rank_correlation") or {}
    rank = found.get("loss_with_score")
    if isinstance(rank, int | float):
        st.caption(f"Rank correlation {rank:+.2f} (n = {found.get('n')}). Near −1 the loss would do; else it misleads.")


def proxies(table: pd.DataFrame, summary: dict[str, Any], metric: str, seconds: Mapping[str, float]) -> None:
    """Rank correlations with the score, by proxy, with their intervals and the mean ``seconds`` that each took of a trial."""
    if table.empty:
        return
    st.subheader("Which proxies could have been trusted", anchor=False)
    rungs = sorted({(int(r), int(t)) for r, t in zip(table["rung"], table["target_rung"])})
    named = {f"rung {r} with the score at rung {t}": (r, t) for r, t in rungs}
    at = named[state.choose("Proxy at", list(named), "proxy_rung")]
    shown = table[table["rung"].eq(at[0]) & table["target_rung"].eq(at[1])]
    known = shown[shown["spearman"].notna()].rename(columns={"spearman": "value"})
    left, right = st.columns(2)
    with left:
        if len(known):
            names = [PROXIES[p].what if p in PROXIES else "training loss" for p in known["proxy"]]
            hover = [
                f"{name}: {value:+.2f}, n = {n:g} trials" for name, value, n in zip(names, known["value"], known["n"])
            ]
            rows = known.assign(label=names, hover=hover, main=known["proxy"].ne(LOSS))
            state.chart(figures.whiskers(rows, "Spearman's ρ with the score", 0.0), shown, "proxies")
        else:
            st.caption("Too few trials reached both rungs for a rank correlation.")
    with right:
        listed = shown.drop(columns=["rung", "target_rung"])
        st.dataframe(listed.assign(seconds=listed["proxy"].map(seconds)) if seconds else listed, hide_index=True)
    st.caption(
        f"Of {metric}. +1: the proxy would have chosen the same, whatever its direction; 95 % bootstrap interval over trials; `top`: the "
        f"better half alone, among which a search chooses. {caveat(summary)}"
    )


def schedule(trials: pd.DataFrame, summary: dict[str, Any]) -> None:
    """How a population moved, and the way to its best member."""
    found = summary.get("schedule")
    if not isinstance(found, dict):
        return
    st.subheader("Schedule", anchor=False)
    members = trials[trials["origin"].ne("confirm")]
    keys = [key for key in ("masking.ratio", "pretrain.lr") if key in members]
    for place, key in zip(st.columns(max(len(keys), 1)), keys):
        with place:
            state.chart(figures.schedules(members, key, found.get("line") or [], key), members, f"schedule-{key}")
    changes = pd.DataFrame(found.get("changes") or [], columns=["step", "ratio", "lr"])
    st.dataframe(changes, hide_index=True)
    st.caption(
        f"In steps of a final run of {found.get('steps', 0):,}: from each step on, the mask ratio and the peak rate."
    )


def titled(summary: dict[str, Any]) -> str:
    """'k-NN accuracy', for axes."""
    metric = str(summary.get("metric", "score"))
    return metric_words(metric) if metric in (*PROXIES, "label_free") else words.short(metric, 20)
