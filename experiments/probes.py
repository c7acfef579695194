"""Frozen probes of one subject: fitted on train, tuned on validation alone, answering at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from experiments.pool import Job
from experiments.questions import Questions
from experiments.recipe import EvaluateSection
from experiments.scores import Answer, Measure
from experiments.subjects import Shelf, Subject, spread
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.baselines import fit_pca
from mae_core.evaluation.boosting import fit_boosting
from mae_core.evaluation.few_label import few
from mae_core.evaluation.knn import knn_predict
from mae_core.evaluation.label_free import explained, explains, lidar, masked_views
from mae_core.evaluation.linear import fit_linear, fit_scaler
from mae_core.evaluation.rank import measure_rank
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder
from mae_core.registry import resolve

MOST_UNLABELLED = 1_000


class Predictor(Protocol):
    """Anything fitted."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, D) features → (n,) labels."""


OF_PLAIN = {"knn": "pixels_knn", "linear": "pixels_logistic", "few_label": "pixels_logistic"}
"""What the probes of plain features are called in scores.csv."""
BASELINES: dict[str, Callable[..., Predictor]] = {"pca": fit_pca, "boosting": fit_boosting}
"""What else a modality may name as its baselines: all but the linear probe that is fitted on plain features with all labels."""


class KnnProbe(NamedTuple):
    """The labelled training features of a subject, which lie on the shelf."""

    shelf: Shelf
    subject: Subject
    dataset: Path
    k: int

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, D) → (n,) labels."""
        dataset = open_dataset(self.dataset)
        train = _labelled(self.shelf, self.subject, dataset, "train")
        return knn_predict(train.x, train.y, x, self.k)


class Fitted(NamedTuple):
    """A probe and what it is called."""

    model: str
    task: str
    labels_per_class: int | None
    pretrain_seed: int | None
    probe_seed: int | None
    n_train: int
    probe: Predictor


class _Labelled(NamedTuple):
    x: np.ndarray
    y: np.ndarray


def _labelled(shelf: Shelf, subject: Subject, dataset: Dataset, split: str) -> _Labelled:
    """Features and labels of the samples that have one; fills the shelf."""
    x, y = shelf.fill(subject, dataset, split), np.asarray(dataset.split(split).labels)
    return _Labelled(x, y) if (y >= 0).all() else _Labelled(x[y >= 0], y[y >= 0])


def fit_probes(
    subject: Subject, folder: Path, shelf: Shelf, asked: Questions, k: int, probe_seeds: list[int]
) -> list[Fitted]:
    """Every probe of a subject; nothing of the test split is read."""
    dataset = open_dataset(folder)
    train = _labelled(shelf, subject, dataset, "train")
    validation = _labelled(shelf, subject, dataset, "validation")
    found: list[Fitted] = []

    def add(task: str, probe: Predictor, amount: int | None, seed: int | None, n_train: int, name: str = "") -> None:
        model = name or (subject.model if subject.folder else OF_PLAIN[task])
        found.append(Fitted(model, task, amount, subject.seed, seed, n_train, probe))

    if "knn" in asked.tasks:
        add("knn", KnnProbe(shelf, subject, folder, k), None, None, len(train.y))
    if "linear" in asked.tasks:
        add("linear", fit_linear(*train, *validation), None, None, len(train.y))
        for name in resolve(MODALITIES, dataset.modality, "modality").baselines if subject.folder is None else ():
            add("linear", BASELINES[name](*train, *validation), None, None, len(train.y), name)
    if "few_label" in asked.tasks:
        scaler = fit_scaler(shelf.fill(subject, dataset, "train"))
        labels = np.asarray(dataset.split("train").labels)
        for amount in asked.few_label:
            for seed in probe_seeds:
                # of the whole split, as fine-tuning draws: the same samples whatever else is labelled
                rows = np.searchsorted(np.flatnonzero(labels >= 0), few(labels, amount, seed))
                probe = fit_linear(train.x[rows], train.y[rows], *validation, scaler=scaler)
                add("few_label", probe, amount, seed, len(rows))
    return found


def probe_jobs(
    everyone: list[Subject], dataset: Dataset, asked: Questions, spec: EvaluateSection, shelf: Shelf
) -> list[Job]:
    """One job a subject, which gives a list of ``Fitted``."""
    return [Job(fit_probes, (one, dataset.folder, shelf, asked, spec.knn_k, spec.probe_seeds)) for one in everyone]


def answer_jobs(everyone: list[Subject], dataset: Dataset, fitted: list[list[Fitted]], shelf: Shelf) -> list[Job]:
    """What everyone's probes say of validation and of test, each a list of ``Answer``."""
    return [
        Job(answer_probes, (subject, dataset.folder, shelf, probes, split))
        for subject, probes in zip(everyone, fitted)
        for split in ("validation", "test")
    ]


def answer_probes(subject: Subject, folder: Path, shelf: Shelf, fitted: list[Fitted], split: str) -> list[Answer]:
    """What each probe says of the labelled samples of a split."""
    if not fitted:
        return []
    x, y = _labelled(shelf, subject, open_dataset(folder), split)
    if not len(y):
        return []
    return [Answer(*one[:-1], split, one.probe.predict(x), y) for one in fitted]


def label_free_of(subject: Subject, folder: Path, split: str) -> list[Measure]:
    """How good a masked autoencoder is where nothing is labelled, on at most 1,000 samples spread over a split."""
    dataset = open_dataset(folder)
    network = subject.load()
    assert isinstance(network, MaskedAutoencoder), subject
    samples = dataset.split(split).samples
    samples = samples[spread(len(samples), MOST_UNLABELLED)]
    facts = {"explained": explained(network, samples)} if explains(network.target) else {}
    if len(samples) >= 2:
        facts["lidar"] = lidar(masked_views(network, samples))
    n_train = dataset.info["splits"]["train"]["samples"]
    return [
        Measure(subject.model, "label_free", metric, subject.seed, n_train, len(samples), split, value, None, None)
        for metric, value in facts.items()
    ]


def rank_of(subject: Subject, folder: Path, shelf: Shelf, split: str) -> list[Measure]:
    """How many directions the features of a split use."""
    dataset = open_dataset(folder)
    x = shelf.fill(subject, dataset, split)
    n_train = dataset.info["splits"]["train"]["samples"]
    facts = measure_rank(np.asarray(x))._asdict() if len(x) >= 2 else {}
    return [
        Measure(subject.model, "rank", metric, subject.seed, n_train, len(x), split, value, None, None)
        for metric, value in facts.items()
    ]
