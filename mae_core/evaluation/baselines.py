"""What every score stands beside: the same probes on raw pixels and on their principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from mae_core.evaluation.linear import LinearProbe, fit_linear

MOST_PIXELS = 4096
"""Larger images are averaged down until they have no more values: a linear model of more learns nothing but noise, and slowly."""
COMPONENTS = (16, 32, 64, 128)


def pixels(samples: np.ndarray, most: int = MOST_PIXELS) -> np.ndarray:
    """(n, C, H, W) uint8 → (n, ≤ most) float32 in 0..1: the features of no model at all."""
    count, channels, height, width = samples.shape
    shrink = (most / (channels * height * width)) ** 0.5
    if shrink >= 1:
        return np.asarray(samples).reshape(count, -1).astype(np.float32) / 255
    size = (max(int(height * shrink), 1), max(int(width * shrink), 1))
    blocks = [
        F.interpolate(torch.from_numpy(np.array(samples[i : i + 512])).float(), size=size, mode="area").flatten(1)
        for i in range(0, count, 512)
    ]
    return torch.cat(blocks).numpy() / 255 if blocks else np.zeros((0, channels * size[0] * size[1]), np.float32)


class Components(NamedTuple):
    """Principal components of a train split."""

    mean: np.ndarray
    """(D,)."""
    axes: np.ndarray
    """(D, components), the largest first."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, D) → (n, components) float32."""
        return ((x - self.mean) @ self.axes).astype(np.float32)


def fit_components(x: np.ndarray, most: int = max(COMPONENTS)) -> Components:
    """The first ``most`` principal components of (n, D), from the covariance; fewer where n or D is smaller."""
    mean = x.mean(0)
    centred = x - mean
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    return Components(mean, np.ascontiguousarray(axes[:, : min(most, len(x), x.shape[1])]))


class PcaProbe(NamedTuple):
    """Logistic regression on the first principal components."""

    components: Components
    probe: LinearProbe

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, D) pixels → (n,) labels."""
        return self.probe.predict(self.components(x)[:, : self.probe.weight.shape[1]])


def fit_pca(
    train_x: np.ndarray,
    train_y: np.ndarray,
    validation_x: np.ndarray,
    validation_y: np.ndarray,
    counts: Sequence[int] = COMPONENTS,
) -> PcaProbe:
    """The probe whose number of components and C are best on validation; of equal ones, the fewest components."""
    components = fit_components(train_x, max(counts))
    reduced, judged = components(train_x), components(validation_x)
    usable = sorted({min(count, reduced.shape[1]) for count in counts})
    probes = [fit_linear(reduced[:, :k], train_y, judged[:, :k], validation_y) for k in usable]
    return PcaProbe(components, max(probes, key=lambda probe: probe.validation))
