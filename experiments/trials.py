"""One trial: a complete schedule on one core, then scores of the frozen encoder on validation samples."""

from __future__ import annotations

import math
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from experiments.given_models import load_weights
from experiments.goals import METRICS, PROXIES, metric_words, needs_labels, oriented
from experiments.proxies import NEIGHBOURS, Subject, measure_proxies
from experiments.schedules import Leg, play
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.label_free import explains
from mae_core.registry import resolve
from mae_core.targets import TARGETS
from mae_core.training.loop import Settings, fit, start

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
    """A row of ``goals.METRICS``."""
    init_from: str | None
    """Model folder to start from."""
    features_from: str | None = None
    """Model folder whose features are a target."""
    proxies: list[str] = []  # noqa: RUF012 - read, never written to
    """What is measured beside the metric."""
    leg: dict[str, Any] | None = None
    """Fields of ``schedules.Leg``; None: one schedule with the same settings throughout."""


class Measured(NamedTuple):
    """What a worker found."""

    measures: dict[str, float]
    """By name, more is better; empty where it failed."""
    loss: float | None
    """Mean over the reports of the last tenth of the schedule."""
    parameters: int
    seconds: float
    failure: str = ""
    proxies: dict[str, float] = {}  # noqa: RUF012 - read, never written to
    """As measured, by name: those of the metric and those beside it, where they are defined."""
    proxy_seconds: dict[str, float] = {}  # noqa: RUF012
    """What each took."""


class Metric(NamedTuple):
    """What trials are ranked by."""

    name: str
    """A row of ``goals.METRICS``."""
    why: str
    beside: list[str]
    """Proxies that can be measured beside it."""


def choose_metric(
    dataset: Dataset, wanted: str = "knn", beside: tuple[str, ...] = (), target: str = "pixels"
) -> Metric:
    """``wanted`` where train and validation have the labels it needs, else the label-free ranks; so it goes for those ``beside``.

    LiDAR stands in for what reads variance explained where the ``target`` of the recipe has none.
    """
    counts = {name: int((dataset.split(name).labels >= 0).sum()) for name in ("train", "validation")}
    enough = dataset.labelled and min(counts.values()) >= FEWEST_LABELS
    filled = explains(resolve(TARGETS, target, "target"))
    proxies = [name for name in beside if (enough or not PROXIES[name].labels) and (filled or name != "explained")]
    name, reasons = wanted, []
    if needs_labels(wanted) and not enough:
        name = "label_free"
        reasons.append(
            f"a {'k-NN' if wanted == 'knn' else wanted} score needs {FEWEST_LABELS} labels in train and in validation, "
            f"there are {counts['train']} and {counts['validation']}"
        )
    if "explained" in METRICS[name] and not filled:
        name = "lidar"
        reasons.append(f"target {target} has no variance explained")
    if reasons:
        measures = " and ".join(PROXIES[one].what for one in METRICS[name])
        kind = "average of ranks by " if len(METRICS[name]) > 1 else ""
        return Metric(name, f"{kind}{measures}: {'; '.join(reasons)}", proxies)
    words = f"accuracy of k-NN ({NEIGHBOURS})" if name == "knn" else metric_words(name)
    if needs_labels(name):
        return Metric(name, f"{words} on frozen features of {counts['validation']} validation samples", proxies)
    return Metric(name, f"{words} of validation samples, which needs no labels, as the recipe says", proxies)


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
            load_weights(state, work.init_from)
        train = dataset.split("train")
        labels = train.labels if state.learner is not None and state.learner.needs_labels else None
        if work.leg:
            progress = play(state, train.samples, settings, Leg(**work.leg), work.config, labels)
        else:
            every = max(settings.steps // REPORTS, 1)
            progress = fit(state, train.samples, settings, report_every=every, labels=labels)
        reports = [(p.step, p.loss) for p in progress]
        _check_end(reports)
        loss = float(np.mean([value for step, value in reports if step > 0.9 * state.step]))
        needed = METRICS[work.metric]
        found = measure_proxies(Subject(state.result(), dataset, settings.precision), needed, work.proxies)
        measures = {name: oriented(name, found.values[name]) for name in needed}
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
        {} if failure else found.values,
        found.seconds,
    )


def _check_end(reports: list[tuple[int, float]]) -> None:
    """Raises ValueError where the last of (step, loss) is not finite: a training that diverges so late ends before it is given up."""
    if reports and not math.isfinite(reports[-1][1]):
        raise ValueError(f"the loss of the last report, at step {reports[-1][0]}, is not finite: the training diverged")


@lru_cache(maxsize=1)
def _dataset(folder: str) -> Dataset:
    return open_dataset(Path(folder))
