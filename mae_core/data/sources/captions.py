"""Pictures and their texts, listed in a table: joint samples of a part ``picture`` and a part ``words``."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mae_core.data.images import ImageProblem, fit, open_image
from mae_core.data.joining import Groups, described, joined
from mae_core.data.quarantine import Refused
from mae_core.data.sources import Part, Source, SourceError
from mae_core.data.split import digests
from mae_core.data.texts import TextProblem, decode_text, padded
from mae_core.data.tokens import TOKENS
from mae_core.registry import nearest

DELIMITERS = {".csv": ",", ".tsv": "\t"}
HELD_OUT = ("validation", "test")


class Pair(NamedTuple):
    """One picture and its text."""

    pixels: np.ndarray
    """(C, H, W) uint8."""
    text: str
    label: str | None
    origin: str
    """The picture's file."""


def read(
    folder: Path,
    table: str,
    size: Sequence[int],
    channels: int,
    context: int,
    hold_out: Mapping[str, float],
    picture: str = "file",
    text: str = "text",
    label: str | None = None,
    tokens: str = "characters",
    vocabulary: int | None = None,
    lower: bool = False,
    alike: Sequence[str] = (),
) -> Source:
    """Pictures below ``folder`` with their texts, as the rows of a csv or tsv file say.

    Args:
        table: the file; its first line names the columns.
        size, channels: of the pictures, as for folders of pictures.
        context: tokens of a text; longer ones are cut.
        hold_out: shares of validation and test. Groups of pairs are held out whole, in the order of a hash of the group: pairs with the
            same pixels, with the same text, or with texts that differ in the words of ``alike`` alone.
        picture, text, label: columns of the picture's file below ``folder``, of its text, and of its class if it has one.
        tokens, vocabulary: as for texts, learned from train.
        lower: whether texts are written small.
    """
    _check(context, hold_out, tokens)
    refused: list[Refused] = []
    modes: Counter[str] = Counter()
    pairs = _pairs(folder, folder / table, (picture, text, label), lower, refused, modes, (size[0], size[1]), channels)
    if not pairs:
        raise SourceError(f"{folder / table} lists no usable picture")
    split, groups = _split(pairs, hold_out, alike)
    if not (split == "train").any():
        raise SourceError(
            f"{folder / table}: {len(pairs)} texts form only {groups} groups that no split may part, which leaves nothing to train: "
            "give more that differ, or smaller shares under `hold_out`"
        )
    named = {pair.label for pair in pairs if pair.label is not None}
    classes = sorted(named)
    tokenizer = TOKENS[tokens].learn((pair.text for pair, place in zip(pairs, split) if place == "train"), vocabulary)
    pixels = np.stack([pair.pixels for pair in pairs])
    ids = [tokenizer.encode(pair.text) for pair in pairs]
    rows = np.stack([padded(row, context) for row in ids])
    samples = joined([pixels, rows])
    labels = np.array([-1 if pair.label is None else classes.index(pair.label) for pair in pairs], np.int64)
    parts = []
    for name in ("train", *HELD_OUT):
        own = np.flatnonzero(split == name)
        parts.append(Part(name, samples[own], labels[own], [pairs[i].origin for i in own]))
    longer = sum(len(row) > context for row in ids)
    notes = [f"picture modes: {', '.join(f'{mode} {count}' for mode, count in sorted(modes.items()))}"]
    notes.append(f"{len(pairs)} pairs in {groups} groups that no split parts")
    notes += _much_larger(split, hold_out)
    notes += [f"{longer} texts are longer than {context} tokens and are cut"] if longer else []
    known = [described("picture", "image", pixels), described("words", "text", rows, tokens=tokenizer.spec())]
    return Source(parts, classes, refused, 0, notes, {"parts": known})


def _check(context: int, hold_out: Mapping[str, float], tokens: str) -> None:
    if context < 2:
        raise SourceError(f"context {context}: a text has 2 tokens or more")
    if tokens not in TOKENS:
        raise SourceError(f"unknown tokens {tokens!r}{nearest(tokens, TOKENS)}: there are {', '.join(TOKENS)}")
    if set(hold_out) != set(HELD_OUT) or not all(0 < share < 1 for share in hold_out.values()):
        raise SourceError(f"hold_out {dict(hold_out)}: give shares between 0 and 1 of {' and '.join(HELD_OUT)}")
    if sum(hold_out.values()) >= 1:
        raise SourceError(f"hold_out {dict(hold_out)} leaves nothing to train")


