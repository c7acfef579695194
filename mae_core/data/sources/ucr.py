"""Labelled series in the form of the UCR archive (Dau et al. 2019): tab-separated, no header, the class first, one series a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mae_core.data.quarantine import Refused
from mae_core.data.sources import Part, Source, SourceError

LONGEST = 100_000


class _Line(NamedTuple):
    label: str
    values: np.ndarray
    origin: str


def read(folder: Path, parts: dict[str, str], length: int | None = None) -> Source:
    """``parts`` maps a split's name to its file below ``folder``.

    A line whose values are no numbers is set aside. Shorter series are padded with NaN to the longest (or to ``length``, which cuts
    longer ones); NaN within a line is a gap. Classes that are numbers are sorted as such, and 1 and 1.0e+00 are one.
    """
    refused: list[Refused] = []
    lines = {name: _read_file(folder / file, refused) for name, file in parts.items()}
    labels = {line.label for some in lines.values() for line in some}
    classes = sorted(labels, key=lambda label: (0, float(label), "") if _is_number(label) else (1, 0.0, label))
    longest = length or max((len(line.values) for some in lines.values() for line in some), default=0)
    found, cut = [], 0
    for name, some in lines.items():
        if not some:
            raise SourceError(f"{folder / parts[name]} holds no series (part {name})")
        samples = np.full((len(some), 1, longest), np.nan, np.float32)
        for row, line in zip(samples, some):
            row[0, : len(line.values)] = line.values[:longest]
            cut += len(line.values) > longest
        numbers = np.array([classes.index(line.label) for line in some], np.int64)
        found.append(Part(name, samples, numbers, [line.origin for line in some]))
    notes = [f"{cut} series were cut to {longest} moments"] if cut else []
    return Source(found, classes, refused, 0, notes)


def _read_file(path: Path, refused: list[Refused]) -> list[_Line]:
    if not path.is_file():
        raise SourceError(f"{path} is missing: a split that was not published can be cut from train under `splits`")
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields: Sequence[str] = text.split("\t") if "\t" in text else text.split(",")
        origin = f"{path.name}:{number}"
        if len(fields) < 3 or len(fields) > LONGEST:
            refused.append(
                Refused(origin, "not a series", f"{len(fields)} fields, a class and at least 2 values are needed")
            )
            continue
        try:
            values = np.array([float(field) for field in fields[1:]], np.float32)
        except ValueError as problem:
            refused.append(Refused(origin, "not a number", str(problem)))
            continue
        if np.isinf(values).any():
            refused.append(Refused(origin, "not finite", "inf is neither a value nor a gap"))
        elif np.isnan(values).all():
            refused.append(Refused(origin, "no values", "every value is missing"))
        else:
            found.append(_Line(_class(fields[0].strip()), values, origin))
    return found


def _class(text: str) -> str:
    """A name that equal numbers share."""
    if not _is_number(text):
        return text
    number = float(text)
    return str(int(number)) if number.is_integer() else repr(number)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
