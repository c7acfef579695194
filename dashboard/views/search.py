"""Search: what was tried, what mattered, what it cost, and why the winner won."""

from __future__ import annotations

import math
import shlex
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
import yaml

from dashboard import figures, state
from experiments import words
from experiments.results import Store, best_trial, last_rungs, repro

FEW = 20
FIXED = ["trial", "rung", "origin", "status", "seed", "steps", "flops", "parameters", "score", "loss"]


def rounded(value: Any) -> Any:
    """A setting as a person would write it: plain Python, four significant digits."""
    value = value.item() if isinstance(value, np.generic) else value
    return float(f"{value:.4g}") if isinstance(value, float) else value


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """{'a.b': 1} → {'a': {'b': 1}}, as a recipe wants it."""
    tree: dict[str, Any] = {}
    for key, value in dotted.items():
        *above, last = key.split(".")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[last] = rounded(value)
    return tree


def as_command(recipe: str, dotted: dict[str, Any]) -> str:
    """The shell command that trains a recipe with a trial's values; a hostile name stays one quoted word."""
    file = f"experiments/recipes/{recipe}.yaml"
    return " \\\n  ".join(
        ["dvc exp run", *(f"-S {shlex.quote(f'{file}:{k}={rounded(v)}')}" for k, v in dotted.items())]
    )


def metric_words(summary: dict[str, Any]) -> str:
    """'k-NN accuracy', for the axes."""
    metric = str(summary.get("metric", "score"))
    return f"{words.TASK_WORDS[metric]} accuracy" if metric in words.TASK_WORDS else words.short(metric, 20)


def verdict(summary: dict[str, Any]) -> None:
    st.subheader("Why the winner won", anchor=False)
    chosen = str(summary.get("chosen", ""))
    box = st.success if chosen == "winner" else st.info
    box(state.plain(summary.get("verdict") or "The search gives no verdict.", 400), icon=":material/emoji_events:")
    confirm = summary.get("confirm") or {}
    text, (left, right) = st.empty(), st.columns(2)
    seeds, default, won = (confirm.get(k) or [] for k in ("seeds", "default", "winner"))
    if seeds and len(seeds) == len(default) == len(won):
        gain, error = confirm.get("gain"), confirm.get("standard_error")
        text.caption(
            f"Run again from other seeds at the longest budget: paired gain {gain:+.4f}, standard error {error:.4f} "
            f"(n = {len(seeds)} seeds). The winner replaces the defaults only if its gain exceeds its standard error."
            if isinstance(gain, int | float) and isinstance(error, int | float)
            else f"Run again from {len(seeds)} seeds at the longest budget."
        )
        table = pd.DataFrame({"seed": seeds, "defaults": default, "winner": won})
        table["gain"] = table["winner"] - table["defaults"]
        with left:
            st.dataframe(table, hide_index=True)
    default_keys, winner_keys = summary.get("default") or {}, summary.get("winner") or {}
    rows = [
        (k, str(default_keys.get(k, "–")), str(winner_keys.get(k, "–"))) for k in sorted({*default_keys, *winner_keys})
    ]
    if rows:
        with right:
            st.dataframe(pd.DataFrame(rows, columns=["searched key", "defaults", "best trial"]), hide_index=True)


def charts(trials: pd.DataFrame, summary: dict[str, Any]) -> None:
    metric = metric_words(summary)
    last, best = last_rungs(trials), best_trial(trials)
    left, right = st.columns(2)
    with left:
        st.subheader("Importance", anchor=False)
        shares = {str(k): v for k, v in (summary.get("importance") or {}).items() if isinstance(v, int | float)}
        n = summary.get("importance_n") or 0
        if shares:
            ranked = sorted(shares.items(), key=lambda kv: -kv[1])
            frame = pd.DataFrame(ranked, columns=["key", "share"])
            state.chart(
                figures.bars(list(frame["key"]), list(frame["share"]), f"share of the variance of {metric} (n = {n})"),
                frame,
                "importance",
            )
            if n < FEW:
                st.caption(
                    f":orange-badge[Noisy] from {n} trials. Below {FEW} the order can change with the next trial."
                )
        else:
            st.caption("Too few finished trials, or only one searched key.")
    with right:
        st.subheader("Mask ratio", anchor=False)
        if "masking.ratio" in last and len(last):
            state.chart(
                figures.trials(last, "masking.ratio", "score", "mask ratio", metric, best, line=(0.75, "0.75, He et al.")),
                last, "mask-ratio",
            )  # fmt: skip
            st.caption("Pale dots were stopped early, on a shorter budget: compare full dots with full dots.")
        else:
            st.caption("The recipe pins masking.ratio, so the search leaves it alone.")
    left, right = st.columns(2)
    with left:
        st.subheader("Cost and score", anchor=False)
        if len(last):
            state.chart(
                figures.trials(last, "flops", "score", "training FLOPs", metric, best, log_x=True), last, "cost"
            )
            st.caption("Trials of one rung get equal FLOPs; a stopped trial cost less. Seconds never decide.")
    with right:
        st.subheader("Loss and score", anchor=False)
        found = summary.get("rank_correlation") or {}
        if len(last):
            state.chart(figures.trials(last, "loss", "score", "reconstruction loss", metric, best), last, "loss-score")
        rank = found.get("loss_with_score")
        if isinstance(rank, int | float):
            st.caption(
                f"Rank correlation {rank:+.2f} (n = {found.get('n')}). Near −1 the loss would do; else it misleads."
            )


