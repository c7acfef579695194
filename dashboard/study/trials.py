"""The table of trials, and a trial made a recipe."""

from __future__ import annotations

import shlex
from typing import Any

import pandas as pd
import streamlit as st
import yaml

from dashboard import state
from experiments.goals import COLUMN
from experiments.live import failures
from experiments.pinning import as_command, nested, pinned_settings, pinned_text, searched_keys, settings_of
from experiments.results import Store, best_trial, last_rungs

WHY = "why it failed"
SHOWN = ["trial", "rung", "origin", "status", "score", "loss"]
BEHIND = ["steps", "flops", "encode_flops", "parameters", "seed", "parent"]


def table(found: Store, trials: pd.DataFrame, summary: dict[str, Any], recipe: str) -> None:
    """Every trial and rung, the longest and best first."""
    st.subheader("Trials", anchor=False)
    keys = searched_keys(map(str, trials.columns))
    proxies = [name for name in trials.columns if str(name).startswith(COLUMN)]
    shown = trials[[*SHOWN, *keys, *proxies, *(name for name in BEHIND if name in trials)]]
    shown = shown.sort_values(["rung", "score"], ascending=[False, False], na_position="last")
    failed = shown["status"].eq("failed")
    if failed.any():
        told = failures(found, recipe)
        why = [told.get(at, "no file on this machine tells") for at in zip(shown["trial"], shown["rung"])]
        shown.insert(SHOWN.index("status") + 1, WHY, pd.Series(why, shown.index).where(failed, ""))
    number = st.column_config.NumberColumn
    columns = {"flops": number(format="scientific"), "encode_flops": number(format="scientific")}
    columns |= {name: number(format="%.4f") for name in ("score", "loss")}
    columns |= {name: number(str(name).removeprefix(COLUMN), format="%.3f") for name in proxies}
    st.dataframe(shown, hide_index=True, column_config=columns)
    state.download(trials, f"trials-{recipe}")
    if summary.get("schedule"):
        st.caption(
            "No member can be made a recipe: its values changed from round to round, and constant ones were never trained. The final "
            "training has the defaults; the mask ratios of the schedule can be trained as masking.ratio and masking.schedule (kind: steps) "
            "of a recipe."
        )
    elif keys:
        as_recipe(found, trials, summary, recipe)


def as_recipe(found: Store, trials: pd.DataFrame, summary: dict[str, Any], recipe: str) -> None:
    """A trial's values as a recipe file to download, as a command, and as YAML to paste; the pick of several objectives comes first."""
    rows, best = last_rungs(trials), best_trial(trials)
    if rows.empty or best is None:
        return
    picked = summary.get("picked") if summary.get("front") else None
    first, which = (int(best["trial"]), "best") if picked is None else (picked, "picked")
    options = [first, *(int(t) for t in rows["trial"] if t != first)]
    trial = state.choose("Make a trial a recipe", options, f"trial_{recipe}", f"Any trial, the {which} one first.")
    settings = settings_of(trials, trial)
    name = f"{recipe}_trial_{trial}"
    left, right = st.columns(2)
    try:
        settings, text = pinned_settings(found.root, recipe, trial), pinned_text(found.root, recipe, trial)
        with left:
            st.download_button(
                "Recipe", text, f"{name}.yaml", "application/yaml", key=f"recipe-{recipe}", icon=":material/download:"
            )
    except (
        ValueError,
        OSError,
        KeyError,
    ) as problem:  # without the recipe or its data the steps of equal cost are not known
        with left:
            st.caption(f"Steps of equal cost are not known here: {state.plain(problem, 200)}")
    with left:
        st.caption("A file for experiments/recipes, or paste over the same keys of a recipe, which pins them:")
        st.code(yaml.safe_dump(nested(settings), sort_keys=True), language="yaml")
    with right:
        st.caption("The same from the command line, as a recipe of its own:")
        st.code(f"maestro pin {shlex.quote(recipe)} {trial} --name {shlex.quote(name)}", language="bash")
        st.caption("Or run it once, without an edit:")
        st.code(as_command(recipe, settings), language="bash", wrap_lines=True)
