"""Overview: where the pipeline stands, the best score of each dataset, and what is running now."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import figures, state
from experiments import words
from experiments.results import Heartbeat, StageState, Store

CHIPS = {  # state → colour, icon, words
    "done": ("green", ":material/check_circle:", "done"),
    "running": ("blue", ":material/progress_activity:", "running"),
    "stale": ("orange", ":material/update:", "out of date"),
    "failed": ("red", ":material/error:", "failed"),
    "crashed": ("red", ":material/heart_broken:", "no sign of life"),
    "missing": ("gray", ":material/radio_button_unchecked:", "not run"),
}
WORST_FIRST = ("failed", "crashed", "running", "stale", "missing", "done")


def chip(stage: str, members: list[StageState]) -> tuple[str, str, str]:
    """Text, icon and colour of one stage: its worst member decides, the count says how many are like it."""
    worst = min((m.state for m in members), key=WORST_FIRST.index)
    colour, icon, said = CHIPS[worst]
    alike = sum(m.state == worst for m in members)
    count = "" if len(members) == 1 else f"{alike} of {len(members)} "
    progress = [m.progress for m in members if m.state == "running" and not math.isnan(m.progress)]
    percent = f" {100 * min(progress):.0f} %" if progress else ""
    return f"{state.plain(stage)} · {count}{said}{percent}", icon, colour


def pipeline(found: Store) -> None:
    stages = found.pipeline_state()
    if not stages:
        return
    st.subheader("Pipeline", anchor=False)
    groups: dict[str, list[StageState]] = {}
    for member in stages:
        groups.setdefault(member.stage, []).append(member)
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
        for i, (stage, members) in enumerate(groups.items()):
            if i:
                st.markdown(":gray[→]", width="content")
            text, icon, colour = chip(stage, members)
            st.badge(text, icon=icon, color=colour)  # type: ignore[arg-type]
    for member in [m for m in stages if m.state in ("failed", "crashed")][:5]:
        st.warning(
            f"**{state.plain(member.name)}**: {member.why}. Where recipe, data and code are as they were it goes on from what it kept, "
            "else it begins anew:"
        )
        st.code(member.command, language="bash")
    left = [m for m in stages if m.state != "done"]
    label = f"All {len(stages)} stages are up to date" if not left else f"{len(left)} of {len(stages)} stages to do"
    with st.expander(label):
        rows = [(m.name, CHIPS[m.state][2], m.why, m.command) for m in stages]
        st.dataframe(pd.DataFrame(rows, columns=["stage", "state", "why", "command"]), hide_index=True)


def beat_words(beat: Heartbeat) -> str:
    parts = [beat.where]
    if not math.isnan(beat.loss):
        parts.append(f"loss {beat.loss:.4g}")
    if not math.isnan(beat.samples_per_s):
        parts.append(f"{beat.samples_per_s:,.0f} samples/s")
    if not math.isnan(beat.data_wait):
        parts.append(f"waiting for data {100 * beat.data_wait:.0f} %")
    if not math.isnan(beat.eta_s):
        parts.append(f"{beat.eta_s // 60:.0f} min {beat.eta_s % 60:.0f} s left")
    return " · ".join(parts)


@st.fragment(run_every="5s")
def running() -> None:
    beats = [b for b in state.store().heartbeats() if b.state == "running"]
    if not beats:
        return
    st.subheader("Running now", anchor=False)
    for beat in beats[:10]:
        share = beat.step / beat.steps if beat.steps > 0 else 0.0
        seed = "" if beat.seed is None else f", seed {beat.seed}"
        text = f"**{state.plain(beat.stage)}@{state.plain(beat.recipe)}**{seed}: {beat_words(beat)}"
        st.progress(min(max(share, 0.0), 1.0), text=text)


def headline(found: Store, card: dict[str, Any]) -> None:
    """The best pretrained model of one dataset, beside everything it has to beat, and what to know of its score."""
    table, metric = card["table"], card["metric"]
    best = table[table["model"] == "pretrained"].iloc[0]
    with st.container(border=True):
        left, right = st.columns([1, 2], vertical_alignment="center")
        with left:
            task = words.task(card["task"])
            st.metric(
                f"{state.plain(card['dataset'])} · {task}",
                words.score(best["value"], metric),
                help="Test accuracy of the frozen encoder that is best on validation.",
            )
            st.markdown(f"**{state.plain(best['recipe'])}**")
            for caveat in words.caveats(found.skipped(best["recipe"])["reason"]):
                st.warning(f"{state.plain(caveat, 240)}.", icon=":material/warning:")
            if pd.isna(best["rank"]):
                st.caption("Not ranked: there are no validation scores, so this is merely the first by name.")
            st.caption(
                f"95 % interval {words.bounds(best['low'], best['high'], metric)} over {best['covers']}, "
                f"{words.count(best['n_test'])} test samples"
                if best["covers"] != "–"
                else f"no interval: one seed, no bootstrap; {words.count(best['n_test'])} test samples"
            )
        with right:
            shown = table[table["recipe"].isin(["", best["recipe"]])].reset_index(drop=True)
            labels = [state.contender("", m) for m in shown["model"]]
            figure = figures.whiskers(
                state.whisker_rows(shown, metric, labels), f"test {metric}, %, with 95 % interval"
            )
            state.chart(figure, shown, f"best-{card['dataset']}")


def page(found: Store) -> None:
    state.header("Overview", "What has run, what is running, and the best model of each dataset beside its baselines.")
    recipes = found.recipes()
    if not recipes and not found.folders("data"):
        state.empty("Nothing has run in this folder yet. One command prepares data, searches, trains and scores:")
        return
    pipeline(found)
    running()
    datasets = found.datasets()
    facts = st.columns(4)
    samples = sum(s.get("samples", 0) for d in datasets for s in d.info.get("splits", {}).values())
    aside = sum(int(d.info.get("quarantined") or 0) for d in datasets)
    facts[0].metric("Recipes with results", f"{sum(r.has_results for r in recipes)} of {len(recipes)}", border=True)
    facts[1].metric("Model folders", f"{len(found.models())}", border=True)
    facts[2].metric("Samples prepared", f"{samples:,}", border=True, help=f"in {len(datasets)} datasets, all splits")
    facts[3].metric("Files set aside", f"{aside:,}", border=True, help="Bad files, each with its reason: see Data.")
    st.subheader("Best score of each dataset", anchor=False)
    st.caption("Chosen on the validation split, shown on the test split. Grey diamonds are what it has to beat.")
    found.scores()  # names in `problems` what the cached headlines could not read
    cards = state.headlines(found)
    if not cards and found.scores_stamp():
        st.caption("No dataset has scores of a labelled task: the leaderboard shows what else was measured.")
    elif not cards:
        state.empty("No model has been scored yet.", "dvc repro")
    for card in cards:
        headline(found, card)
    page = found.path("report", "index.html")
    if page is not None and page.is_file():
        st.download_button(
            "The report as one page",
            page.read_bytes,
            "report.html",
            "text/html",
            key="report",
            icon=":material/article:",
        )


if __name__ == "__main__":
    state.guarded(page)
