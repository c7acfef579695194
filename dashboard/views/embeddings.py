"""Embeddings: the map of the test features of one or two recipes, and the samples behind a selection."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import figures, inference, panels, state
from experiments import words
from experiments.results import Dataset, Store, repro

NEIGHBOURS = 10
MOST_THUMBNAILS = 24
MAPS = {"t-SNE": ("x", "y"), "PCA": ("pca_x", "pca_y")}


def purity(points: pd.DataFrame, x: str, y: str) -> float:
    """Share of the 10 nearest points of the map that carry a point's own label, over labelled points."""
    from scipy.spatial import cKDTree

    points = points[points["label"] >= 0]
    if len(points) <= NEIGHBOURS:
        return float("nan")
    places, labels = points[[x, y]].to_numpy(), points["label"].to_numpy()
    _, near = cKDTree(places).query(places, NEIGHBOURS + 1)
    return float((labels[near[:, 1:]] == labels[:, None]).mean())


def chosen_indices(event: Any) -> list[int]:
    """Sample indices of a selection in the map (they travel as customdata)."""
    points = (event or {}).get("selection", {}).get("points", [])
    values = [p.get("customdata") for p in points]
    return sorted({int(v[0] if isinstance(v, list) else v) for v in values if v is not None})


def thumbnails(found: Store, recipe: str, dataset: Dataset, split: str, indices: list[int]) -> None:
    arrays = found.samples(dataset.name, split)
    if arrays is None:
        return
    samples, labels = arrays
    usable = [i for i in indices if 0 <= i < len(samples)]
    classes = dataset.info.get("classes") or []
    first = usable[:MOST_THUMBNAILS]
    names = [classes[k] if 0 <= k < len(classes) else "unlabelled" for k in labels[first].tolist()]
    captions = [f"{i}: {state.plain(name, 16)}" for i, name in zip(first, names)]
    views = inference.views(inference.modality_of(dataset), samples[first])
    shown = panels.thumbnails(list(zip(views, captions)), f"selected-{recipe}", MOST_THUMBNAILS)
    st.caption(f"{len(usable)} selected" + (f", the first {shown} shown" if len(usable) > shown else ""))


def one_map(found: Store, recipe: str, kind: str, datasets: dict[str, Dataset]) -> None:
    points = found.embeddings(recipe)
    st.subheader(state.plain(recipe), anchor=False)
    if points.empty:
        state.empty("This recipe has no map yet.", repro("evaluate", recipe))
        return
    x, y = MAPS[kind]
    dataset = datasets.get(found.dataset_of(recipe))
    classes = [str(c) for c in (dataset.info.get("classes") or [])] if dataset else []
    clean = purity(points, x, y)
    total, labelled = len(points), int(points["label"].ge(0).sum())
    if total > figures.MOST_SCATTERED:
        points = points.sample(figures.MOST_SCATTERED, random_state=0)
    event = state.chart(
        figures.scatter_map(points, x, y, classes),
        points,
        f"map-{recipe}",
        on_select="rerun",
        selection_mode=["lasso", "box", "points"],
    )
    st.caption(
        f"{len(points):,} of {total:,} test samples, pretraining seed 0. Label purity among {NEIGHBOURS} neighbours "
        f"in this map: {words.score(clean, 'accuracy')} (n = {labelled:,} labelled points). Draw a lasso to see the samples."
    )
    indices = chosen_indices(event)
    if indices and dataset is not None:
        thumbnails(found, recipe, dataset, str(points["split"].iloc[0]), indices)


def page(found: Store) -> None:
    state.header(
        "Embeddings", "Where the frozen encoder puts the test samples. A 2-D map distorts: trust the scores first."
    )
    names = found.trained_names()
    if not names:
        state.empty("No recipe has results yet.")
        return
    left, right = st.columns([3, 1])
    with left:
        chosen = st.multiselect(
            "Recipes, side by side", names, names[:1], key="recipes", max_selections=2, bind="query-params"
        )
    with right:
        kind = state.choose(
            "Map", list(MAPS), "map", "t-SNE keeps neighbourhoods, PCA keeps directions of most variance."
        )
    if not chosen:
        st.info("Choose one or two recipes.")
        return
    datasets = {d.name: d for d in found.datasets()}
    for place, recipe in zip(st.columns(len(chosen)), chosen):
        with place:
            one_map(found, recipe, kind, datasets)


if __name__ == "__main__":
    state.guarded(page)