def table(trials: pd.DataFrame, recipe: str) -> None:
    st.subheader("Trials", anchor=False)
    keys = [c for c in trials.columns if c not in FIXED]
    shown = trials[
        ["trial", "rung", "origin", "status", "score", "loss", *keys, "steps", "flops", "parameters", "seed"]
    ]
    shown = shown.sort_values(["rung", "score"], ascending=[False, False], na_position="last")
    number = st.column_config.NumberColumn
    columns = {"flops": number(format="scientific"), "score": number(format="%.4f"), "loss": number(format="%.4f")}
    st.dataframe(shown, hide_index=True, column_config=columns)
    state.download(trials, f"trials-{recipe}")
    if not keys:
        return
    rows = last_rungs(trials)
    best = best_trial(trials)
    if rows.empty or best is None:
        return
    options = [int(best["trial"]), *(int(t) for t in rows["trial"] if t != best["trial"])]
    trial = state.choose("Make a trial a recipe", options, f"trial_{recipe}", "Any trial, the best one first.")
    row = rows[rows["trial"] == trial].iloc[0]
    settings = {k: row[k] for k in sorted(keys) if not (isinstance(row[k], float) and math.isnan(row[k]))}
    left, right = st.columns(2)
    with left:
        st.caption("Paste over the same keys of a recipe, which pins them:")
        st.code(yaml.safe_dump(nested(settings), sort_keys=True), language="yaml")
    with right:
        st.caption("Or run it once, without an edit:")
        st.code(as_command(recipe, settings), language="bash", wrap_lines=True)


def validation_samples(found: Store, recipe: str) -> str:
    """How many samples the score of a trial rests on, in words."""
    name = next((r.dataset for r in found.recipes() if r.name == recipe), "")
    info = next((d.info for d in found.datasets() if d.name == name), {})
    n = ((info.get("splits") or {}).get("validation") or {}).get("samples")
    return f"{n:,}" if isinstance(n, int) else "the"


def page(found: Store) -> None:
    state.header(
        "Search", "Ranked by a frozen-feature probe on the validation split, never by the reconstruction loss."
    )
    names = found.trained_names()
    if not names:
        state.empty("No search has run in this folder yet.")
        return
    recipe = state.choose("Recipe", names, "recipe", format_func=words.short)
    summary, trials = found.search_summary(recipe), found.trials(recipe)
    if trials.empty and not summary:
        state.empty("This recipe was not searched: no key is auto, or search has not run.", repro("search", recipe))
        return
    searched = trials[trials["origin"].ne("confirm")]
    status = searched.sort_values(["trial", "rung"]).groupby("trial").last()["status"].value_counts()
    cards = st.columns(4)
    cards[0].metric("Trials", f"{searched['trial'].nunique()}", border=True, help="Confirming runs are not counted.")
    parts = [f"{int(status.get(s, 0))}" for s in ("complete", "stopped", "failed")]
    cards[1].metric("Complete / stopped / failed", " / ".join(parts), border=True)
    flops = summary.get("flops")
    cards[2].metric("Cost", f"{flops:.2g} FLOPs" if isinstance(flops, int | float) else "–", border=True)
    best = best_trial(trials)
    percent = summary.get("metric") in words.TASK_WORDS
    score = "–" if best is None else f"{100 * best['score']:.1f} %" if percent else f"{best['score']:.3g}"
    samples = validation_samples(found, recipe)
    cards[3].metric(
        f"Best {state.plain(metric_words(summary))}", score, border=True,
        help=f"On {samples} validation samples. The best of many trials flatters: the verdict below does not.",
    )  # fmt: skip
    if summary:
        verdict(summary)
    if len(trials):
        charts(trials, summary)
        table(trials, recipe)


if __name__ == "__main__":
    state.guarded(page)
