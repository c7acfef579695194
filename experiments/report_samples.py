"""The report's samples: the datasets as they were prepared, reconstructions as embedded pictures, and maps of the features."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from experiments import words
from experiments.markup import Markup, details, table, tag, text
from experiments.results import SPLITS, Dataset, Store, flat
from experiments.svg import MOST_NAMED, SERIES, cloud

LARGEST_PICTURE = 400_000
"""Bytes of a picture that is embedded as it is; a larger one is made smaller."""
WIDEST = 900
"""Pixels of a picture that had to be made smaller."""
MOST_POINTS = 1500
"""Points of a map: more make the page heavy and the map no clearer."""
MOST_ASIDE = 30
SHOWN = 12
"""Digits of a fingerprint."""


# Data


def datasets(found: Store) -> Markup:
    """A card of facts per dataset: splits, classes, licence, source, what was set aside, copies, and whether its bytes were checked."""
    some = found.datasets()
    if not some:
        return tag("p", "No dataset is prepared yet.", class_="none")
    return text(_dataset(found, one) for one in some)


def _dataset(found: Store, one: Dataset) -> Markup:
    name, info = one.name, one.info
    splits = info.get("splits") or {}
    copies, classes = info.get("duplicates") or {}, info.get("classes") or []
    across = copies.get("across_splits")
    named = ", ".join(words.short(c, 20) for c in classes[:12]) + (", …" if len(classes) > 12 else "")
    facts: list[list[Any]] = [
        ["samples", f"{words.short(one.modality)}, {words.short(one.layout, 80)}"],
        ["classes", f"{len(classes)}: {named}" if classes else "none: unlabelled"],
        ["licence", words.short(info.get("licence") or "not stated", 200)],
        ["source", words.short(info.get("source") or "not stated", 200)],
        [
            "set aside",
            f"{info.get('quarantined', 0):,} unusable, each with its reason; {info.get('ignored', 0):,} ignored, no samples",
        ],
        [
            "exact copies",
            f"{copies.get('within', words.NONE)} within a split, {words.NONE if across is None else across} across splits",
        ],
        ["overlaps with", ", ".join(words.short(o) for o in info.get("overlaps") or []) or "no known dataset"],
        ["fingerprint", tag("code", words.short(info.get("fingerprint") or words.NONE, SHOWN + 1))],
        *(["note", words.short(note, 300)] for note in info.get("notes") or []),
    ]
    counts: list[list[Any]] = [
        [split, f"{splits[split].get('samples', 0):,}", f"{splits[split].get('labelled', 0):,}"]
        for split in SPLITS
        if split in splits
    ]
    return tag(
        "div",
        tag("h3", words.short(name, 80)),
        _warning("Unverified: the bytes were not compared with a recorded checksum.")
        if not info.get("verified")
        else None,
        _warning(f"{across} samples lie in more than one split: test scores on this dataset are too high.")
        if across
        else None,
        tag(
            "div",
            table(["split", "samples", "labelled"], counts, numbers=(1, 2)),
            table(["fact", ""], facts),
            class_="facts",
        ),
        _quarantine(found, name),
    )


def _warning(sentence: str) -> Markup:
    return tag("div", tag("p", sentence), class_="note warn")


def _quarantine(found: Store, name: str) -> Markup | None:
    aside = found.quarantine(name)
    if aside.empty:
        return None
    rows = [
        [words.short(cell, 80) for cell in row]
        for row in aside.head(MOST_ASIDE)[["file", "reason", "detail"]].to_numpy().tolist()
    ]
    more = f" (the first {MOST_ASIDE})" if len(aside) > MOST_ASIDE else ""
    return details(f"{len(aside):,} files set aside{more}", table(["file", "reason", "detail"], rows))


# Reconstructions


def reconstructions(found: Store, recipe: str) -> Markup | None:
    """The fixed samples under the fixed masks, with the numbers of each mask."""
    bank = found.reconstruction_bank(recipe)
    if not bank.pictures:
        return None
    shown = []
    for mask in bank.masks:
        picture = bank.pictures.get(mask["name"])
        if picture is None:
            continue
        name = f"{mask.get('strategy', '')}, {_percent(mask.get('ratio'))} hidden, mask seed {mask.get('seed', words.NONE)}"
        drawn = tag("img", src=embedded(picture), alt=f"{words.short(recipe)}: {name}")
        shown.append(
            tag("figure", drawn, tag("figcaption", tag("strong", name), _mask_scores(bank.scores, mask["name"])))
        )
    note = (
        f"{len(bank.images)} fixed test samples, chosen before any model was trained. {words.short(bank.legend, 300)}"
    )
    return text([tag("h3", words.short(recipe, 80)), tag("p", note, class_="soft"), tag("div", *shown, class_="trio")])


def _percent(ratio: Any) -> str:
    return f"{100 * ratio:.0f} %" if isinstance(ratio, int | float) and math.isfinite(ratio) else words.NONE


def _mask_scores(scores: Any, mask: str) -> Markup | None:
    """A line per model, of whatever `bank.json` measured under this mask."""
    of = scores.get(mask) if isinstance(scores, dict) else None
    numbers = {k: v for k, v in flat(of).items() if isinstance(v, int | float)} if isinstance(of, dict) else {}
    by_model: dict[str, list[str]] = {}
    for key, value in sorted(numbers.items(), key=lambda one: words.metric_order(one[0].rpartition(".")[2])):
        model, _, metric = key.rpartition(".")
        by_model.setdefault(model, []).append(f"{words.metric(words.short(metric, 40))} {words.score(value, metric)}")
    said = [
        tag("span", tag("br"), f"{words.model(words.short(model, 40))}: " if model else "", ", ".join(some))
        for model, some in by_model.items()
    ]
    return text(said) if said else None


def embedded(picture: Path) -> str:
    """A PNG as a data: address, made smaller where it is heavy."""
    content = picture.read_bytes()
    if len(content) > LARGEST_PICTURE:
        from PIL import Image

        with Image.open(io.BytesIO(content)) as image:
            image.thumbnail((WIDEST, 2 * WIDEST), Image.Resampling.BOX)
            buffer = io.BytesIO()
            image.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(buffer, "PNG", optimize=True)
        content = min(content, buffer.getvalue(), key=len)
    return "data:image/png;base64," + base64.b64encode(content).decode()


# Maps


def feature_map(found: Store, recipe: str) -> Markup | None:
    """t-SNE and PCA of the test samples' features, coloured and named by class."""
    points = found.embeddings(recipe)
    if points.empty:
        return None
    total = len(points)
    kept = np.unique(np.linspace(0, total - 1, min(total, MOST_POINTS)).astype(int))
    points = points.iloc[kept]
    classes, labels = _classes(found, recipe), points["label"].fillna(-1).to_numpy(dtype=int)
    maps = [
        tag(
            "figure",
            cloud(points[[x, y]].to_numpy(dtype=float), labels, classes, f"{name} of {words.short(recipe)}"),
            tag("figcaption", said),
        )
        for name, x, y, said in (
            ("t-SNE", "x", "y", "t-SNE: who is near whom. Distances between clusters and their sizes mean nothing."),
            ("PCA", "pca_x", "pca_y", "PCA: the two directions of most variance."),
        )
    ]
    thinned = "" if len(kept) == total else f"every {total / len(kept):.1f}th of "
    note = f"{len(kept):,} points, {thinned}{total:,} test samples, pretraining seed 0; frozen encoder, nothing hidden."
    legend = None
    if (labels >= 0).any():
        present = [int(k) for k in np.unique(labels[labels >= 0])][:MOST_NAMED]
        legend = tag("p", [_key(k, classes[k] if k < len(classes) else str(k)) for k in present], class_="soft")
    return text(
        [tag("h3", words.short(recipe, 80)), tag("p", note, class_="soft"), legend, tag("div", *maps, class_="pair")]
    )


def _key(label: int, name: str) -> Markup:
    dot = tag("span", "", class_="key", style=f"background: var(--c{label % SERIES})")
    return tag("span", dot, words.short(name, 24), " \u2002")


def _classes(found: Store, recipe: str) -> list[str]:
    name = found.dataset_of(recipe)
    info = next((d.info for d in found.datasets() if d.name == name), {})
    return [str(c) for c in info.get("classes") or []]
