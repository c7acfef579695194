"""Where samples come from. A source reads one origin and gives named parts; the one table of sources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mae_core.data.quarantine import Refused

SOURCES = {
    "package": "mae_core.data.sources.package:read",
    "idx": "mae_core.data.sources.idx:read",
    "folder": "mae_core.data.sources.folder:read",
    "photos": "mae_core.data.sources.photos:read",
    "parquet": "mae_core.data.sources.parquet:read",
    "ucr": "mae_core.data.sources.ucr:read",
    "clock": "mae_core.data.sources.clock:read",
    "cifar_binary": "mae_core.data.sources.cifar_binary:read",
    "video": "mae_core.data.sources.video:read",
    "moving": "mae_core.data.sources.moving:read",
    "audio": "mae_core.data.sources.audio:read",
    "text": "mae_core.data.sources.text:read",
    "csv": "mae_core.data.sources.csv:read",
    "npz": "mae_core.data.sources.npz:read",
    "sklearn": "mae_core.data.sources.sklearn:read",
    "captions": "mae_core.data.sources.captions:read",
    "pairs": "mae_core.data.sources.pairs:read",
}


class SourceError(ValueError):
    """An origin that cannot be read at all."""


def readable(path: Path | str) -> str:
    r"""A path or a name as text that can be written; bytes that are not UTF-8 stand as ``\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Part(NamedTuple):
    """Samples that belong together: an official split, or ``all``."""

    name: str
    samples: Any
    """(n, …): an array, or ``JpegFiles``, of raw samples of the modality, (n, C, H, W) uint8 for images."""
    labels: np.ndarray
    """(n,) int64, −1 where there is no label."""
    names: list[str]


class Source(NamedTuple):
    """Everything an origin gave."""

    parts: list[Part]
    classes: list[str]
    refused: list[Refused]
    ignored: int
    notes: list[str]
    described: Mapping[str, Any] = MappingProxyType({})
    """What the modality has to know beyond the samples, such as the names of columns; joins ``dataset.json``."""
    items: int | None = None
    """What ``refused`` is a share of: the rows or files that the origin holds, bad ones among them; None where each is one sample."""
