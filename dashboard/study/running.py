"""A search under way, or one that died: how far it is, and the trials so far."""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from dashboard import figures, state
from dashboard.study.trials import WHY
from experiments.live import Live
from experiments.pinning import searched_keys
from experiments.results import repro

SECONDS_A_MINUTE = 60


def counted(runs: pd.DataFrame) -> str:
    """'6 trials', or '8 runs of 6 trials' where some ran on several rungs or again from other seeds."""
    trials = int(runs.loc[runs["origin"].ne("confirm"), "trial"].nunique())
    told = f"{trials} trial{'s' * (trials != 1)}"
    return told if trials == len(runs) else f"{len(runs)} runs of {told}"


def running(one: Live, recipe: str, metric: str) -> None:
    """Progress, and what has ended."""
    beat, ended = one.beat, one.trials
    scored = ended[ended["score"].notna()] if len(ended) else ended
    share = beat.step / beat.steps if beat.steps > 0 else math.nan
    best = f", best so far {scored['score'].max():.4g} at one rung or another" if len(scored) else ""
    failed = f", {int(ended['status'].eq('failed').sum())} failed" if len(ended) else ""
    if beat.state == "running":
        told = f"{counted(ended)} ended" + (f", at most {beat.steps:,.0f} runs in all" if beat.steps > 0 else "")
        st.progress(
            0.0 if math.isnan(share) else min(max(share, 0.0), 1.0), text=f"**Searching now**: {told}{failed}{best}"
        )
    else:
        minutes = beat.age_s / SECONDS_A_MINUTE
        st.warning(
            f"The search {beat.state} after {counted(ended)}{failed}; last sign of life {minutes:.0f} min ago. "
            "Where recipe, data and code are as they were it goes on from there, else it begins anew:",
            icon=":material/warning:",
        )
        st.code(repro("search", recipe), language="bash")
    if one.reasons:
        with st.expander(f"Why {len(one.reasons)} failed"):
            rows = [(*at, why) for at, why in one.reasons.items()]
            st.dataframe(pd.DataFrame(rows, columns=["trial", "rung", WHY]), hide_index=True)
    if len(scored) < 2:
        return
    keys = searched_keys(map(str, scored.columns))
    with st.expander(f"{counted(scored)} so far"):
        if keys:
            key = "masking.ratio" if "masking.ratio" in keys else keys[0]
            state.chart(figures.trials(scored, key, "score", key, metric), scored, "so-far")
        st.dataframe(scored, hide_index=True)
