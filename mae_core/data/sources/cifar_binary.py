"""CIFAR-10's binary batches (Krizhevsky 2009): 10,000 records of one label byte and 3 × 32 × 32 pixel bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae_core.data.archive import extract
from mae_core.data.sources import Part, Source, SourceError

RECORD = 1 + 3 * 32 * 32


def read(folder: Path, archive: str, parts: dict[str, Sequence[str]], classes: Sequence[str]) -> Source:
    """Extracts ``archive`` beside itself and reads the batch files of each part."""
    unpacked = folder / "unpacked"
    extract(folder / archive, unpacked)
    found = []
    for name, files in parts.items():
        batches = [_batch(unpacked / file, len(classes)) for file in files]
        records = np.concatenate(batches)
        samples = records[:, 1:].reshape(-1, 3, 32, 32)
        found.append(Part(name, samples, records[:, 0].astype(np.int64), [f"{name}[{i}]" for i in range(len(records))]))
    return Source(found, list(classes), [], 0, [])


def _batch(path: Path, n_classes: int) -> np.ndarray:
    if not path.is_file():
        raise SourceError(f"{path} is missing from the archive")
    data = np.fromfile(path, np.uint8)
    if not len(data) or len(data) % RECORD:
        raise SourceError(f"{path}: {len(data)} bytes are no whole number of records of {RECORD}")
    records = data.reshape(-1, RECORD)
    if records[:, 0].max() >= n_classes:
        raise SourceError(f"{path}: label {records[:, 0].max()}, there are {n_classes} classes")
    return records
