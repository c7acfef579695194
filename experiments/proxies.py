"""Every proxy of a trained trial, side by side and timed: what might tell, after a short training, how good the long one will be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from mae_core.data.dataset import Dataset
from mae_core.draws import permutation
from mae_core.evaluation.features import extract
from mae_core.evaluation.knn import knn_accuracy
from mae_core.evaluation.label_free import explained, lidar, masked_views
from mae_core.evaluation.rank import measure_rank, spectrum_slope
from mae_core.evaluation.ridge import ridge_accuracy
from mae_core.model import MaskedAutoencoder

NEIGHBOURS = 20
MOST_SAMPLES = 10_000
"""Samples of a split whose features are read."""
MOST_UNLABELLED = 1_000
"""Validation samples that are masked several times."""


class FeaturesNotFinite(ValueError):
    """Features of a network whose training diverged: they say nothing of any sample, though some proxies would make a number of them."""


class Labelled(NamedTuple):
    """Features of the samples of a split that have a label."""

    x: np.ndarray
    """(n, D)."""
    y: np.ndarray
    """(n,)."""


class Subject:
    """A trained trial and its dataset; features are extracted once, by whoever needs them first."""

    def __init__(self, model: MaskedAutoencoder, dataset: Dataset, precision: str) -> None:
        self.model, self.dataset = model.eval(), dataset
        self._rows = cache(lambda split, labelled: _rows(dataset, split, labelled))
        self._features = cache(lambda split, rows: _features(model, dataset, split, rows, precision))

    def features(self, split: str) -> np.ndarray:
        """(n, D) of at most 10,000 samples. Raises FeaturesNotFinite."""
        found: np.ndarray = self._features(split, self._rows(split, False))
        return found

    def labelled(self, split: str) -> Labelled:
        """The same of at most 10,000 samples that have a label. Raises FeaturesNotFinite."""
        rows = self._rows(split, True)
        return Labelled(self._features(split, rows), np.asarray(self.dataset.split(split).labels)[np.array(rows, int)])

    def some(self) -> np.ndarray:
        """(n, …) raw validation samples, at most 1,000, the same in every trial."""
        samples = self.dataset.split("validation").samples
        return samples[_some(np.arange(len(samples)), MOST_UNLABELLED)]


def _features(
    model: MaskedAutoencoder, dataset: Dataset, split: str, rows: tuple[int, ...], precision: str
) -> np.ndarray:
    """(n, D) of these samples of a split. Raises FeaturesNotFinite."""
    found = extract(model, dataset.split(split).samples[np.array(rows, int)], precision=precision)
    if wrong := int((~np.isfinite(found).all(1)).sum()):
        raise FeaturesNotFinite(
            f"features of {wrong} of {len(found)} {split} samples are not finite: the training diverged"
        )
    return found


def _rows(dataset: Dataset, split: str, labelled: bool) -> tuple[int, ...]:
    labels = dataset.split(split).labels
    rows = np.flatnonzero(labels >= 0) if labelled else np.arange(len(labels))
    return tuple(_some(rows, MOST_SAMPLES).tolist())


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    """The same ``most`` of the rows in every trial, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(rows[permutation(len(rows), 0, 0, "search").numpy()[:most]])


def _knn(subject: Subject) -> float:
    return knn_accuracy(*subject.labelled("train"), *subject.labelled("validation"), NEIGHBOURS)


def _ridge(subject: Subject) -> float:
    return ridge_accuracy(*subject.labelled("train"), *subject.labelled("validation"))


def _explained(subject: Subject) -> float:
    return explained(subject.model, subject.some())


def _lidar(subject: Subject) -> float:
    return lidar(masked_views(subject.model, subject.some()))


def _rankme(subject: Subject) -> float:
    return measure_rank(subject.features("validation")).effective_rank


def _alpha_req(subject: Subject) -> float:
    return spectrum_slope(subject.features("validation"))


MEASURES: dict[str, Callable[[Subject], float]] = {
    "knn": _knn,
    "ridge": _ridge,
    "explained": _explained,
    "lidar": _lidar,
    "rankme": _rankme,
    "alpha_req": _alpha_req,
}
"""How each row of ``goals.PROXIES`` is measured. Nothing of the test split is read."""


class Proxied(NamedTuple):
    """What was measured of one trial."""

    values: dict[str, float]
    seconds: dict[str, float]
    """Of each; features that several share are counted where they were needed first."""


def measure_proxies(subject: Subject, needed: Sequence[str], beside: Sequence[str]) -> Proxied:
    """The proxies that the metric is made of, then those shown beside it, which cannot fail a trial: what is not defined is left out.

    Raises what a needed one raises, and FeaturesNotFinite whichever of them met those.
    """
    values, seconds = {}, {}
    for name in dict.fromkeys([*needed, *beside]):
        began = time.perf_counter()
        try:
            value = float(MEASURES[name](subject))
        except FeaturesNotFinite:
            raise
        except (ValueError, RuntimeError):
            if name in needed:
                raise
            continue
        seconds[name] = time.perf_counter() - began
        if name in needed or math.isfinite(value):
            values[name] = value
    return Proxied(values, seconds)
