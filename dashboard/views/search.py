"""Search: what was tried, what mattered, what it cost, and why the winner won."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.study.charts import charts, proxies, schedule, titled
from dashboard.study.running import running
from dashboard.study.trials import table
from dashboard.study.verdict import verdict
from experiments import words
from experiments.goals import METRICS, PROXIES, needs_labels
from experiments.live import proxy_seconds, under_way
from experiments.proxies import MOST_SAMPLES, MOST_UNLABELLED
from experiments.results import Store, best_trial, repro

MASKED = {"explained", "lidar"}
"""Measures that mask samples several times, so that they take fewer."""


def validation_samples(found: Store, recipe: str, metric: str) -> str:
    """What the score of a trial rests on, in words: '400 labelled validation samples'."""
    if metric not in METRICS:
        return "validation samples"
    name = next((r.dataset for r in found.recipes() if r.name == recipe), "")
    info = next((d.info for d in found.datasets() if d.name == name), {})
    split = (info.get("splits") or {}).get("validation") or {}
    labelled = needs_labels(metric)
    n = split.get("labelled" if labelled else "samples")
    most = MOST_UNLABELLED if MASKED & set(METRICS[metric]) else MOST_SAMPLES
    count = f"{min(n, most):,}" if isinstance(n, int) else f"at most {most:,}"
    return f"{count} {'labelled ' if labelled else ''}validation samples"


def cards(found: Store, recipe: str, summary: dict[str, Any], trials: pd.DataFrame) -> None:
    """How many trials, how they ended, what they cost, and the best score."""
    searched = trials[trials["origin"].ne("confirm")]
    status = searched.sort_values(["trial", "rung"]).groupby("trial").last()["status"].value_counts()
    places = st.columns(4)
    places[0].metric("Trials", f"{searched['trial'].nunique()}", border=True, help="Confirming runs are not counted.")
    parts = [f"{int(status.get(s, 0))}" for s in ("complete", "stopped", "failed")]
    places[1].metric("Complete / stopped / failed", " / ".join(parts), border=True)
    flops = summary.get("flops")
    cost = words.amount(flops, "FLOP") if isinstance(flops, int | float) else words.NONE
    places[2].metric("Cost", cost, border=True)
    best = best_trial(trials)
    metric = str(summary.get("metric", ""))
    percent = metric in PROXIES and PROXIES[metric].labels
    score = "–" if best is None else f"{100 * best['score']:.1f} %" if percent else f"{best['score']:.3g}"
    samples = validation_samples(found, recipe, metric)
    places[3].metric(
        f"Best {state.plain(titled(summary))}", score, border=True,
        help=f"On {samples}. The best of many trials flatters: the verdict below does not.",
    )  # fmt: skip
    if metric == "label_free":
        st.caption(
            "Too few labels for a probe: trials are ranked by the mean of two ranks, comparable within one rung alone."
        )


def page(found: Store) -> None:
    state.header(
        "Search", "Ranked by a frozen-feature probe on the validation split, never by the reconstruction loss."
    )
    now = under_way(found)
    names = [*found.trained_names(), *(name for name in now if name not in found.trained_names())]
    if not names:
        state.empty("No search has run in this folder yet.")
        return
    recipe = state.choose("Recipe", names, "recipe", format_func=words.short)
    summary, trials = found.search_summary(recipe), found.trials(recipe)
    if recipe in now:
        running(now[recipe], recipe, titled(summary))
    if trials.empty and not summary:
        if recipe not in now:
            state.empty("This recipe was not searched: no key is auto, or search has not run.", repro("search", recipe))
        return
    cards(found, recipe, summary, trials)
    if summary:
        verdict(summary)
    if len(trials):
        charts(trials, summary, titled(summary))
        schedule(trials, summary)
        proxies(found.proxies(recipe), summary, titled(summary), proxy_seconds(found, recipe))
        table(found, trials, summary, recipe)


if __name__ == "__main__":
    state.guarded(page)
