"""Folders of large photographs whose JPEG files are kept: training sees random crops, everything else the middle of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mae_core.data.images import ImageProblem
from mae_core.data.jpeg import JpegFiles, head, whole
from mae_core.data.quarantine import Refused
from mae_core.data.sources import Part, Source
from mae_core.data.sources.folder import Item, list_parts

SUFFIXES = frozenset({".jpg", ".jpeg"})


def read(
    folder: Path,
    size: Sequence[int],
    area: float = 0.2,
    flip: bool = True,
    parts: dict[str, str] | None = None,
    unlabelled: str = "ignore",
) -> Source:
    """JPEG files below ``folder``, in folders as the kind ``folder`` takes them. Each is decoded once, to know that it can be.

    Args:
        size: (H, W) of a sample.
        area: the smallest share of a picture's area that a random crop has.
        flip: mirror half of the random crops left to right.
        parts, unlabelled: as of the kind ``folder``.
    """
    shape = (int(size[0]), int(size[1]))
    lists = list_parts(folder, parts, unlabelled, "JPEG files", SUFFIXES)
    classes = lists.classes
    refused: list[Refused] = []
    found = []
    for name, listing in lists.parts.items():
        with ThreadPoolExecutor() as pool:
            problems = list(pool.map(lambda item: _problem(item, shape), listing.items))
        refused += [problem for problem in problems if problem is not None]
        kept = [item for item, problem in zip(listing.items, problems) if problem is None]
        labels = np.array([classes.index(item.label) if item.label else -1 for item in kept], np.int64)
        photos = JpegFiles([item.path for item in kept], shape, area, flip)
        found.append(Part(name, photos, labels, [item.origin for item in kept]))
    return Source(found, classes, refused, lists.ignored, lists.notes)


def _problem(item: Item, size: tuple[int, int]) -> Refused | None:
    """Why a file is not used."""
    try:
        whole([head(item.path)], size)
    except OSError as problem:
        return Refused(item.origin, "unreadable", str(problem.strerror))
    except ImageProblem as problem:
        return Refused(item.origin, problem.reason, problem.detail)
    return None