def _pairs(
    folder: Path,
    table: Path,
    columns: tuple[str, str, str | None],
    lower: bool,
    refused: list[Refused],
    modes: Counter[str],
    size: tuple[int, int],
    channels: int,
) -> list[Pair]:
    """The usable rows, in order; the modes of their pictures are counted."""
    picture, text, label = columns
    found = []
    for origin, row in _rows(table, [name for name in columns if name is not None], refused):
        words = row[text].strip()
        if not words:
            refused.append(Refused(origin, "no text", "white space alone"))
            continue
        place = folder / row[picture]
        if not place.resolve().is_relative_to(folder.resolve()):
            refused.append(Refused(origin, "outside the folder", row[picture]))
            continue
        try:
            data = place.read_bytes()
            pixels = fit(open_image(data), size, channels)
        except OSError as problem:
            refused.append(Refused(origin, "unreadable", f"{row[picture]}: {problem.strerror}"))
            continue
        except ImageProblem as problem:
            refused.append(Refused(origin, problem.reason, f"{row[picture]}: {problem.detail}"))
            continue
        modes[_mode(data)] += 1
        found.append(
            Pair(pixels, words.lower() if lower else words, (row[label] or None) if label else None, row[picture])
        )
    return found


def _rows(table: Path, columns: Sequence[str], refused: list[Refused]) -> list[tuple[str, dict[str, str]]]:
    """(file and line, the row by column). Raises SourceError where the table as a whole cannot be read."""
    delimiter = DELIMITERS.get(table.suffix.lower())
    if delimiter is None or not table.is_file():
        raise SourceError(f"{table} is missing, or is no {' or '.join(DELIMITERS)} file")
    try:
        reader = csv.reader(io.StringIO(decode_text(table.read_bytes()), newline=""), delimiter=delimiter, strict=True)
        header = next(reader)
        if missing := [name for name in columns if name not in header]:
            raise SourceError(f"{table} has no column {', '.join(missing)}: it has {', '.join(header)}")
        found = []
        for row in reader:
            origin = f"{table.name}:{reader.line_num}"
            if len(row) == len(header):
                found.append((origin, dict(zip(header, row))))
            else:
                refused.append(Refused(origin, "wrong number of fields", f"{len(row)}, the header has {len(header)}"))
    except (csv.Error, TextProblem) as problem:
        raise SourceError(f"{table}: {problem}") from None
    return found


def _mode(data: bytes) -> str:
    """Of a picture that has been decoded before."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return image.mode


def _split(pairs: Sequence[Pair], hold_out: Mapping[str, float], alike: Sequence[str]) -> tuple[np.ndarray, int]:
    """(n,) the name of each pair's split, and the number of groups."""
    groups = Groups(len(pairs))
    groups.join(row.tobytes() for row in digests(pair.pixels for pair in pairs))
    groups.join(_key(pair.text, frozenset(word.lower() for word in alike)) for pair in pairs)
    number = groups.numbers()
    members = {root: np.flatnonzero(number == root) for root in np.unique(number)}
    texts = [
        np.frombuffer("\n".join(sorted(pairs[i].text for i in own.tolist())).encode(), np.uint8)
        for own in members.values()
    ]
    hashes = [row.tobytes() for row in digests(texts)]
    split = np.full(len(pairs), "train", dtype="<U10")
    order = iter(sorted(zip(hashes, members.values()), key=lambda entry: entry[0]))
    for name in HELD_OUT:
        wanted = round(hold_out[name] * len(pairs))
        while wanted > 0 and (entry := next(order, None)) is not None:
            split[entry[1]] = name
            wanted -= len(entry[1])
        if wanted > 0:
            raise SourceError(
                f"{len(pairs)} texts form only {len(members)} groups that no split may part, too few for train, validation and test: "
                "give more that differ"
            )
    return split, len(members)


def _much_larger(split: np.ndarray, hold_out: Mapping[str, float]) -> list[str]:
    """What to say of splits that a large group made half as large again as they were to be, or more."""
    notes = []
    for name in HELD_OUT:
        count, wanted = int((split == name).sum()), round(hold_out[name] * len(split))
        if count - wanted > max(wanted / 2, 1):
            notes.append(
                f"{name} holds {count} pairs where {wanted} were asked for: a group of like ones is never parted"
            )
    return notes


def _key(text: str, alike: frozenset[str]) -> str:
    """The words of a text without those of ``alike``, in order; a text without words as it is."""
    words = re.findall(r"\w+", text.lower())
    return " ".join(word for word in words if word not in alike) if words else text
