"""Leaderboard: every model beside its baselines, with intervals, paired differences and the settings that differ."""

from __future__ import annotations

from typing import Literal

import pandas as pd
import streamlit as st

from dashboard import figures, state
from experiments import words
from experiments.results import Store
from experiments.standings import LOWER_IS_BETTER, remarks

MOST_PLOTTED = 40
FIRST_BASELINES = ("pixels_logistic", "pixels_knn", "untrained", "scratch")
MOST_ROWS = 16


def differing(found: Store, recipes: list[str]) -> pd.DataFrame:
    """One row per recipe, one column per setting in which they are not all alike."""
    settings = {name: {k: str(v) for k, v in found.config(name).items()} for name in recipes}
    keys = sorted({k for one in settings.values() for k in one})
    keys = [k for k in keys if len({one.get(k) for one in settings.values() if one}) > 1]
    return pd.DataFrame({k: [settings[name].get(k, "–") for name in recipes] for k in keys}, index=recipes)


def question(scores: pd.DataFrame) -> tuple[str, str, str, str, int | None]:
    """The menus: dataset, task, labels per class, metric, split; each offers only what the files hold."""
    first, second, third, fourth, fifth = st.columns(5)
    with first:
        dataset = state.choose("Dataset", sorted(scores["dataset"].unique()), "dataset")
    rows = scores[scores["dataset"] == dataset]
    known = [t for t in words.TASK_WORDS if t in set(rows["task"])]
    tasks = known + sorted(set(rows["task"]) - set(known))
    with second:
        task = state.choose("Task", tasks, "task", format_func=words.task)
    rows = rows[rows["task"] == task]
    with third:
        counts = sorted({int(n) for n in rows["labels_per_class"].dropna()})
        every: list[int | None] = [*([None] if rows["labels_per_class"].isna().any() else []), *counts]
        labels = state.choose(
            "Labels per class", every, f"labels_{task}", format_func=lambda n: "all" if n is None else str(n)
        )
    with fourth:
        metric = state.choose(
            "Metric",
            sorted(rows["metric"].unique(), key=words.metric_order),
            f"metric_{task}",
            format_func=words.metric,
        )
    with fifth:
        splits = [s for s in ("test", "validation", "train") if s in set(rows["split"])]
        split = state.choose("Split", splits, "split", "The order always comes from validation, whatever is shown.")
    return dataset, task, metric, split, labels


def readable(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The leaderboard as it is read: a unit, an interval and an n beside every number."""
    scale = 100 if words.fraction(metric) else 1
    unit = words.unit(metric)
    return pd.DataFrame(
        {
            "#": table["rank"],
            "recipe": [words.short(r) if r else "(data alone)" for r in table["recipe"]],
            "model": [words.model(m) for m in table["model"]],
            f"{metric} {unit}".strip(): scale * table["value"],
            "95 % interval": [words.bounds(a, b, metric) for a, b in zip(table["low"], table["high"])],
            "interval covers": table["covers"],
            "Δ baseline": scale * table["difference"],
            "Δ 95 % interval": [
                words.bounds(a, b, metric, True) for a, b in zip(table["difference_low"], table["difference_high"])
            ],
            "Δ covers": table["difference_covers"],
            "validation": scale * table["validation"],
            "seeds": table["n_seeds"],
            "labelled": table["n_train"],
            "tested on": table["n_test"],
        }
    )


def page(found: Store) -> None:
    state.header("Leaderboard", "Ordered by the validation split. An interval says which variance it covers.")
    scores = found.scores()
    if scores.empty:
        state.empty("No model has been scored yet. This trains and scores what params.yaml lists:")
        return
    dataset, task, metric, split, labels = question(scores)
    plain = state.leaderboard(found, task, metric, dataset, split, labels)
    if plain.empty:
        state.empty("No row matches this choice: pick another split or number of labels.")
        return
    names = list(zip(plain["recipe"], plain["model"]))
    left, middle, right = st.columns([2, 2, 2])
    with left:
        options = sorted(names, key=lambda name: name[1] not in FIRST_BASELINES)
        base = state.choose(
            "Baseline for Δ", options, f"baseline_{task}", "Differences are paired on shared seeds.",
            format_func=lambda name: state.contender(*name),
        )  # fmt: skip
    with middle:
        kinds = sorted({words.model(m) for m in plain["model"]})
        # without a choice all are shown, so that a kind of model which another question or a new score brings is among them
        kept = st.multiselect("Models", kinds, key=f"models_{task}", bind="query-params", placeholder="all")
    with right:
        wanted = st.text_input("Recipe contains", key="find", bind="query-params", placeholder="any recipe")
    table = state.leaderboard(found, task, metric, dataset, split, labels, base)
    mine = table["recipe"].str.contains(wanted, case=False, regex=False) | table["recipe"].eq("")
    asked = table["model"].map(words.model).isin(kept or kinds)
    table = table[mine & asked].reset_index(drop=True)
    if table.empty:
        st.info("Nothing is left: widen the filter.")
        return
    shown = readable(table, metric)
    settings = differing(found, list(dict.fromkeys(r for r in table["recipe"] if r)))
    for key in settings.columns:
        shown[key] = [settings[key].get(r, "") if r else "" for r in table["recipe"]]
    decimals = "%.1f" if words.fraction(metric) else "%.3g"
    number = st.column_config.NumberColumn(format=decimals)
    sign = st.column_config.NumberColumn(format="%+.1f" if words.fraction(metric) else "%+.3g")
    columns = {shown.columns[3]: number, "validation": number, "Δ baseline": sign}
    tall = len(shown) > MOST_ROWS
    height: int | Literal["content"] = 36 * MOST_ROWS if tall else "content"
    st.dataframe(shown, hide_index=True, column_config=columns, height=height, placeholder="–")
    state.download(table.join(shown[settings.columns]), f"leaderboard-{dataset}-{task}", "CSV of the full table")
    lower = words.plain(metric) in LOWER_IS_BETTER
    if lower:
        st.caption("Lower is better: a negative Δ is a gain.")
    for told in remarks(table):
        st.caption(told)
    if len(settings.columns):
        st.caption(f"Settings that differ between recipes: {', '.join(state.plain(k) for k in settings.columns)}.")
    skipped(found, list(settings.index))
    st.subheader("Scores with 95 % intervals", anchor=False)
    top = table.head(MOST_PLOTTED)
    labelled = [state.contender(r, m) for r, m in zip(top["recipe"], top["model"])]
    line = table.loc[table["is_baseline"], "value"]
    scale, unit = (100 if words.fraction(metric) else 1), words.unit(metric)
    figure = figures.whiskers(
        state.whisker_rows(top, metric, labelled),
        f"{split} {metric}" + (f", {unit}" if unit else "") + (", lower is better" if lower else ""),
        None if line.empty else scale * float(line.iloc[0]),
    )
    state.chart(figure, top, f"whiskers-{dataset}-{task}")
    if len(table) > MOST_PLOTTED:
        st.caption(f"The first {MOST_PLOTTED} of {len(table)} rows are drawn.")


def skipped(found: Store, recipes: list[str]) -> None:
    """What did not run and why, and what to know of what ran."""
    rows = [(name, *row) for name in recipes for row in found.skipped(name)[["task", "reason"]].itertuples(index=False)]
    if rows:
        with st.expander(f"{len(rows)} task{'s' * (len(rows) != 1)} did not run, or ran with a caveat"):
            st.dataframe(pd.DataFrame(rows, columns=["recipe", "task", "why"]), hide_index=True)


if __name__ == "__main__":
    state.guarded(page)
