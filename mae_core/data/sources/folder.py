"""Folders of pictures: one folder per class at any depth, loose unlabelled ones, or both; of any size and mode."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mae_core.data.images import SUFFIXES, ImageProblem, fit, frames, open_image
from mae_core.data.quarantine import Refused
from mae_core.data.sources import Part, Source, SourceError, readable

UNLABELLED = "unlabelled"
"""A folder of this name holds pictures without a class."""


class Item(NamedTuple):
    """One picture file."""

    path: Path
    origin: str
    """Below the dataset's folder."""
    label: str | None
    """Its class folder; None where it has none."""


def read(
    folder: Path,
    size: Sequence[int],
    channels: int,
    parts: dict[str, str] | None = None,
    unlabelled: str = "ignore",
) -> Source:
    """Pictures below ``folder``, cropped to the aspect of ``size`` (H, W) and resized.

    Args:
        parts: split's name → subfolder; one part ``all`` of the whole folder where absent.
        unlabelled: what loose pictures at the root are: ``ignore`` (counted) or ``loose`` (samples without a label). A folder without
            class folders is unlabelled altogether.
    """
    lists = list_parts(folder, parts, unlabelled, "pictures")
    classes = lists.classes
    refused: list[Refused] = []
    notes = list(lists.notes)
    found = []
    animated = 0
    for name, listing in lists.parts.items():
        samples = np.empty((len(listing.items), channels, *size), np.uint8)
        kept: list[Item] = []
        with ThreadPoolExecutor() as pool:
            for item, (pixels, extra) in zip(
                listing.items, pool.map(lambda i: _decode(i, size, channels), listing.items)
            ):
                if isinstance(pixels, ImageProblem):
                    refused.append(Refused(item.origin, pixels.reason, pixels.detail))
                    continue
                animated += extra
                samples[len(kept)] = pixels
                kept.append(item)
        labels = np.array([classes.index(item.label) if item.label else -1 for item in kept], np.int64)
        found.append(Part(name, samples[: len(kept)], labels, [item.origin for item in kept]))
    if animated:
        notes.append(f"{animated} animated pictures: only the first frame of each is used")
    return Source(found, classes, refused, lists.ignored, notes)


class Listing(NamedTuple):
    """What lies in a folder, before any picture is opened."""

    items: list[Item]
    classes: list[str]
    ignored: int
    stray: int
    """Files beside the class folders, among the ignored."""


class Listings(NamedTuple):
    """What lies in the folders of a dataset's parts."""

    parts: dict[str, Listing]
    notes: list[str]
    """Class folders that are empty, and how many files lie beside them."""

    @property
    def classes(self) -> list[str]:
        """Of all parts, empty ones among them, sorted."""
        return sorted({label for listing in self.parts.values() for label in listing.classes})

    @property
    def ignored(self) -> int:
        """Files of all parts."""
        return sum(listing.ignored for listing in self.parts.values())


def list_parts(
    folder: Path,
    parts: Mapping[str, str] | None,
    unlabelled: str,
    noun: str,
    suffixes: Collection[str] = SUFFIXES,
    classed: bool = True,
) -> Listings:
    """The files of each part: of its subfolder, or of all of ``folder`` as ``all`` where there are no parts.

    Args:
        noun: what notes call the files: pictures.
        classed: whether folders are classes; else none is missed in them, and loose files are samples like all others.

    Raises SourceError for a folder that is not there.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder")
    found: dict[str, Listing] = {}
    notes = []
    for name, place in (parts or {"all": "."}).items():
        root = folder / place
        if not root.is_dir():
            raise SourceError(f"part {name}: {root} is not a folder")
        found[name] = listing = list_files(root, folder, unlabelled if classed else "loose", suffixes)
        full = {item.label for item in listing.items}
        empty = [label for label in listing.classes if classed and label not in full]
        notes += [f"class folder {label!r} of part {name} holds no {noun}" for label in empty]
    if stray := sum(listing.stray for listing in found.values()):
        notes.append(
            f"{stray} {noun} lie beside the class folders and were ignored (set `unlabelled: loose` to use them)"
        )
    return Listings(found, notes)


def list_files(root: Path, base: Path, unlabelled: str, suffixes: Collection[str] = SUFFIXES) -> Listing:
    """Files of these suffixes with the class of their first folder; dot files, links out of the tree and others are ignored."""
    classes = [
        readable(path.name)
        for path in sorted(root.iterdir())
        if path.is_dir() and not path.name.startswith(".") and path.name.lower() != UNLABELLED
    ]
    items: list[Item] = []
    ignored = stray = 0
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        place = path.relative_to(root)
        hidden = any(part.startswith(".") for part in place.parts)
        outside = path.is_symlink() and not path.resolve().is_relative_to(base.resolve())
        if hidden or outside or path.suffix.lower() not in suffixes:
            ignored += 1
            continue
        loose = len(place.parts) == 1
        if loose and classes and unlabelled == "ignore":
            ignored, stray = ignored + 1, stray + 1
            continue
        label = None if loose or place.parts[0].lower() == UNLABELLED else readable(place.parts[0])
        items.append(Item(path, readable(path.relative_to(base)), label))
    return Listing(items, classes, ignored, stray)


def _decode(item: Item, size: Sequence[int], channels: int) -> tuple[np.ndarray | ImageProblem, int]:
    """Pixels or the problem, and 1 where further frames were left out."""
    try:
        data = item.path.read_bytes()
        pixels = fit(open_image(data), (size[0], size[1]), channels)
    except OSError as problem:
        return ImageProblem("unreadable", str(problem.strerror)), 0
    except ImageProblem as problem:
        return problem, 0
    return pixels, int(frames(data) > 1)
