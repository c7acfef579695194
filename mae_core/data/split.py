"""Splits that depend on the samples alone: an item's place is a hash of its bytes, so the same data are always split alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def digests(samples: Any) -> np.ndarray:
    """(n, 16) uint8: a hash of each sample's bytes, or of the file of each photograph."""
    if hasattr(samples, "digests"):
        return np.asarray(samples.digests())
    rows = [hashlib.blake2b(np.ascontiguousarray(sample).data, digest_size=16).digest() for sample in samples]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16)


def stratified(
    hashes: np.ndarray, labels: np.ndarray, wanted: Mapping[str, float | int], rest: str
) -> dict[str, np.ndarray]:
    """Indices (sorted) of each split of ``wanted`` and of ``rest``.

    ``wanted`` gives a share (float below 1) or a number (int) for each split, spread evenly over the classes (−1 is one of them).
    Items with equal bytes go to the same split, as long as their labels agree, so that no copy of a test item is trained on.
    """
    order = np.lexsort((*hashes.T[::-1], labels))
    taken: dict[str, list[int]] = {name: [] for name in [*wanted, rest]}
    classes, counts = np.unique(labels, return_counts=True)
    quotas = {name: _quota(value, counts) for name, value in wanted.items()}
    for c, label in enumerate(classes):
        members = order[labels[order] == label]
        start = 0
        for name in wanted:
            stop = start + quotas[name][c]
            while start < stop < len(members) and (hashes[members[stop]] == hashes[members[stop - 1]]).all():
                stop += 1
            taken[name].extend(members[start:stop].tolist())
            start = stop
        taken[rest].extend(members[start:].tolist())
    return {name: np.sort(np.asarray(indices, dtype=np.int64)) for name, indices in taken.items()}


def _quota(value: float | int, counts: np.ndarray) -> np.ndarray:
    """How many items of each class, largest remainders rounded up so that the total is right."""
    total = value if isinstance(value, int) else round(value * int(counts.sum()))
    exact = counts * (total / counts.sum())
    quota = np.floor(exact).astype(int)
    for c in np.argsort(quota - exact, kind="stable")[: total - int(quota.sum())]:
        quota[c] += 1
    return quota
