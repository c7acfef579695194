"""Try an image: hide part of your own picture, see what each model makes of it and what it finds alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import inference, state
from dashboard.views.data import class_name
from dashboard.views.reconstructions import choose_models, mask_controls, side_by_side
from experiments.results import Dataset, Model, Store

MOST_BYTES = 10 * 2**20
NEIGHBOURS = 10


def uploaded(shape: tuple[int, ...]) -> np.ndarray | None:
    """The picture a visitor gives, decoded and brought to (C, H, W) uint8; it is never written anywhere."""
    file = st.file_uploader(
        "Your picture",
        ["png", "jpg", "jpeg", "webp"],
        help="At most 10 MB. It stays in this computer's memory and is forgotten when you close the page.",
    )
    if file is None:
        return None
    if file.size > MOST_BYTES:
        st.error("The picture is larger than 10 MB: make it smaller first.")
        return None
    from mae_core.data.images import decode_image

    try:
        return decode_image(file.getvalue(), (shape[1], shape[2]), shape[0])
    except ValueError as error:
        st.error(f"This file cannot be used: {state.plain(error, 200)}. Try a PNG, JPEG or WebP picture.")
        return None


def sample(found: Store, dataset: Dataset) -> tuple[np.ndarray, int] | None:
    """A test image of the dataset and its label."""
    arrays = found.samples(dataset.name, "test")
    if arrays is None or not len(arrays[0]):
        return None
    last = len(arrays[0]) - 1
    index = st.number_input(
        "Test image", 0, last, 0, key=f"sample_{dataset.name}", bind="query-params", help=f"0 to {last:,}"
    )
    return np.array(arrays[0][int(index)]), int(arrays[1][int(index)])


def vote(labels: np.ndarray, similarity: np.ndarray, temperature: float = 0.07) -> tuple[int, float]:
    """The label of most similarity-weighted votes and its share (Wu et al. 2018, eq. 3); −1 where nobody has a label."""
    kept = labels >= 0
    if not kept.any():
        return -1, float("nan")
    weight = np.exp((similarity[kept] - similarity.max()) / temperature)
    shares = np.bincount(labels[kept], weight) / weight.sum()
    return int(shares.argmax()), float(shares.max())


def alike(found: Store, dataset: Dataset, models: list[Model], raw: np.ndarray) -> None:
    st.subheader("Nearest training images", anchor=False)
    arrays = found.samples(dataset.name, "train")
    file = found.path("data", dataset.name, "train-samples.npy")
    if arrays is None or file is None or not len(arrays[0]):
        return
    images, labels = arrays
    classes = dataset.info.get("classes") or []
    for model in models:
        try:
            with st.spinner(f"Comparing with {min(len(images), inference.MOST_SEARCHED):,} training images…"):
                near = inference.neighbours(model, str(file), len(images), raw, NEIGHBOURS)
        except inference.Unusable:
            continue
        of = labels[near.indices]
        label, share = vote(of, near.similarity)
        said = (
            f"k-NN says **{state.plain(class_name(classes, label))}** ({100 * share:.0f} % of {len(of)} weighted votes)"
            if label >= 0
            else "no label: the training images have none"
        )
        st.markdown(f"**{state.plain(model.name)}**: {said}")
        with st.container(horizontal=True, gap="xsmall"):
            for i, similarity in zip(near.indices, near.similarity):
                name = state.plain(class_name(classes, int(labels[i])), 16)
                inference.show(inference.rgb(np.array(images[i])), f"{name}, {similarity:.2f}", 160, 80)
        st.caption(
            f"Cosine similarity of frozen features, {near.searched:,} of {len(images):,} training images searched "
            f"in {near.seconds:.2f} s on this CPU. A share of votes is not a probability."
        )
        rows = pd.DataFrame({"train_index": near.indices, "similarity": near.similarity, "label": of})
        state.download(rows, f"neighbours-{model.name.replace('/', '-')}")


def page(found: Store) -> None:
    state.header("Try an image", "Hide part of a picture and let the models fill it in. Nothing you upload is stored.")
    datasets = {d.name: d for d in found.datasets() if d.pictures}
    if not datasets:
        state.empty("No dataset has been prepared in this folder yet.")
        return
    left, right = st.columns([1, 2])
    with left:
        name = state.choose(
            "Trained on", list(datasets), "dataset", "The picture is brought to the size and colours of this dataset."
        )
    dataset = datasets[name]
    shape = tuple((dataset.info.get("sample") or {}).get("shape") or ())
    if len(shape) != 3:
        st.error("This dataset does not say the shape of its images: prepare it again.")
        return
    with right:
        models = choose_models(found, shape, "runs")
    if not models:
        return
    left, right = st.columns([1, 2])
    with left:
        source = st.segmented_control(
            "Picture", ["Sample", "Upload"], default="Sample", key="source", required=True, bind="query-params"
        )
    with right:
        if source == "Upload":
            raw, label = uploaded(shape), -1
        else:
            picked = sample(found, dataset)
            raw, label = picked if picked else (None, -1)
    if raw is None:
        if source == "Upload":
            st.info("Choose a PNG, JPEG or WebP picture; one like the training images works best.")
        return
    ratio, strategy, seed = mask_controls()
    if label >= 0:
        st.caption(f"True class: {state.plain(class_name(dataset.info.get('classes') or [], label))}")
    side_by_side(models, raw, ratio, strategy, seed, 0)
    alike(found, dataset, models, raw)


if __name__ == "__main__":
    state.guarded(page)
