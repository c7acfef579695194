"""Why the winner won: the verdict, the confirming runs, and what the trial that won differs in."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import state
from experiments import words
from experiments.goals import OBJECTIVES


def verdict(summary: dict[str, Any]) -> None:
    """The sentence that decided, and the runs behind it."""
    st.subheader("Why the winner won", anchor=False)
    chosen = str(summary.get("chosen", ""))
    box = st.success if chosen == "winner" else st.info
    box(state.plain(summary.get("verdict") or "The search gives no verdict.", 400), icon=":material/emoji_events:")
    confirm = summary.get("confirm") or {}
    seeds, default, won = (confirm.get(k) or [] for k in ("seeds", "default", "winner"))
    beside = st.container()
    if seeds and len(seeds) == len(default) == len(won):
        gain, error = confirm.get("gain"), confirm.get("standard_error")
        again = f"Run again from other seeds {words.length(confirm.get('share'))}"
        st.caption(
            f"{again}: paired gain {gain:+.4f}, standard error {error:.4f} "
            f"(n = {len(seeds)} seeds). The winner counts as better only if its gain exceeds its standard error."
            if isinstance(gain, int | float) and isinstance(error, int | float)
            else f"{again} (n = {len(seeds)})."
        )
        table = pd.DataFrame({"seed": seeds, "defaults": default, "winner": won})
        table["gain"] = table["winner"] - table["defaults"]
        left, beside = st.columns(2)
        left.dataframe(table, hide_index=True)
    default_keys, winner_keys = summary.get("default") or {}, summary.get("winner") or {}
    rows = [
        (k, str(default_keys.get(k, "–")), str(winner_keys.get(k, "–"))) for k in sorted({*default_keys, *winner_keys})
    ]
    if rows:
        beside.dataframe(
            pd.DataFrame(rows, columns=["searched key", "defaults", words.winner(summary)]), hide_index=True
        )
    _others(summary.get("others") or {})


def _others(others: dict[str, Any]) -> None:
    """What the confirming runs say of the objectives beside the score."""
    rows = []
    for name, found in others.items():
        gain, error = found.get("gain"), found.get("standard_error")
        if isinstance(gain, int | float) and name in OBJECTIVES:
            goal = OBJECTIVES[name]
            rows.append((goal.what, goal.better, gain, error, len(found.get("seeds") or [])))
    if rows:
        columns = ["objective", "better is", "gain (more is better)", "standard error", "seeds"]
        st.dataframe(pd.DataFrame(rows, columns=columns), hide_index=True)
