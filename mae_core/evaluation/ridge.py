"""A closed-form linear probe: ridge regression onto the classes, its strength chosen by leaving out one training sample at a time.

Nothing is iterated and nothing of validation is used, so that its accuracy there is a figure of unseen samples and costs one
eigendecomposition. Leaving one out has a closed form, too (Hastie, Tibshirani & Friedman 2009, §7.10, Eq. 7.64).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mae_core.evaluation.linear import Scaler, fit_scaler

STRENGTHS = tuple(10.0**k for k in range(-5, 2))
"""Penalties over the number of training samples."""
NOTHING = 1e-10
"""Eigenvalues below this share of the largest are rounding."""


class RidgeProbe(NamedTuple):
    """A fitted probe."""

    scaler: Scaler
    weight: np.ndarray
    """(D, classes)."""
    bias: np.ndarray
    """(classes,)."""
    labels: np.ndarray
    """(classes,): the label that each column stands for."""
    strength: float
    """Of ``STRENGTHS``."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, D) features → (n,) labels."""
        return self.labels[(self.scaler(x) @ self.weight + self.bias).argmax(1)]


def fit_ridge(x: np.ndarray, y: np.ndarray) -> RidgeProbe:
    """The probe of (n, D) features and (n,) labels; of equally good strengths, the strongest.

    Raises ValueError where there are fewer than two classes.
    """
    labels, codes = np.unique(y, return_inverse=True)
    if len(labels) < 2:
        raise ValueError(f"a ridge probe needs at least two classes, the training labels hold {len(labels)}")
    scaler = fit_scaler(x)
    rows = scaler(x).astype(np.float64)
    middle = rows.mean(0)
    rows = rows - middle
    targets = np.eye(len(labels))[codes]
    mean = targets.mean(0)
    u, s = _basis(rows)
    inside = u.T @ (targets - mean)
    best, strength = np.inf, STRENGTHS[-1]
    for candidate in sorted(STRENGTHS, reverse=True):
        shrink = s**2 / (s**2 + candidate * len(rows))
        lever = (u**2) @ shrink + 1 / len(rows)
        missed = (targets - mean - u @ (shrink[:, None] * inside)) / np.maximum(1 - lever, 1e-6)[:, None]
        error = float(np.mean(missed**2))
        if error < best:
            best, strength = error, candidate
    weight = rows.T @ (u @ (inside / (s**2 + strength * len(rows))[:, None]))
    return RidgeProbe(scaler, weight, mean - middle @ weight, labels, strength)


def _basis(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left singular vectors (n, r) and singular values (r,) of (n, D), through the smaller of the two Gram matrices."""
    n, width = rows.shape
    values, vectors = np.linalg.eigh(rows.T @ rows if width <= n else rows @ rows.T)
    kept = values > NOTHING * max(float(values[-1]), np.finfo(float).tiny)
    s = np.sqrt(values[kept])
    return (rows @ vectors[:, kept] / s if width <= n else vectors[:, kept]), s


def ridge_accuracy(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray) -> float:
    """Share of (m, D) ``test_x`` that the probe of ``train_x`` gets right."""
    return float(np.mean(fit_ridge(train_x, train_y).predict(test_x) == test_y))
