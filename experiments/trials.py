"""One trial: a complete schedule on one core, then a score of the frozen encoder on validation samples."""

from __future__ import annotations

import math
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mae_core.data.dataset import Dataset, open_dataset
from mae_core.draws import permutation
from mae_core.evaluation.features import extract
from mae_core.evaluation.knn import knn_accuracy
from mae_core.evaluation.label_free import explained, lidar, masked_views
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start

NEIGHBOURS = 20
MOST_SAMPLES = 10_000
"""Labelled samples of a split that a k-NN score uses."""
MOST_UNLABELLED = 1_000
FEWEST_LABELS = 50
"""In train and in validation; with fewer, one validation sample is worth more than the differences to be seen."""
REPORTS = 100


class Work(NamedTuple):
    """All that a worker needs, in plain values."""

    config: dict[str, Any]
    """What MaskedAutoencoder.build takes."""
    settings: dict[str, Any]
    """What Settings takes."""
    dataset: str
    """Folder of the prepared dataset, absolute: samples are mapped where they lie, never sent."""
    metric: str
    init_from: str | None
    """Model folder to start from."""
    features_from: str | None = None
    """Model folder whose features are a target."""


class Measured(NamedTuple):
    """What a worker found."""

    measures: dict[str, float]
    """By name, more is better; empty where it failed."""
    loss: float | None
    """Mean over the reports of the last tenth of the schedule."""
    parameters: int
    seconds: float
    failure: str = ""


class Metric(NamedTuple):
    """What trials are ranked by."""

    name: str
    """knn or label_free."""
    why: str


def choose_metric(dataset: Dataset) -> Metric:
    """k-NN where train and validation have labels enough, else the label-free scores."""
    counts = {name: int((dataset.split(name).labels >= 0).sum()) for name in ("train", "validation")}
    if dataset.labelled and min(counts.values()) >= FEWEST_LABELS:
        return Metric(
            "knn", f"accuracy of k-NN ({NEIGHBOURS}) on frozen features of {counts['validation']} validation samples"
        )
    return Metric(
        "label_free",
        "average of ranks by LiDAR over random masks and by variance explained on a mask bank: a k-NN score needs "
        f"{FEWEST_LABELS} labels in train and in validation, there are {counts['train']} and {counts['validation']}",
    )


def measure(work: Work) -> Measured:
    """Trains and scores; a trial that cannot be trained comes back with its reason instead of raising."""
    began = time.perf_counter()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parameters = 0
    try:
        settings = Settings(**{**work.settings, "betas": tuple(work.settings["betas"])})
        dataset = _dataset(work.dataset)
        state = start(work.config, settings, device, features_from=work.features_from)
        parameters = sum(p.numel() for p in state.model.parameters())
        if work.init_from:
            state.load_model(MaskedAutoencoder.load(work.init_from).state_dict())
        every = max(settings.steps // REPORTS, 1)
        train = dataset.split("train")
        labels = train.labels if state.learner is not None and state.learner.needs_labels else None
        reports = [(p.step, p.loss) for p in fit(state, train.samples, settings, report_every=every, labels=labels)]
        loss = float(np.mean([value for step, value in reports if step > 0.9 * settings.steps]))
        measures = SCORES[work.metric](state.result(), dataset, settings.precision)
    except Exception as problem:  # whatever it is, the next trial may do better
        reason = f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"
        return Measured({}, None, parameters, time.perf_counter() - began, reason)
    wrong = [name for name, value in measures.items() if not math.isfinite(value)]
    failure = f"{', '.join(wrong)} is not finite" if wrong else ""
    return Measured(
        {} if failure else measures,
        loss if math.isfinite(loss) else None,
        parameters,
        time.perf_counter() - began,
        failure,
    )


@lru_cache(maxsize=1)
def _dataset(folder: str) -> Dataset:
    return open_dataset(Path(folder))


def _knn(model: MaskedAutoencoder, dataset: Dataset, precision: str) -> dict[str, float]:
    features, labels = {}, {}
    for name in ("train", "validation"):
        split = dataset.split(name)
        rows = _some(np.flatnonzero(split.labels >= 0), MOST_SAMPLES)
        features[name] = extract(model, split.samples[rows], precision=precision)
        labels[name] = split.labels[rows]
    accuracy = knn_accuracy(
        features["train"], labels["train"], features["validation"], labels["validation"], NEIGHBOURS
    )
    return {"knn": accuracy}


def _label_free(model: MaskedAutoencoder, dataset: Dataset, precision: str) -> dict[str, float]:
    split = dataset.split("validation")
    samples = split.samples[_some(np.arange(len(split.samples)), MOST_UNLABELLED)]
    model.eval()
    return {"lidar": lidar(masked_views(model, samples)), "explained": explained(model, samples)}


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """The same ``most`` of the rows in every trial, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(rows[permutation(len(rows), 0, 0, "search").numpy()[:most]])


SCORES = {"knn": _knn, "label_free": _label_free}
