"""IDX files (LeCun), plain or gzipped: read to exactly what the header declares, never further."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from mae_core.data.sources import Part, Source, SourceError

MAGIC_UBYTE = 0x08
MAX_BYTES = 2_000_000_000


def read(folder: Path, parts: dict[str, Sequence[str]], classes: Sequence[str]) -> Source:
    """``parts`` maps a split's name to its files (images, labels) below ``folder``; ``classes`` names the labels from 0."""
    found = []
    for name, (images, labels) in parts.items():
        found.append(read_pair(folder / images, folder / labels, name, len(classes)))
    return Source(found, list(classes), [], 0, [])


def read_pair(images: Path, labels: Path, name: str, n_classes: int) -> Part:
    """Images (n, 1, H, W) with labels in 0..n_classes − 1. Raises SourceError where the two do not fit."""
    pixels, classes = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(classes):
        raise SourceError(
            f"{images.name} holds {len(pixels)} images, {labels.name} holds {len(classes)} labels: they do not pair"
        )
    if len(classes) and classes.max() >= n_classes:
        at = int(classes.argmax())
        raise SourceError(
            f"{labels.name}: label {classes.max()} at {at}, there are {n_classes} classes (0 to {n_classes - 1})"
        )
    return Part(name, pixels[:, None], classes.astype(np.int64), [f"{name}[{i}]" for i in range(len(pixels))])


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The uint8 array of an IDX file. Raises SourceError naming the file and what is wrong with it."""
    if not path.is_file():
        raise SourceError(f"{path} is missing")
    with open(path, "rb") as raw:
        zipped = path.suffix == ".gz"
        if zipped and raw.read(2) != b"\x1f\x8b":
            raise SourceError(f"{path} is not gzip, though its name says so (a saved error page?)")
        raw.seek(0)
        stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
        try:
            return _read(stream, path, axes)
        except EOFError:
            raise SourceError(f"{path} is a truncated gzip stream: fetch it again") from None
        except (gzip.BadGzipFile, zlib.error) as problem:
            raise SourceError(f"{path}: gzip checksum or data error ({problem}): fetch it again") from None


def _read(stream: IO[bytes], path: Path, axes: int) -> np.ndarray:
    header = stream.read(4)
    if len(header) < 4 or header[:2] != b"\0\0" or header[2] != MAGIC_UBYTE or header[3] != axes:
        wanted = f"0000{MAGIC_UBYTE:02x}{axes:02x}"
        raise SourceError(
            f"{path}: magic number {header.hex() or 'missing'}, an IDX file of this kind starts with {wanted}"
        )
    shape = tuple(int.from_bytes(stream.read(4), "big") for _ in range(axes))
    need = prod(shape)
    if need > MAX_BYTES:
        raise SourceError(
            f"{path} declares {'x'.join(map(str, shape))} values, more than the limit of {MAX_BYTES:,} bytes"
        )
    payload = stream.read(need)
    if len(payload) < need:
        raise SourceError(f"{path}: {need} bytes expected after the header, {len(payload)} found")
    if stream.read(1):
        raise SourceError(f"{path}: more bytes than the {need} that its header declares")
    return np.frombuffer(payload, np.uint8).reshape(shape)
