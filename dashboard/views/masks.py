"""Masks: what every strategy that fits a dataset hides of its samples, before anything is trained."""

from __future__ import annotations

import streamlit as st

from dashboard import inference, state
from experiments import words
from experiments.results import Dataset, Store

SHOWN = 6


def sheet(found: Store, dataset: Dataset) -> None:
    """The gallery of the first training samples."""
    modality = inference.modality_of(dataset)
    usual = round(modality.default_ratio / 0.05) * 0.05
    ratio = st.slider("Mask ratio", 0.05, 0.95, usual, 0.05, key=f"masks_{dataset.modality}", bind="query-params")
    arrays = found.samples(dataset.name, "train")
    if arrays is None:
        return
    st.image(inference.gallery(dataset, arrays[0][:SHOWN], ratio))
    st.caption("The same as a file:")
    st.code(
        f"maestro masks --dataset {dataset.name} --ratio {ratio:.2f} --count {SHOWN} --out masks.png", language="bash"
    )


def page(found: Store) -> None:
    state.header(
        "Masks",
        "A row for each strategy with its defaults, whole samples above. Learned masks, and those that a model leads itself, are seen "
        "under Reconstructions of their models.",
    )
    datasets = {d.name: d for d in found.datasets()}
    if not datasets:
        state.empty("No dataset has been prepared in this folder yet.")
        return
    sheet(found, datasets[state.choose("Dataset", list(datasets), "dataset", format_func=words.short)])


if __name__ == "__main__":
    state.guarded(page)
