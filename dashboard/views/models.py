"""Models: what each model folder holds, how two of them differ, and how to take one away."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import state
from experiments import words
from experiments.results import Champion, Model, Store, flat


def overview(models: list[Model], champions: list[Champion]) -> pd.DataFrame:
    """One row per model folder, with the datasets on which validation ranks it first."""

    def get(model: Model, section: str, key: str) -> Any:
        part = model.config.get(section)
        return part.get(key, "–") if isinstance(part, dict) else "–"

    rows = [
        {
            "model": words.short(m.name, 60),
            "kind": "pretrained" if m.origin == "models" else "control",
            "encoder": f"{get(m, 'encoder', 'kind')} {get(m, 'encoder', 'width')} × {get(m, 'encoder', 'depth')}",
            "patch": str(get(m, "modality", "patch")),
            "masking": f"{get(m, 'masking', 'strategy')} {get(m, 'masking', 'ratio')}",
            "target": str(get(m, "objective", "target")),
            "parameters": f"{m.parameters / 1e6:.2f} M",
            "champion of": ", ".join(c.dataset for c in champions if c.folder == f"{m.origin}/{m.name}"),
        }
        for m in models
    ]
    return pd.DataFrame(rows)


def differences(one: dict[str, Any], other: dict[str, Any]) -> pd.DataFrame:
    """The keys in which two configurations differ; columns key, first, second."""
    a, b = flat(one), flat(other)
    keys = sorted(k for k in {*a, *b} if a.get(k) != b.get(k))
    rows = [(k, str(a.get(k, "–")), str(b.get(k, "–"))) for k in keys]
    return pd.DataFrame(rows, columns=["key", "first", "second"])


def one(model: Model) -> None:
    left, right = st.columns([3, 2])
    with left:
        st.subheader("Configuration", anchor=False)
        st.json(model.config, expanded=2)
    with right:
        st.subheader("Card", anchor=False)
        st.code(model.card or "This model has no card.", language=None, wrap_lines=True)
        st.subheader("Take it away", anchor=False)
        with st.container(horizontal=True):
            weights = model.folder / "model.safetensors"
            file = model.name.replace("/", "-")
            st.download_button(
                f"Weights, {model.bytes / 1e6:.1f} MB", weights.read_bytes, f"{file}.safetensors",
                icon=":material/download:", key="weights",
            )  # fmt: skip
            st.download_button(
                "config.json", json.dumps(model.config, indent=2), f"{file}.json", "application/json",
                icon=":material/download:", key="config",
            )  # fmt: skip
        st.caption("Keep the two as model.safetensors and config.json in one folder, then:")
        twin = model.config.get("type") == "classifier"
        kind, module = ("Classifier", "evaluation.classifier") if twin else ("MaskedAutoencoder", "model")
        load = f"from mae_core.{module} import {kind}\n"
        load += f"model = {kind}.load({f'{model.origin}/{model.name}'!r})\n"
        load += "features = model.encode(raw)  # (B, …) samples as the dataset holds them → float (B, F)"
        st.code(load, language="python", wrap_lines=True)


def page(found: Store) -> None:
    state.header("Models", "Folders of weights and JSON; nothing in them is ever unpickled.")
    models = {m.name if m.origin == "models" else f"{m.name} (control)": m for m in found.models()}
    if not models:
        state.empty("No model has been trained in this folder yet.")
        return
    table = overview(list(models.values()), state.champions(found))
    st.dataframe(table, hide_index=True, height=min(38 + 35 * len(table), 320))
    state.download(table, "models")
    chosen = state.choose("Model", list(models), "model", format_func=lambda n: words.short(n, 70))
    one(models[chosen])
    if len(models) > 1:
        st.subheader("Compare with another", anchor=False)
        others = [n for n in models if n != chosen]
        other = state.choose("Other model", others, f"other_{chosen}", format_func=lambda n: words.short(n, 70))
        table = differences(models[chosen].config, models[other].config)
        if table.empty:
            st.caption("The two configurations are the same; the weights come from different seeds.")
        else:
            names = {"first": words.short(chosen, 30), "second": words.short(other, 30)}
            st.dataframe(table, hide_index=True, column_config=names)
            state.download(table, "differences")


if __name__ == "__main__":
    state.guarded(page)
