"""Fine-tuning with few labels, and its twin from scratch: the same labels, steps and number of settings, each chosen on validation.

Settings are chosen with the labels of the first probe seed; networks of the other probe seeds are trained with the chosen one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from experiments.pool import Job
from experiments.questions import Questions
from experiments.recipe import EvaluateSection
from experiments.scores import Answer
from experiments.subjects import Subject, device
from mae_core.data.dataset import Split, open_dataset
from mae_core.evaluation.classifier import Classifier
from mae_core.evaluation.few_label import few
from mae_core.evaluation.finetune import Settings, predict, train
from mae_core.model import MaskedAutoencoder, read_config


class Start(NamedTuple):
    """Where the learning rates that are tried lie. A network from scratch has no layers to protect, so all of it learns alike."""

    lr: float
    layer_decay: float


STARTS = {"pretrained": Start(2e-3, 0.75), "scratch": Start(2e-3, 1.0)}


def grid(model: str, trials: int, steps: int) -> list[Settings]:
    """``trials`` settings around ``STARTS``: the rate there, twice, half, four times, a quarter of it, …"""
    start = STARTS[model]
    factors = (2.0 ** ((i + 1) // 2 * (1 if i % 2 else -1)) for i in range(trials))
    return [Settings(steps=steps, lr=start.lr * factor, layer_decay=start.layer_decay) for factor in factors]


class Work(NamedTuple):
    """One network to train, in plain values."""

    model: str
    """pretrained or scratch."""
    pretrain_seed: int
    folder: Path
    """Model folder: weights of ``pretrained``, architecture of ``scratch``."""
    dataset: Path
    labels_per_class: int | None
    probe_seed: int
    settings: Settings

    @property
    def cell(self) -> tuple[str, int, int]:
        """What settings are chosen for; all labels sort as −1."""
        return self.model, self.pretrain_seed, -1 if self.labels_per_class is None else self.labels_per_class


class Tuned(NamedTuple):
    """A trained network."""

    work: Work
    accuracy: float
    """On validation; −1 where training failed."""
    weights: dict[str, np.ndarray]
    n_train: int
    failure: str = ""


def tune(pretrained: Sequence[Subject], dataset: Path, asked: Questions, spec: EvaluateSection) -> list[Job]:
    """The jobs of all settings on the first probe seed."""
    works = [
        Work(model, subject.seed or 0, subject.folder, dataset, amount, spec.probe_seeds[0], settings)
        for subject in pretrained
        if subject.folder is not None
        for amount in asked.finetune
        for model in STARTS
        for settings in grid(model, spec.finetune.trials, spec.finetune.steps)
    ]
    return [Job(fit, (work._replace(settings=work.settings._replace(seed=work.probe_seed)),)) for work in works]


def choose(tried: Sequence[Tuned]) -> list[Tuned]:
    """Of each cell the best on validation; of equal ones the first tried. Raises ValueError where all of a cell failed."""
    found = []
    for cell, members in groupby(sorted(tried, key=lambda one: one.work.cell), key=lambda one: one.work.cell):
        best = max(members, key=lambda one: one.accuracy)
        if best.failure:
            raise ValueError(f"fine-tuning of {cell[0]}, seed {cell[1]}, failed at every learning rate: {best.failure}")
        found.append(best)
    return found


def repeat(chosen: Sequence[Tuned], probe_seeds: Sequence[int]) -> list[Job]:
    """The jobs of the other probe seeds at the chosen settings."""
    return [
        Job(fit, (one.work._replace(probe_seed=seed, settings=one.work.settings._replace(seed=seed)),))
        for one in chosen
        for seed in islice(probe_seeds, 1, None)
    ]


def fit(work: Work) -> Tuned:
    """Trains one network and measures it on validation."""
    dataset = open_dataset(work.dataset)
    split = dataset.split("train")
    labels = np.asarray(split.labels)
    if work.labels_per_class is None:
        rows = np.flatnonzero(labels >= 0)
    else:
        rows = few(labels, work.labels_per_class, work.probe_seed)
    classifier = begin(work, dataset.classes)
    samples = split.samples if len(rows) == len(labels) else split.samples[rows]
    try:
        for _ in train(classifier, samples, labels[rows], work.settings):
            pass
    except ValueError as problem:  # a loss that is not finite: this rate is too high, another may do
        return Tuned(work, -1.0, {}, len(rows), str(problem))
    answer = _answer(work, classifier, len(rows), dataset.split("validation"))
    weights = {name: value.cpu().numpy() for name, value in classifier.state_dict().items()}
    return Tuned(work, float(np.mean(answer.right)), weights, len(rows))


def begin(work: Work, classes: Sequence[str]) -> Classifier:
    """The network before its first step; the head is the same for both models."""
    if work.model == "scratch":
        return Classifier.build(read_config(work.folder), classes, work.pretrain_seed).to(device())
    return Classifier.from_pretrained(MaskedAutoencoder.load(work.folder), classes, work.pretrain_seed).to(device())


def classifier_of(tuned: Tuned, classes: Sequence[str]) -> Classifier:
    """The trained network, in eval mode."""
    made = Classifier.build(read_config(tuned.work.folder), classes)
    made.load_state_dict({name: torch.from_numpy(value) for name, value in tuned.weights.items()})
    return made.eval().to(device())


def answer_tuned(tuned: Tuned, split: str) -> list[Answer]:
    """What a trained network says of the labelled samples of a split."""
    dataset = open_dataset(tuned.work.dataset)
    return [_answer(tuned.work, classifier_of(tuned, dataset.classes), tuned.n_train, dataset.split(split))]


def _answer(work: Work, classifier: Classifier, n_train: int, split: Split) -> Answer:
    labels = np.asarray(split.labels)
    samples = split.samples if (labels >= 0).all() else split.samples[labels >= 0]
    said = predict(classifier, samples)
    named = (work.labels_per_class, work.pretrain_seed, work.probe_seed)
    return Answer(work.model, "finetune", *named, n_train, split.name, said, labels[labels >= 0])


def heads(chosen: Sequence[Tuned], classes: Sequence[str]) -> Iterator[tuple[str, Classifier, Work]]:
    """Folder name, network and its origin of the fine-tuned networks that are kept: pretrained ones of the first probe seed."""
    for one in chosen:
        if one.work.model == "pretrained":
            amount = "all" if one.work.labels_per_class is None else one.work.labels_per_class
            yield f"finetune-{amount}-seed-{one.work.pretrain_seed}", classifier_of(one, classes).cpu(), one.work
