"""Try it: hide part of a sample of your own, see what each model makes of it, what it lacks and what is alike."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st
import torch

from dashboard import inference, panels, state
from dashboard.views.data import class_name
from dashboard.views.reconstructions import choose_models, mask_controls, side_by_side
from experiments.results import Dataset, Model, Store

MOST_BYTES = 10 * 2**20
NEIGHBOURS = 10


class Given(NamedTuple):
    """What a visitor wants to try."""

    raw: np.ndarray
    """One raw sample."""
    label: int
    """−1 where it has none."""
    data: bytes
    """The file, or the text, that it came from; empty for one of the dataset's."""
    suffix: str
    whole: np.ndarray
    """(n, …): everything that the file held."""


def read(model: Model, data: bytes, suffix: str) -> Given | None:
    """One of the samples that a file holds, chosen by the visitor; says what is wrong with a file that holds none."""
    modality = inference.load(model).modality
    try:
        found = modality.read(data)
    except (ValueError, OSError, RuntimeError, ArithmeticError) as error:  # decoders have errors of their own
        st.error(f"This file cannot be used: {state.plain(error, 300)}. Try another {modality.noun}.")
        return None
    index = 0
    if len(found) > 1:
        text = f"It holds {len(found):,}, from 0"
        index = int(st.number_input("Which sample of it", 0, len(found) - 1, 0, key="which", help=text))
    return Given(found[index], -1, data, suffix, found)


def uploaded(model: Model) -> Given | None:
    """A file that a visitor gives; it is never written anywhere."""
    modality = inference.load(model).modality
    kinds = sorted(suffix.lstrip(".") for suffix in modality.suffixes)
    file = st.file_uploader(
        f"Your {modality.noun}",
        kinds,
        help="At most 10 MB. It stays in this computer's memory and is forgotten when you close the page.",
    )
    if file is None:
        st.info(f"Choose a {modality.noun} ({', '.join(kinds)}); one like the training samples works best.")
        return None
    if file.size > MOST_BYTES:
        st.error("The file is larger than 10 MB: make it smaller first.")
        return None
    return read(model, file.getvalue(), "." + file.name.rpartition(".")[2].lower())


def typed(model: Model, first: str, suffix: str) -> Given | None:
    """Something that a visitor types; to begin with a test sample as it would be written."""
    modality = inference.load(model).modality
    text = st.text_area(f"Your {modality.noun}", first, height=160, key=f"typed_{model.recipe}", max_chars=100_000)
    if not text.strip():
        st.info(f"Type a {modality.noun}.")
        return None
    return read(model, text.encode(), suffix)


def sample(found: Store, dataset: Dataset) -> Given | None:
    """A test sample of the dataset and its label."""
    arrays = found.samples(dataset.name, "test")
    if arrays is None or not len(arrays[0]):
        return None
    last = len(arrays[0]) - 1
    index = st.number_input(
        "Test sample", 0, last, 0, key=f"sample_{dataset.name}", bind="query-params", help=f"0 to {last:,}"
    )
    raw = np.array(arrays[0][int(index)])
    return Given(raw, int(arrays[1][int(index)]), b"", "", raw[None])


def vote(labels: np.ndarray, similarity: np.ndarray, temperature: float = 0.07) -> tuple[int, float]:
    """The label of most similarity-weighted votes and its share (Wu et al. 2018, eq. 3); −1 where nobody has a label."""
    kept = labels >= 0
    if not kept.any():
        return -1, float("nan")
    weight = np.exp((similarity[kept] - similarity.max()) / temperature)
    shares = np.bincount(labels[kept], weight) / weight.sum()
    return int(shares.argmax()), float(shares.max())


