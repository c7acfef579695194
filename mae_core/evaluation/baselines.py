"""What every score stands beside: principal components of the plain features (``Modality.plain``) that the other probes see, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mae_core.evaluation.linear import LinearProbe, fit_linear

COMPONENTS = (16, 32, 64, 128)


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
        """(n, D) plain features → (n,) labels."""
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
