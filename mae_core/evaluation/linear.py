"""The linear probe: multinomial logistic regression on frozen features, the same protocol for a model as for raw pixels.

Features are standardised with statistics of the train split. The strength of the regularisation is chosen on validation from one grid;
the weights are those fitted on train alone, so that the validation figure of the chosen one stays a figure of unseen samples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_core.atomic import replace_folder
from mae_core.evaluation.logistic import Logistic

SCHEMA = 1
GRID = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
"""C of scikit-learn: inverse strength against the sum of the losses."""
SCALE_FLOOR = 0.1
"""Smallest scale over the root mean square of all: an almost constant feature, such as a border pixel, is not blown up."""


class Scaler(NamedTuple):
    """Statistics that features are standardised with."""

    mean: np.ndarray
    """(D,)."""
    scale: np.ndarray
    """(D,)."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, D) → (n, D) float32."""
        return ((x - self.mean) / self.scale).astype(np.float32)


class LinearProbe(NamedTuple):
    """A fitted probe."""

    scaler: Scaler
    weight: np.ndarray
    """(classes, D)."""
    bias: np.ndarray
    """(classes,)."""
    labels: np.ndarray
    """(classes,): the label that each row stands for."""
    c: float
    validation: float
    """Accuracy on validation, on which ``c`` was chosen."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, D) → (n,) labels."""
        return self.labels[(self.scaler(x) @ self.weight.T + self.bias).argmax(1)]


def fit_scaler(x: np.ndarray) -> Scaler:
    """Mean and floored standard deviation of (n, D)."""
    std = x.std(0, dtype=np.float64)
    floor = max(SCALE_FLOOR * float(np.sqrt(np.mean(std**2))), 1e-12)
    return Scaler(x.mean(0, dtype=np.float64).astype(np.float32), np.maximum(std, floor).astype(np.float32))


def fit_linear(
    train_x: np.ndarray,
    train_y: np.ndarray,
    validation_x: np.ndarray,
    validation_y: np.ndarray,
    scaler: Scaler | None = None,
    grid: Sequence[float] = GRID,
) -> LinearProbe:
    """The probe of the C that is best on validation; of equal ones, the strongest regularisation.

    Args:
        train_x, validation_x: (n, D) raw features.
        train_y, validation_y: (n,) labels, all known.
        scaler: statistics to use instead of those of ``train_x``; the few-label probe gives those of the whole unlabelled train split.

    Raises ValueError where there are fewer than two classes or no validation sample.
    """
    labels = np.unique(train_y)
    if len(labels) < 2:
        raise ValueError(f"a linear probe needs at least two classes, the training labels hold {len(labels)}")
    if len(validation_x) == 0:
        raise ValueError("a linear probe needs labelled validation samples to choose its regularisation on")
    scaler = scaler or fit_scaler(train_x)
    x = scaler(train_x)
    # with fewer rows than columns the solution lies in the span of the rows, so it is found there, exactly, in n dimensions
    basis = np.linalg.svd(x, full_matrices=False)[2] if len(x) < x.shape[1] else None
    rows = x if basis is None else x @ basis.T
    solver = Logistic(rows, np.searchsorted(labels, train_y), len(labels))
    seen = scaler(validation_x)
    best: LinearProbe | None = None
    for c in sorted(grid):
        found = solver.solve(c)
        weight = found.weight if basis is None else found.weight @ basis
        accuracy = float(np.mean(labels[(seen @ weight.T + found.bias).argmax(1)] == validation_y))
        if best is None or accuracy > best.validation:
            best = LinearProbe(scaler, weight, found.bias, labels, c, accuracy)
    assert best is not None
    return best


def save_probe(probe: LinearProbe, folder: Path, classes: Sequence[str], provenance: Mapping[str, Any]) -> Path:
    """Writes ``head.safetensors`` (mean, scale, weight, bias) and ``head.json`` to ``folder``, replacing it in one step."""
    from safetensors.numpy import save_file

    tensors = {"mean": probe.scaler.mean, "scale": probe.scaler.scale, "weight": probe.weight, "bias": probe.bias}
    with replace_folder(folder) as staging:
        save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()}, str(staging / "head.safetensors")
        )
        head = {
            "schema": SCHEMA,
            "type": "linear_probe",
            "labels": probe.labels.tolist(),
            "classes": [classes[label] if label < len(classes) else str(label) for label in probe.labels],
            "c": probe.c,
            "validation": probe.validation,
            "pool": "features",
            "provenance": dict(provenance),
        }
        (staging / "head.json").write_text(json.dumps(head, indent=2, sort_keys=True) + "\n")
    return folder


def load_probe(folder: Path) -> LinearProbe:
    """What ``save_probe`` wrote. Raises ValueError for a folder that is no probe."""
    from safetensors.numpy import load_file

    path = folder / "head.json"
    head = json.loads(path.read_text()) if path.is_file() else {}
    if head.get("type") != "linear_probe" or head.get("schema") != SCHEMA:
        raise ValueError(f"{folder} holds no linear probe of schema {SCHEMA}: `dvc repro` makes them under heads/")
    tensors = load_file(str(folder / "head.safetensors"))
    scaler = Scaler(tensors["mean"], tensors["scale"])
    labels = np.array(head["labels"], np.int64)
    return LinearProbe(scaler, tensors["weight"], tensors["bias"], labels, head["c"], head["validation"])
