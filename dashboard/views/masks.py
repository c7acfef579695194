"""Masks: what every strategy that fits a dataset hides of its samples, before anything is trained."""

from __future__ import annotations

import shlex

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import figures, inference, state
from experiments import words
from experiments.results import Dataset, Model, Store
from mae_core.modalities.base import OWN

SHOWN = 6
COUNTED = 256  # training samples that a model's masks are counted over


def every_strategy(dataset: Dataset, samples: np.ndarray, ratio: float) -> None:
    """The gallery of the first training samples."""
    st.image(inference.gallery(dataset, samples[:SHOWN], ratio))
    st.caption("The same as a file:")
    of = f"--dataset {shlex.quote(dataset.name)} --ratio {ratio:.2f} --count {SHOWN}"
    st.code(f"maestro masks {of} --out masks.png", language="bash")


def strategy_of(model: Model) -> str:
    """What a model was trained with, '' where its config does not say."""
    masking = model.config.get("masking")
    return str(masking.get("strategy", "")) if isinstance(masking, dict) else ""


def of_a_model(models: list[Model], dataset: Dataset, samples: np.ndarray, ratio: float) -> None:
    """What one model hides of the same samples, and how often each cell; those that lead their masks themselves come first."""
    by_name = {m.name: m for m in sorted(models, key=lambda m: strategy_of(m) not in OWN)}
    key = f"model_{dataset.modality}"
    model = by_name[state.choose("Model", list(by_name), key, format_func=lambda n: words.short(n, 70))]
    try:
        found = inference.own_masks(model, samples[:COUNTED], SHOWN, ratio)
    except inference.Unusable as error:
        state.unusable(error.path, error, error.command)
        return
    st.image(found.sheet)
    rows, columns = np.nonzero(~np.isnan(found.often))
    table = pd.DataFrame({"row": rows, "column": columns, "hidden_share": found.often[rows, columns]})
    state.chart(figures.heat(100 * found.often, "hidden, %"), table, "how-often")
    st.caption(
        f"How often masks of {state.plain(strategy_of(model))} hide each cell of {found.samples} training samples; {100 * ratio:.0f} % "
        f"on the whole. Evenness {found.evenness:.2f}: 1 where all cells are hidden alike. Agreement {found.agreement:.2f}: 0 where two "
        "masks of a sample are as unlike as two random ones, 1 where they are the same. What is always or never hidden may be a trick by "
        "which a learned mask won its reward; curves of reward, entropy, agreement and a probe are under Training."
    )
    of = f"--model {shlex.quote(f'{model.origin}/{model.name}')} --dataset {shlex.quote(dataset.name)}"
    st.code(f"maestro masks {of} --ratio {ratio:.2f} --count {SHOWN} --out own.png", language="bash")


def page(found: Store) -> None:
    state.header(
        "Masks",
        "A row for each strategy with its defaults, whole samples above; and what a trained model hides, as it learned it.",
    )
    datasets = {d.name: d for d in found.datasets()}
    if not datasets:
        state.empty("No dataset has been prepared in this folder yet.")
        return
    dataset = datasets[state.choose("Dataset", list(datasets), "dataset", format_func=words.short)]
    usual = round(inference.modality_of(dataset).default_ratio / 0.05) * 0.05
    ratio = st.slider("Mask ratio", 0.05, 0.95, usual, 0.05, key=f"masks_{dataset.modality}", bind="query-params")
    arrays = found.samples(dataset.name, "train")
    if arrays is None:
        return
    models = [m for m in found.models() if inference.fits(m, dataset)]
    strategies, own = st.tabs(["Every strategy", "Of a trained model"])
    with strategies:
        every_strategy(dataset, arrays[0], ratio)
    with own:
        if models:
            of_a_model(models, dataset, arrays[0], ratio)
        else:
            state.empty("No trained model takes samples of this dataset yet. This trains what params.yaml lists:")


if __name__ == "__main__":
    state.guarded(page)
