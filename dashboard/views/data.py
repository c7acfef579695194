"""Data: what was prepared, how the splits and classes stand, what was set aside, and the samples themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import figures, inference, panels, state
from experiments import words
from experiments.results import SPLITS, Dataset, Store

SHOWN = 24
COMMON = {
    "schema", "name", "modality", "sample", "axes", "splits", "classes", "licence", "source", "verified", "overlaps",
    "duplicates", "quarantined", "ignored", "notes", "fingerprint",
}  # fmt: skip


def class_name(classes: list[Any], label: int) -> str:
    return str(classes[label]) if 0 <= label < len(classes) else "unlabelled"


def described(info: dict[str, Any]) -> dict[str, Any]:
    """What the modality knows of the dataset: the entries that are not the same for every kind."""
    return {key: value for key, value in info.items() if key not in COMMON}


def balance(found: Store, dataset: Dataset) -> pd.DataFrame:
    """Columns split, label, name, samples, share."""
    parts = []
    for split in SPLITS:
        arrays = found.samples(dataset.name, split)
        if arrays is None or not len(arrays[1]):
            continue
        labels, counts = np.unique(arrays[1], return_counts=True)
        names = [class_name(dataset.info.get("classes") or [], int(k)) for k in labels]
        parts.append(
            pd.DataFrame(
                {"split": split, "label": labels, "name": names, "samples": counts, "share": counts / counts.sum()}
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def facts(dataset: Dataset) -> None:
    info = dataset.info
    duplicates = info.get("duplicates") or {}
    cards = st.columns(4)
    total = sum(s.get("samples", 0) for s in (info.get("splits") or {}).values())
    cards[0].metric(f"Samples ({state.plain(dataset.modality)})", f"{total:,}", border=True)
    shape, _, axes = dataset.layout.partition(" (")
    cards[1].metric("Shape", shape, border=True, help=state.plain(axes.rstrip(")")) or None)
    cards[2].metric("Classes", len(info.get("classes") or []) or "none", border=True)
    across = duplicates.get("across_splits")
    cards[3].metric(
        "Duplicates across splits", "–" if across is None else f"{across:,}", border=True,
        help=f"Exact copies that lie in two splits leak test samples. Within a split: {duplicates.get('within', '–')}.",
    )  # fmt: skip
    if across:
        st.warning(f"{across} samples lie in more than one split: test scores on this dataset are too high.")
    if not info.get("verified"):
        st.info("Unverified: the bytes were not checked against a recorded checksum.", icon=":material/verified_user:")
    rows = [
        ("source", info.get("source")),
        ("licence", info.get("licence")),
        ("content fingerprint", info.get("fingerprint")),
        *(
            (f"{key} (of train, or how files are read)", words.short(value, 200))
            for key, value in described(info).items()
        ),
        ("overlaps with", ", ".join(map(str, info.get("overlaps") or [])) or "no known dataset"),
        *((f"note {i}", note) for i, note in enumerate(info.get("notes") or [], 1)),
    ]
    with st.expander("Provenance"):
        st.dataframe(pd.DataFrame([(k, str(v)) for k, v in rows], columns=["what", "value"]), hide_index=True)


def gallery(found: Store, dataset: Dataset) -> None:
    st.subheader("Samples", anchor=False)
    classes = dataset.info.get("classes") or []
    left, middle, right = st.columns([1, 2, 1])
    with left:
        split = state.choose("Split", SPLITS, "split")
    arrays = found.samples(dataset.name, split)
    if arrays is None:
        return
    samples, labels = arrays
    present = [int(k) for k in np.unique(labels)]
    with middle:
        label = state.choose(
            "Class", [None, *present], f"class_{dataset.name}",
            format_func=lambda k: "all" if k is None else class_name(classes, k),
        )  # fmt: skip
    with right:
        seed = st.number_input("Seed", 0, 9999, 0, key="draw", bind="query-params", help="Draws other samples.")
    pool = np.arange(len(samples)) if label is None else np.flatnonzero(labels == label)
    if not len(pool):
        st.caption("This split holds no such sample.")
        return
    drawn = np.sort(np.random.default_rng(int(seed)).choice(pool, min(SHOWN, len(pool)), replace=False))
    captions = [f"{i}: {state.plain(class_name(classes, int(labels[i])), 16)}" for i in drawn]
    views = inference.views(inference.modality_of(dataset), samples[drawn])
    shown = panels.thumbnails(list(zip(views, captions)), "sample", SHOWN)
    st.caption(f"{shown} of {len(pool):,} samples, as stored (before augmentation).")


def page(found: Store) -> None:
    state.header("Data", "Every file was opened once; what could not be used was set aside with a reason, and counted.")
    datasets = {d.name: d for d in found.datasets()}
    if not datasets:
        state.empty("No dataset has been prepared in this folder yet.")
        return
    dataset = datasets[state.choose("Dataset", list(datasets), "dataset", format_func=words.short)]
    facts(dataset)
    left, right = st.columns([2, 3])
    with left:
        st.subheader("Splits", anchor=False)
        splits = dataset.info.get("splits") or {}
        rows = [(s, splits[s].get("samples"), splits[s].get("labelled")) for s in SPLITS if s in splits]
        st.dataframe(pd.DataFrame(rows, columns=["split", "samples", "labelled"]), hide_index=True)
    with right:
        st.subheader("Class balance", anchor=False)
        counts = balance(found, dataset)
        if counts.empty:
            st.caption("Nothing to count yet.")
        elif (counts["label"] < 0).all():
            st.caption("No sample has a label.")
        elif len(counts["label"].unique()) > 100:
            st.caption("More than 100 classes: see the table.")
            state.download(counts, "class-balance")
        else:
            state.chart(figures.class_balance(counts), counts, "class-balance")
    gallery(found, dataset)
    st.subheader("Set aside", anchor=False)
    aside = found.quarantine(dataset.name)
    if aside.empty:
        st.caption("No file was set aside.")
    else:
        st.caption(
            f"{len(aside):,} files were not used; {dataset.info.get('ignored', 0)} others were ignored because they are no samples."
        )
        st.dataframe(aside, hide_index=True)
        state.download(aside, "quarantine")


if __name__ == "__main__":
    state.guarded(page)
