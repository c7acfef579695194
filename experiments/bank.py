"""The fixed bank of samples and masks: how well holes are filled, and pictures of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from experiments.scores import DIGITS, Measure
from experiments.subjects import Subject, device, spread
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.reconstruct import fill_quality
from mae_core.evaluation.statistics import over_items
from mae_core.modalities.base import Mask
from mae_core.model import MaskedAutoencoder

SCHEMA = 1
MEASURED, SHOWN = 200, 8
"""Samples of a split: spread evenly over it, so that every class of a sorted one is there."""


class Banked(NamedTuple):
    """What one model does with the bank on one split."""

    measures: list[Measure]
    masks: tuple[Mask, ...]
    """The bank."""
    pictures: dict[str, np.ndarray]
    """By mask: RGB uint8; empty unless asked for."""
    legend: str
    """What they show."""


def fill_bank(subject: Subject, folder: Path, split: str, fills: bool, show: bool) -> Banked:
    """The measures of a model's fills under each mask and averaged over them; with ``fills`` also of what needs no model."""
    dataset = open_dataset(folder)
    samples = dataset.split(split).samples
    rows = spread(len(samples), MEASURED)
    network = subject.load()
    assert isinstance(network, MaskedAutoencoder), subject
    bank = network.modality.bank
    train = dataset.split("train").samples if fills else None
    found = {mask.name: fill_quality(network, samples[rows], mask, train) for mask in bank}
    n_train = dataset.info["splits"]["train"]["samples"]
    measures = []
    for who, of_first in found[bank[0].name].items():
        if who != "model" and not fills:
            continue
        model, seed = (subject.model, subject.seed) if who == "model" else (who, None)
        for metric in of_first:
            by_mask = {mask: quality[who][metric] for mask, quality in found.items()}
            named = {metric: _mean(np.stack(list(by_mask.values())))}
            named |= {f"{metric}.{mask}": values for mask, values in by_mask.items()}
            for name, values in named.items():
                known = values[~np.isnan(values)]
                if not len(known):
                    continue  # no sample of the split says anything of it
                mean = over_items(known)
                low, high = (None if np.isnan(end) else end for end in (mean.low, mean.high))
                numbers = (n_train, mean.n, split, mean.mean, low, high)
                measures.append(Measure(model, "reconstruction", name, seed, *numbers))
    pictures = {}
    if show:
        raw = torch.from_numpy(samples[spread(len(samples), SHOWN)]).to(device())
        for mask in bank:
            made = network.reconstruct(raw, mask.ratio, mask.strategy, mask.seed)
            pictures[mask.name] = network.modality.picture(raw, made.masked, made.filled)
    return Banked(measures, bank, pictures, network.modality.legend)


def _mean(by_mask: np.ndarray) -> np.ndarray:
    """(n,) mean over masks of (masks, n); NaN where a measure says nothing of a sample under any mask."""
    known = ~np.isnan(by_mask)
    total = np.where(known, by_mask, 0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(len(total), np.nan), where=known.any(0))


def write_bank(folder: Path, dataset: Dataset, split: str, banked: Banked | None) -> None:
    """``bank.json`` and the pictures of ``banked`` in ``folder``; an empty bank where nothing was reconstructed."""
    from PIL import Image

    legend = ""
    images: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    scores: dict[str, dict[str, float]] = {}
    if banked is not None:
        legend = banked.legend
        labels = dataset.split(split).labels
        images = [{"index": int(i), "split": split, "label": int(labels[i])} for i in spread(len(labels), SHOWN)]
        masks = [mask._asdict() for mask in banked.masks]
        for one in banked.measures:
            metric, _, mask = one.metric.partition(".")
            if mask and one.model == "pretrained":
                scores.setdefault(mask, {})[metric] = round(one.value, DIGITS)
        for name, picture in banked.pictures.items():
            Image.fromarray(picture).save(folder / f"{name}.png")
    document = {"schema": SCHEMA, "legend": legend, "images": images, "masks": masks, "scores": scores}
    (folder / "bank.json").write_text(json.dumps(document, indent=2) + "\n")