def alike(found: Store, dataset: Dataset, models: list[Model], raw: np.ndarray) -> None:
    st.subheader("Nearest training samples", anchor=False)
    arrays = found.samples(dataset.name, "train")
    file = found.path("data", dataset.name, found.samples_file(dataset.name, "train"))
    if arrays is None or file is None or not len(arrays[0]):
        return
    samples, labels = arrays
    classes = dataset.info.get("classes") or []
    modality = inference.modality_of(dataset)
    for model in models:
        try:
            with st.spinner(f"Comparing with {min(len(samples), inference.MOST_SEARCHED):,} training samples…"):
                near = inference.neighbours(model, file, len(samples), raw, NEIGHBOURS)
        except inference.Unusable:
            continue
        of = labels[near.indices]
        label, share = vote(of, near.similarity)
        said = (
            f"k-NN says **{state.plain(class_name(classes, label))}** ({100 * share:.0f} % of {len(of)} weighted votes)"
            if label >= 0
            else "no label: the training samples have none"
        )
        st.markdown(f"**{state.plain(model.name)}**: {said}")
        names = [state.plain(class_name(classes, int(k)), 16) for k in of]
        captions = [f"{name}, {similarity:.2f}" for name, similarity in zip(names, near.similarity)]
        items = list(zip(inference.views(modality, samples[near.indices]), captions))
        panels.thumbnails(items, f"near-{model.name}", NEIGHBOURS)
        st.caption(
            f"Cosine similarity of frozen features, {near.searched:,} of {len(samples):,} training samples searched "
            f"in {near.seconds:.2f} s on this CPU. A share of votes is not a probability."
        )
        rows = pd.DataFrame({"train_index": near.indices, "similarity": near.similarity, "label": of})
        state.download(rows, f"neighbours-{model.name.replace('/', '-')}")


def completed(models: list[Model], given: Given) -> None:
    """Predictions of what the sample really lacks, and the visitor's file with them in their places."""
    for model in models:
        try:
            made = inference.complete(model, given.raw)
        except inference.Unusable:
            continue
        if made is None:
            continue
        st.subheader(f"What is missing, by {state.plain(model.name)}", anchor=False)
        panels.draw(made.panels, f"missing-{model.name}")
        if given.data:
            st.download_button(
                "Your file with what it lacks filled in", partial(inference.mended, model, given.data, given.whole),
                f"filled{given.suffix}", key=f"mended-{model.name}", icon=":material/download:", type="tertiary",
            )  # fmt: skip
        st.caption(f"{made.missing:,} missing values of this sample, predicted from those that are there.")


def page(found: Store) -> None:
    state.header("Try it", "Hide part of a sample and let the models fill it in. Nothing you upload is stored.")
    datasets = {d.name: d for d in found.datasets()}
    if not datasets:
        state.empty("No dataset has been prepared in this folder yet.")
        return
    left, right = st.columns([1, 2])
    with left:
        name = state.choose(
            "Trained on", list(datasets), "dataset", "What you give is brought to the form of this dataset's samples."
        )
    dataset = datasets[name]
    with right:
        models = choose_models(found, dataset, "runs")
    if not models:
        return
    given = choose(found, dataset, models)
    if given is None:
        return
    ratio, strategy, seed = mask_controls(dataset)
    if given.label >= 0:
        st.caption(f"True class: {state.plain(class_name(dataset.info.get('classes') or [], given.label))}")
    side_by_side(models, given.raw, ratio, strategy, seed, 0)
    completed(models, given)
    alike(found, dataset, models, given.raw)


def choose(found: Store, dataset: Dataset, models: list[Model]) -> Given | None:
    """A test sample, an upload, or where samples can be written as text what the visitor types."""
    try:
        reader = next(model for model in models if works(model))
    except StopIteration:
        return sample(found, dataset)
    arrays = found.samples(dataset.name, "test")
    modality = inference.load(reader).modality
    first = "" if arrays is None or not len(arrays[0]) else modality.written(torch.from_numpy(np.array(arrays[0][:1])))
    ways = ["Sample", "Upload", *(["Type"] if first else [])]
    left, right = st.columns([1, 2])
    with left:
        source = st.segmented_control(
            modality.noun.capitalize(), ways, default="Sample", key="source", required=True, bind="query-params"
        )
    with right:
        if source == "Upload":
            return uploaded(reader)
        if source == "Type":
            return typed(reader, first, ".txt" if ".txt" in modality.suffixes else "")
        return sample(found, dataset)


def works(model: Model) -> bool:
    """Whether a model can be loaded; where it cannot, the page says so beside its place."""
    try:
        inference.load(model)
    except inference.Unusable:
        return False
    return True


if __name__ == "__main__":
    state.guarded(page)
