"""Training: loss, learning rate and gradient norm, a line per seed."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import figures, state
from experiments import words
from experiments.columns import PULLS, masks_of, parts_of
from experiments.results import Store, repro

SMALL = {"lr": "Learning rate", "grad_norm": "Gradient norm"}


def totals(history: pd.DataFrame, found: Store) -> pd.DataFrame:
    """One row per (recipe, seed): how far it went and where it ended."""
    timings = found.timings()
    timings = timings[timings["stage"] == "pretrain"].drop_duplicates("recipe", keep="last").set_index("recipe")
    rows = []
    for (recipe, _), part in history.groupby(["recipe", "seed"], sort=False):
        last = part.iloc[-1]
        rows.append(
            {
                "recipe": words.short(recipe),
                "seed": int(last["seed"]),
                "steps": int(last["step"]),
                "samples seen": int(last["samples"]),
                "epochs": last["epoch"],
                "last loss": last["loss"],
                "non-finite steps": int(part["nonfinite_steps"].max()),
                "all seeds, s": timings["seconds"].get(recipe) if "seconds" in timings else None,
            }
        )
    return pd.DataFrame(rows)


def page(found: Store) -> None:
    state.header(
        "Training",
        "Losses of recipes with different mask ratios, patch sizes or targets cannot be compared: scores can.",
    )
    names = found.trained_names()
    if not names:
        state.empty("No recipe has been trained yet.")
        return
    first, second, third, fourth = st.columns([5, 2, 2, 1.6], vertical_alignment="bottom")
    with first:
        chosen = state.choose_several("Recipes", names, "recipes")
    with second:
        x = state.choose("x axis", ["step", "samples", "epoch"], "x")
    with third:
        smoothing = st.slider("Smoothing", 0.0, 0.95, 0.0, 0.05, key="smooth", bind="query-params")
    with fourth:
        log = st.toggle("Log axis", key="log", bind="query-params")
    tables = {name: found.history(name) for name in chosen}
    tables = {name: table for name, table in tables.items() if len(table)}
    if not tables:
        if chosen:
            state.empty("There are no curves for this choice yet.", repro("pretrain", chosen[0]))
        else:
            st.info("Choose at least one recipe.")
        return
    history = pd.concat([table.assign(recipe=name) for name, table in tables.items()], ignore_index=True)
    bad = int(history.groupby(["recipe", "seed"])["nonfinite_steps"].max().sum())
    if bad:
        st.warning(f"{bad} steps had a loss or gradient that was not finite and were skipped.")
    state.chart(figures.curves(history, "loss", x, log, smoothing), history, "loss")
    for place, quantity in zip(st.columns(2), SMALL):
        with place:
            st.subheader(SMALL[quantity], anchor=False)
            state.chart(
                figures.curves(history, quantity, x, log, smoothing if quantity != "lr" else 0.0, legend=False),
                history,
                quantity,
            )
    pulls = [name for name in history.columns if name.startswith(PULLS)]
    for heading, label, some in (
        ("Parts of the loss, without their weights", "Part", [*parts_of(history.columns), *pulls]),
        ("What learned masks do", "Measure", masks_of(history.columns)),
    ):
        if some:
            st.subheader(heading, anchor=False)
            one = state.choose(label, some, label.lower())
            having = history[history[one].notna()]
            state.chart(figures.curves(having, one, x, log, smoothing, legend=False), having, one)
    st.subheader("Where each run ended", anchor=False)
    number = st.column_config.NumberColumn
    columns = {"samples seen": number(format="localized"), "epochs": number(format="%.1f")}
    columns |= {"last loss": number(format="%.4f"), "all seeds, s": number(format="%.0f")}
    st.dataframe(totals(history, found), hide_index=True, column_config=columns, placeholder="–")
    longest = int(history.groupby(["recipe", "seed"]).size().max())
    if longest > figures.MOST_POINTS:
        st.caption(f"{longest:,} logged points a run are drawn as {figures.MOST_POINTS:,}; peaks are kept.")


if __name__ == "__main__":
    state.guarded(page)
