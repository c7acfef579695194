"""Reconstructions: one image, one mask, every chosen model side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import inference, state
from experiments import words
from experiments.results import SPLITS, Dataset, Model, Store, repro
from mae_core.modalities.image import ImageModality

STRIP = (0.25, 0.5, 0.75, 0.9)


def pictures(columns: list[tuple[str, np.ndarray, str] | None]) -> None:
    """A row of (heading, picture, caption), enlarged without blur; None leaves a place free. Words must be safe Markdown."""
    for place, column in zip(st.columns(max(len(columns), 4), gap="small"), columns):
        if column is None:
            continue
        heading, picture, caption = column
        with place:
            st.markdown(f"**{heading}**")
            inference.show(picture, caption)


def results(
    models: list[Model], raw: np.ndarray, ratio: float, strategy: str, seed: int, index: int
) -> list[tuple[Model, inference.Restored]]:
    """What each model that works made of the image; the others are named on the page."""
    made = []
    for model in models:
        try:
            made.append((model, inference.restore(model, raw, ratio, strategy, seed, index)))
        except inference.Unusable as error:
            st.error(
                f"**{state.plain(error.path)}** cannot be used: {state.plain(error, 240)}", icon=":material/error:"
            )
            st.code(error.command, language="bash")
    return made


def mask_controls(prefix: str = "") -> tuple[float, str, int]:
    """Ratio, strategy and seed of the mask."""
    left, middle, right = st.columns([3, 2, 1])
    with left:
        ratio = st.slider("Mask ratio", 0.05, 0.95, 0.75, 0.05, key=f"{prefix}ratio", bind="query-params")
    with middle:
        strategy = state.choose(
            "Strategy", list(ImageModality.maskers), f"{prefix}strategy", "How the hidden cells are chosen."
        )
    with right:
        seed = st.number_input("Seed", 0, 9999, 0, key=f"{prefix}seed", bind="query-params", help="Draws another mask.")
    return ratio, strategy, int(seed)


def side_by_side(models: list[Model], raw: np.ndarray, ratio: float, strategy: str, seed: int, index: int) -> None:
    """Original, mask, then each model: what it made, its PSNR, and below it where it was wrong."""
    with st.spinner("Reconstructing…", show_time=True):
        made = results(models, raw, ratio, strategy, seed, index)
    if not made:
        return
    one_grid = len({inference.grid(model) for model, _ in made}) == 1
    original = inference.rgb(raw)
    free: list[tuple[str, np.ndarray, str] | None] = [None, None] if one_grid else [None]
    if one_grid:
        first = [("Original", original, ""), ("Masked", made[0][1].masked, f"{100 * ratio:.0f} % of cells hidden")]
        pictures([*first, *((state.plain(m.name), r.image, f"PSNR {r.psnr:.1f} dB") for m, r in made)])
    else:
        st.info(
            "These models cut the image into cells of different size, so one mask cannot serve all: each has its own, "
            "drawn from the same seed. Compare how the pictures look rather than their PSNR.",
            icon=":material/grid_on:",
        )
        grids = {model.name: "{} × {} cells".format(*inference.grid(model)) for model, _ in made}
        pictures([("Original", original, ""), *((state.plain(m.name), r.masked, grids[m.name]) for m, r in made)])
        pictures([*free, *(("Reconstruction", r.image, f"PSNR {r.psnr:.1f} dB") for _, r in made)])
    if st.toggle(
        "Error map", True, key="errors", bind="query-params", help="Black: right. Yellow: half the range off."
    ):
        pictures([*free, *(("Error", r.error, "") for _, r in made)])
    for note in sorted({r.note for _, r in made if r.note}):
        who = ", ".join(state.plain(m.name) for m, r in made if r.note == note)
        st.info(f"{who}: {note}.", icon=":material/info:")
    rows = [(m.name, strategy, ratio, seed, index, r.psnr, "x".join(map(str, inference.grid(m)))) for m, r in made]
    names = ["model", "strategy", "ratio", "seed", "image", "psnr_db", "cells"]
    with st.container(horizontal=True):
        state.download(pd.DataFrame(rows, columns=names), "reconstructions", "CSV of these numbers")
        row = [original, *(p for _, r in made for p in (r.masked, r.image))]
        picture = np.concatenate([inference.enlarge(p, 140) for p in row], 1)
        st.download_button(
            "PNG: original, then masked and restored by each model", lambda: inference.png(picture), "restored.png",
            "image/png", icon=":material/image:", type="tertiary",
        )  # fmt: skip
    slowest = max(r.seconds for _, r in made)
    st.caption(
        "PSNR is over the hidden pixels of this one image (n = 1): a look, not a score. "
        f"At most {1000 * slowest:.0f} ms a model on this CPU."
    )


def strip(models: list[Model], raw: np.ndarray, strategy: str, seed: int, index: int) -> None:
    """Above what each model saw, below what it made of it, at four ratios."""
    st.subheader("The same image at other ratios", anchor=False)
    halves, shown = st.columns(2, gap="medium"), 0
    for model in models:
        try:
            made = [inference.restore(model, raw, ratio, strategy, seed, index) for ratio in STRIP]
        except inference.Unusable:  # said above, beside the pictures
            continue
        shown += 1
        with halves[(shown - 1) % 2]:
            st.markdown(f"**{state.plain(model.name)}**")
            for place, ratio, one in zip(st.columns(len(STRIP), gap="small"), STRIP, made):
                gap = np.full((1, *one.masked.shape[1:]), 255, np.uint8)
                both = np.concatenate([one.masked, gap, one.image])
                with place:
                    inference.show(both, f"{100 * ratio:.0f} %, {one.psnr:.1f} dB")


def choose_models(found: Store, shape: tuple[int, ...], key: str) -> list[Model]:
    """Up to four models that take this shape; the first seed of each recipe comes first."""
    fitting = [m for m in found.models() if inference.fits(m, shape)]
    firsts = list({m.recipe: m for m in reversed(fitting) if m.origin == "models"}.values())[::-1]
    ordered = [m.name for m in firsts] + [m.name for m in fitting if m not in firsts]
    if not ordered:
        state.empty("No trained model takes images of this dataset's shape yet. This trains what params.yaml lists:")
        return []
    by_name = {m.name: m for m in fitting}
    chosen = state.choose_several("Models", ordered, key, help="Up to four. Controls are at the end of the list.")
    if not chosen:
        st.info("Choose at least one model.")
    return [by_name[name] for name in chosen]


def live(found: Store, datasets: list[Dataset]) -> None:
    by_name = {d.name: d for d in datasets}
    first, second, third, fourth = st.columns([2, 1, 1, 3])
    with first:
        dataset = by_name[state.choose("Dataset", list(by_name), "dataset")]
    with second:
        split = state.choose("Split", SPLITS[::-1], "split")
    arrays = found.samples(dataset.name, split)
    if arrays is None or not len(arrays[0]):
        return
    images, labels = arrays
    with third:
        text = f"0 to {len(images) - 1:,}"
        index = st.number_input(
            "Image", 0, len(images) - 1, 0, key=f"image_{dataset.name}_{split}", bind="query-params", help=text
        )
    with fourth:
        models = choose_models(found, images.shape[1:], "runs")
    ratio, strategy, seed = mask_controls()
    if not models:
        return
    raw = np.array(images[int(index)])
    classes = dataset.info.get("classes") or []
    label = int(labels[int(index)])
    name = state.plain(classes[label]) if 0 <= label < len(classes) else "unlabelled"
    st.caption(f"{state.plain(dataset.name)} / {split} / image {index}, class {name}")
    side_by_side(models, raw, ratio, strategy, seed, int(index))
    strip(models, raw, strategy, seed, int(index))


def rendered(found: Store) -> None:
    """The grids that `evaluate` made on the fixed bank of masks: no model is run."""
    names = found.trained_names()
    if not names:
        state.empty("No recipe has results yet.")
        return
    recipe = state.choose("Recipe", names, "recipe", format_func=words.short)
    bank = found.reconstruction_bank(recipe)
    if not bank.pictures:
        state.empty("No reconstructions were rendered for this recipe.", repro("evaluate", recipe))
        return
    st.caption(f"{len(bank.images)} fixed test images; columns: original, masked, reconstruction, error.")
    for place, (name, picture) in zip(st.columns(max(len(bank.pictures), 2)), bank.pictures.items()):
        mask = next(m for m in bank.masks if m["name"] == name)
        with place:
            st.image(
                picture.read_bytes(),
                f"{state.plain(mask.get('strategy', ''))}, ratio {mask.get('ratio')}, seed {mask.get('seed')}",
                width="stretch",
            )


def page(found: Store) -> None:
    state.header("Reconstructions", "The same image under the same mask, restored by up to four models.")
    datasets = [d for d in found.datasets() if d.pictures]
    if not datasets:
        state.empty("No dataset has been prepared in this folder yet.")
        return
    now, before = st.tabs(["Live", "Rendered by evaluate"])
    with now:
        live(found, datasets)
    with before:
        rendered(found)


if __name__ == "__main__":
    state.guarded(page)
