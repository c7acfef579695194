"""Reconstructions: one sample, one mask, every chosen model side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import inference, panels, state
from experiments import words
from experiments.results import SPLITS, Dataset, Model, Store, repro
from mae_core.modalities.base import OWN
from mae_core.modalities.panels import Panel

STRIP = (0.25, 0.5, 0.75, 0.9)
Made = list[tuple[Model, inference.Restored]]
Column = tuple[str, list[Panel], str]


def results(models: list[Model], raw: np.ndarray, ratio: float, strategy: str, seed: int, index: int) -> Made:
    """What each model that works made of the sample; the others are named on the page."""
    made = []
    for model in models:
        try:
            made.append((model, inference.restore(model, raw, ratio, strategy, seed, index)))
        except inference.Unusable as error:
            state.unusable(error.path, error, error.command)
    return made


def mask_controls(dataset: Dataset) -> tuple[float, str, int]:
    """Ratio, strategy and seed of the mask; what there is to choose from depends on the modality.

    Masks that a model leads itself are left out: each model would be shown another.
    """
    modality = inference.modality_of(dataset)
    kind = dataset.modality
    left, middle, right = st.columns([3, 2, 1])
    with left:
        usual = round(modality.default_ratio / 0.05) * 0.05
        ratio = st.slider("Mask ratio", 0.05, 0.95, usual, 0.05, key=f"ratio_{kind}", bind="query-params")
    with middle:
        strategy = state.choose(
            "Strategy",
            [name for name in modality.maskers if name not in OWN],
            f"strategy_{kind}",
            "How the hidden cells are chosen.",
        )
    with right:
        seed = st.number_input("Seed", 0, 9999, 0, key="seed", bind="query-params", help="Draws another mask.")
    return ratio, strategy, int(seed)


def columns(shown: list[Column | None], name: str, across: int, details: bool) -> None:
    """Samples beside each other, each with a heading and a caption; None leaves a place free. Words must be safe Markdown."""
    for i, (place, column) in enumerate(zip(st.columns(max(len(shown), across), gap="small"), shown)):
        if column is None:
            continue
        heading, some, caption = column
        with place:
            st.markdown(f"**{heading}**")
            st.caption(caption)
            panels.draw(some, f"{name}-{i}", details)


def measured(one: inference.Restored) -> str:
    """'PSNR of hidden pixels 17.2 dB'."""
    return f"{words.metric(one.measure)} {words.score(one.value, one.measure)}"


def side_by_side(models: list[Model], raw: np.ndarray, ratio: float, strategy: str, seed: int, index: int) -> None:
    """Original, mask, then each model: what it made, how good that is, and where it was wrong."""
    with st.spinner("Reconstructing…", show_time=True):
        made = results(models, raw, ratio, strategy, seed, index)
    if not made:
        return
    one_grid = len({r.grid for _, r in made}) == 1
    if not one_grid:
        st.info(
            "These models cut the sample into cells of different size, so one mask cannot serve all: each has its own, "
            "drawn from the same seed. Compare how the results look rather than their numbers.",
            icon=":material/grid_on:",
        )
    if all(panels.whole(r.filled) for _, r in made):
        _wide(made)
    else:
        _narrow(made, one_grid, f"{100 * ratio:.0f} % of cells hidden")
    for note in sorted({r.note for _, r in made if r.note}):
        who = ", ".join(state.plain(m.name) for m, r in made if r.note == note)
        st.info(f"{who}: {note}.", icon=":material/info:")
    unit = made[0][1].unit
    rows = [(m.name, strategy, ratio, seed, index, r.measure, r.value, r.error, unit, r.grid) for m, r in made]
    names = ["model", "strategy", "ratio", "seed", "sample", "measure", "value", "error", "error_unit", "cells"]
    with st.container(horizontal=True):
        state.download(pd.DataFrame(rows, columns=names), "reconstructions", "CSV of these numbers")
        st.download_button(
            "PNG: original, masked and restored, a line for each model",
            lambda: inference.png(inference.stacked([r.picture for _, r in made])), "restored.png",
            "image/png", icon=":material/image:", type="tertiary",
        )  # fmt: skip
    slowest = max(r.seconds for _, r in made)
    st.caption(
        f"{words.metric(made[0][1].measure)}, over what is hidden of this one sample (n = 1): a look, not a score. "
        f"At most {1000 * slowest:.0f} ms a model on this CPU."
    )


def _narrow(made: Made, one_grid: bool, hidden: str) -> None:
    """Pictures and sounds, beside the original."""
    original = made[0][1].original
    details = st.toggle("Where they are wrong", True, key="errors", bind="query-params")
    if one_grid:
        first: list[Column | None] = [("Original", original, "nothing hidden"), ("Masked", made[0][1].masked, hidden)]
        columns([*first, *((state.plain(m.name), r.filled, measured(r)) for m, r in made)], "made", 4, details)
        return
    columns(
        [("Original", original, "nothing hidden"), *((state.plain(m.name), r.masked, r.grid) for m, r in made)],
        "seen",
        4,
        details,
    )
    columns([None, *(("Reconstruction", r.filled, measured(r)) for _, r in made)], "made", 4, details)


def _wide(made: Made) -> None:
    """What shows truth and fill in one, two to a line."""
    for start in range(0, len(made), 2):
        some = made[start : start + 2]
        shown: list[Column | None] = [(state.plain(m.name), r.filled, f"{measured(r)}, {r.grid}") for m, r in some]
        columns(shown, f"made-{start}", min(len(made), 2), True)
    st.caption(panels.key(made[0][1].filled))


def strip(models: list[Model], raw: np.ndarray, strategy: str, seed: int, index: int) -> None:
    """The same sample at four ratios: what each model saw above what it made of it, or measures where a small picture says little."""
    st.subheader("The same sample at other ratios", anchor=False)
    made: list[tuple[Model, list[inference.Restored]]] = []
    for model in models:
        try:
            made.append((model, [inference.restore(model, raw, ratio, strategy, seed, index) for ratio in STRIP]))
        except inference.Unusable:  # said above, beside the samples
            continue
    if not made:
        return
    if panels.whole(made[0][1][0].filled):
        measure = made[0][1][0].measure
        rows = [[m.name, *(words.score(r.value, measure) for r in some)] for m, some in made]
        st.dataframe(
            pd.DataFrame(rows, columns=["model", *(f"{100 * r:.0f} % hidden" for r in STRIP)]), hide_index=True
        )
        st.caption(words.metric(measure))
        return
    halves = st.columns(2, gap="medium")
    for i, (model, some) in enumerate(made):
        with halves[i % 2]:
            st.markdown(f"**{state.plain(model.name)}**")
            for place, ratio, one in zip(st.columns(len(STRIP), gap="small"), STRIP, some):
                with place:
                    panels.show(one.pair, f"{100 * ratio:.0f} %, {words.score(one.value, one.measure)}")


def choose_models(found: Store, dataset: Dataset, key: str) -> list[Model]:
    """Up to four models that take this dataset's samples; the first seed of each recipe comes first."""
    fitting = [m for m in found.models() if inference.fits(m, dataset)]
    if dark := [m for m in fitting if not inference.shows(m)]:
        st.caption(f"Left out, because what they predict is no sample: {', '.join(state.plain(m.name) for m in dark)}.")
        fitting = [m for m in fitting if m not in dark]
    firsts = list({m.recipe: m for m in reversed(fitting) if m.origin == "models"}.values())[::-1]
    ordered = [m.name for m in firsts] + [m.name for m in fitting if m not in firsts]
    if not ordered:
        state.empty("No trained model takes samples of this dataset yet. This trains what params.yaml lists:")
        return []
    by_name = {m.name: m for m in fitting}
    # a choice made for one dataset is none for another
    chosen = state.choose_several(
        "Models", ordered, f"{key}_{dataset.name}", help="Up to four. Controls are at the end of the list."
    )
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
    samples, labels = arrays
    with third:
        text = f"0 to {len(samples) - 1:,}"
        index = st.number_input(
            "Sample", 0, len(samples) - 1, 0, key=f"sample_{dataset.name}_{split}", bind="query-params", help=text
        )
    with fourth:
        models = choose_models(found, dataset, "runs")
    ratio, strategy, seed = mask_controls(dataset)
    if not models:
        return
    raw = np.array(samples[int(index)])
    classes = dataset.info.get("classes") or []
    label = int(labels[int(index)])
    name = f"class {state.plain(classes[label])}" if 0 <= label < len(classes) else "unlabelled"
    st.caption(f"{state.plain(dataset.name)} / {split} / sample {index}, {name}")
    side_by_side(models, raw, ratio, strategy, seed, int(index))
    strip(models, raw, strategy, seed, int(index))


def rendered(found: Store) -> None:
    """The pictures that `evaluate` made on the fixed bank of masks: no model is run."""
    names = found.trained_names()
    if not names:
        state.empty("No recipe has results yet.")
        return
    recipe = state.choose("Recipe", names, "recipe", format_func=words.short)
    bank = found.reconstruction_bank(recipe)
    if not bank.pictures:
        state.empty("No reconstructions were rendered for this recipe.", repro("evaluate", recipe))
        return
    st.caption(f"{len(bank.images)} fixed test samples. {state.plain(bank.legend, 300)}")
    for i, (name, picture) in enumerate(bank.pictures.items()):
        if i % 2 == 0:
            places = st.columns(2)
        mask = next(m for m in bank.masks if m["name"] == name)
        with places[i % 2]:
            st.image(
                picture.read_bytes(),
                f"{state.plain(mask.get('strategy', ''))}, ratio {mask.get('ratio')}, seed {mask.get('seed')}",
                width="stretch",
            )


def page(found: Store) -> None:
    state.header("Reconstructions", "The same sample under the same mask, restored by up to four models.")
    datasets = found.datasets()
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
