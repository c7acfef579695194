"""Video files in folders, cut into clips: one folder per class, or a CSV that says the class of each file, or none at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mae_core.data.delimited import read_records
from mae_core.data.quarantine import ItemProblem, Refused
from mae_core.data.sources import Part, Source, SourceError
from mae_core.data.sources.folder import Item, list_parts
from mae_core.data.split import stratified
from mae_core.data.videos import SUFFIXES, Clip, Look, read_clips
from mae_core.registry import nearest

HELD_OUT = ("validation", "test")
CUTS = ("files", "time")


class _Film(NamedTuple):
    """A file and its clips."""

    item: Item
    clips: list[Clip]


def read(
    folder: Path,
    frames: int,
    size: Sequence[int],
    channels: int = 3,
    stride: int = 1,
    hop: int | None = None,
    most: int | None = None,
    parts: Mapping[str, str] | None = None,
    unlabelled: str = "ignore",
    labels: str | None = None,
    hold_out: Mapping[str, float] | None = None,
    by: str = "files",
) -> Source:
    """Clips (n, ``channels``, ``frames``, H, W) uint8 of the videos below ``folder``.

    Frames are cropped to the aspect of ``size`` (H, W) and resized.

    Args:
        stride: every how many frames of a file one is taken.
        hop: frames of the file from the start of a clip to that of the next; the length of a clip by default, so that none overlap.
        most: clips of a file; nothing behind the last is decoded.
        parts, unlabelled: as for folders of pictures.
        labels: a CSV below ``folder`` with the columns file and label, instead of class folders; a file that it does not name has no class.
        hold_out: shares of train (or of the whole folder) for splits that ``parts`` does not name.
        by: what is held out: ``files``, drawn by their bytes and spread evenly over the classes, or the end of each file in ``time``, test
            last. No clip of train overlaps one of another split.
    """
    look = Look(frames, (size[0], size[1]), channels, stride, hop, most)
    _check(look, parts or {}, hold_out or {}, by)
    within = parts or {"train": "."}
    lists = list_parts(folder, within, unlabelled, "videos", SUFFIXES, classed=not labels)
    items = {name: listing.items for name, listing in lists.parts.items()}
    refused: list[Refused] = []
    ignored = lists.ignored
    if labels:
        items = _labelled(items, folder / labels, refused)
        ignored -= any((folder / labels).is_relative_to(folder / place) for place in within.values())
    count = len(refused) + sum(map(len, items.values()))
    films = {name: _decode(some, look, refused) for name, some in items.items()}
    classes = sorted({film.item.label for some in films.values() for film in some if film.item.label is not None})
    full = [film.item.origin for some in films.values() for film in some if len(film.clips) == most]
    notes = list(lists.notes)
    if by == "files":
        films = _hold_out_files(films, hold_out or {})
    else:
        films = _hold_out_time(films, hold_out or {}, look, notes)
    made = [_part(name, some, look, classes) for name, some in films.items()]
    if full:
        notes.append(
            f"{len(full)} videos gave {most} clips each; what may follow was not looked at: {', '.join(full[:3])}"
        )
    return Source(made, classes, refused, ignored, notes, {"stride": stride}, count)


def _check(look: Look, parts: Mapping[str, str], hold_out: Mapping[str, float], by: str) -> None:
    """Raises SourceError for numbers and splits that make no sense."""
    numbers = {"frames": look.frames, "stride": look.stride, "hop": look.hop, "most": look.most}
    for name, value in numbers.items():
        if value is not None and value < (2 if name == "frames" else 1):
            raise SourceError(f"{name} {value}: a clip has 2 frames or more, other numbers are 1 or more")
    if by not in CUTS:
        raise SourceError(f"unknown cut {by!r}{nearest(by, CUTS)}: hold out by {' or '.join(CUTS)}")
    if (parts and "train" not in parts) or set(parts) - {"train", *HELD_OUT} or set(hold_out) - set(HELD_OUT):
        raise SourceError(
            f"parts {', '.join(parts)}, hold_out {', '.join(hold_out)}: there are train, validation, test"
        )
    missing = [name for name in HELD_OUT if name not in parts and name not in hold_out]
    if missing:
        raise SourceError(
            f"no {' or '.join(missing)}: name its folder under `parts`, or a share under `hold_out`. Clips of one video are much alike, "
            "so they are never split at random"
        )
    if not all(0 < share < 1 for share in hold_out.values()) or sum(hold_out.values()) >= 1:
        raise SourceError(f"hold_out {dict(hold_out)}: shares lie between 0 and 1, and leave some to train")


def _labelled(items: Mapping[str, list[Item]], table: Path, refused: list[Refused]) -> dict[str, list[Item]]:
    """The files with their classes; one that the table names in vain is refused."""
    if not table.is_file():
        raise SourceError(f"{table} is missing: `labels` names a CSV with the columns file and label")
    known = _known(table, refused)
    found = {name: [item._replace(label=known.get(item.origin)) for item in some] for name, some in items.items()}
    there = {item.origin for some in items.values() for item in some}
    refused += [Refused(file, "no such file", f"named in {table.name}") for file in known if file not in there]
    return found


def _known(table: Path, refused: list[Refused]) -> dict[str, str | None]:
    """The class of each file that the table names, None where it says none; rows of too few or too many fields are refused."""
    try:
        records = list(read_records(table, ","))
    except ValueError as problem:
        raise SourceError(str(problem)) from None
    if len(records) < 2 or not {"file", "label"} <= set(records[0].fields):
        raise SourceError(f"{table} needs the columns file and label, and a row for each video")
    names, known = records[0].fields, {}
    for line, fields in records[1:]:
        if len(fields) != len(names):
            said = f"{len(fields)} fields instead of {len(names)}"
            refused.append(Refused(f"{table.name}:{line}", "wrong number of fields", said))
            continue
        row = dict(zip(names, fields))
        known[row["file"]] = row["label"] or None
    return known


def _decode(items: Sequence[Item], look: Look, refused: list[Refused]) -> list[_Film]:
    """Whole files: one that breaks off gives nothing."""
    films = []
    for item in items:
        try:
            films.append(_Film(item, list(read_clips(item.path, look))))
        except OSError as problem:
            refused.append(Refused(item.origin, "unreadable", str(problem.strerror)))
        except ItemProblem as problem:
            refused.append(Refused(item.origin, problem.reason, problem.detail))
    return films


def _hold_out_files(films: Mapping[str, list[_Film]], shares: Mapping[str, float]) -> dict[str, list[_Film]]:
    wanted = {name: shares[name] for name in HELD_OUT if name not in films}
    train = films["train"]
    if not wanted or not train:
        return dict(films)
    hashes = np.stack([np.frombuffer(_digest(film.item.path), np.uint8) for film in train])
    labels = np.unique([film.item.label or "" for film in train], return_inverse=True)[1]
    cut = stratified(hashes, labels, wanted, "train")
    return {**films, **{name: [train[i] for i in rows] for name, rows in cut.items()}}


def _hold_out_time(
    films: Mapping[str, list[_Film]], shares: Mapping[str, float], look: Look, notes: list[str]
) -> dict[str, list[_Film]]:
    """The end of each training video goes to the other splits; clips that reach over a border are left out and counted."""
    wanted = [name for name in HELD_OUT if name not in films]
    found: dict[str, list[_Film]] = {**films, "train": [], **{name: [] for name in wanted}}
    for item, clips in films["train"]:
        end = clips[-1].start + look.span
        borders = [0, *(round(end * (1 - sum(shares[name] for name in wanted[k:]))) for k in range(len(wanted))), end]
        for name, (first, last) in zip(["train", *wanted], pairwise(borders)):
            inside = [clip for clip in clips if clip.start >= first and clip.start + look.span <= last]
            found[name].append(_Film(item, inside))
    before, after = (sum(len(film.clips) for some in one.values() for film in some) for one in (films, found))
    if after < before:
        notes.append(f"{before - after} clips reach over a border between splits and were left out")
    return found


def _part(name: str, films: Sequence[_Film], look: Look, classes: list[str]) -> Part:
    count = sum(len(film.clips) for film in films)
    samples = np.empty((count, look.channels, look.frames, *look.size), np.uint8)
    labels = np.full(count, -1, np.int64)
    names: list[str] = []
    for film in films:
        for clip in film.clips:
            samples[len(names)] = clip.pixels
            if film.item.label is not None:
                labels[len(names)] = classes.index(film.item.label)
            names.append(f"{film.item.origin}@{clip.start}")
    return Part(name, samples, labels, names)


def _digest(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
