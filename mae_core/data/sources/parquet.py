"""Hugging Face style parquet: an image column of bytes or {bytes, path}, a label column of integers or names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae_core.data.images import ImageProblem, decode_image
from mae_core.data.quarantine import Refused
from mae_core.data.sources import Part, Source, SourceError


def read(
    folder: Path,
    parts: dict[str, Sequence[str]],
    size: Sequence[int],
    channels: int,
    image: str = "image",
    label: str | None = "label",
    classes: Sequence[str] | None = None,
) -> Source:
    """``parts`` maps a split's name to parquet files below ``folder``; labels that are names are numbered in sorted order."""
    refused: list[Refused] = []
    raw: dict[str, tuple[list[np.ndarray], list[Any], list[str]]] = {}
    for name, files in parts.items():
        raw[name] = _read_part(folder, files, (size[0], size[1]), channels, image, label, refused)
    named = _class_names([value for _, labels, _ in raw.values() for value in labels], classes)
    found = []
    for name, (samples, labels, origins) in raw.items():
        if not samples:
            raise SourceError(
                f"part {name} of {folder} holds no usable picture: {refused[0].reason if refused else 'no rows'}"
            )
        found.append(Part(name, np.stack(samples), np.array([_number(v, named) for v in labels], np.int64), origins))
    return Source(found, named, refused, 0, [])


def _read_part(
    folder: Path,
    files: Sequence[str],
    size: tuple[int, int],
    channels: int,
    image: str,
    label: str | None,
    refused: list[Refused],
) -> tuple[list[np.ndarray], list[Any], list[str]]:
    import pyarrow
    import pyarrow.parquet as pq

    samples: list[np.ndarray] = []
    labels: list[Any] = []
    origins: list[str] = []
    for file in files:
        try:
            reader = pq.ParquetFile(folder / file)
        except (OSError, pyarrow.ArrowInvalid) as problem:
            raise SourceError(f"{folder / file} is no whole parquet file: {problem}") from None
        columns = [image, *([label] if label else [])]
        missing = [column for column in columns if column not in reader.schema_arrow.names]
        if missing:
            raise SourceError(
                f"{folder / file} has no column {', '.join(missing)}: it has {', '.join(reader.schema_arrow.names)}"
            )
        row = 0
        for batch in reader.iter_batches(256, columns=columns):
            pictures = batch.column(image).to_pylist()
            values = batch.column(label).to_pylist() if label else [None] * len(pictures)
            for picture, value in zip(pictures, values):
                origin = f"{file}[{row}]"
                row += 1
                content = picture.get("bytes") if isinstance(picture, dict) else picture
                try:
                    samples.append(decode_image(content or b"", size, channels))
                except ImageProblem as problem:
                    refused.append(Refused(origin, problem.reason, problem.detail))
                    continue
                labels.append(value)
                origins.append(origin)
    return samples, labels, origins


def _class_names(values: list[Any], classes: Sequence[str] | None) -> list[str]:
    if classes:
        return list(classes)
    present = {value for value in values if value is not None}
    if all(isinstance(value, int) for value in present):
        return [str(i) for i in range(max(present, default=-1) + 1)]
    return sorted(str(value) for value in present)


def _number(value: Any, classes: list[str]) -> int:
    if value is None:
        return -1
    if isinstance(value, int):
        if value == -1:
            return -1
        if not 0 <= value < len(classes):
            raise SourceError(f"label {value}, there are {len(classes)} classes (0 to {len(classes) - 1})")
        return value
    if str(value) not in classes:
        raise SourceError(f"label {value!r} is none of the classes {', '.join(classes)}")
    return classes.index(str(value))
