"""Tables in delimited text: one sample a row, columns of numbers, categories and dates, any of them with missing values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from mae_core.data.delimited import Delimited, Reading, read_delimited
from mae_core.data.kinds import (
    KINDS,
    MOST_CATEGORIES,
    Column,
    Text,
    categories_of,
    describe_kind,
    encode,
    guess_kind,
    is_missing,
    order_note,
    precision_note,
)
from mae_core.data.quarantine import Refused
from mae_core.data.sources import Part, Source, SourceError
from mae_core.registry import nearest


def read(
    folder: Path,
    parts: Mapping[str, str | Sequence[str]],
    label: str | None = None,
    delimiter: str = ",",
    decimal: str = ".",
    header: bool = True,
    names: Sequence[str] = (),
    missing: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    label_strip: str = "",
    encoding: str = "utf-8",
) -> Source:
    """``parts`` maps a split's name to files below ``folder``, all with the same columns.

    Args:
        label: column of the class; None where there is none. A row without it has no label.
        names: of all columns, where the files have no ``header``.
        missing: marks of a missing value beside blank, NA, N/A, nan and NULL.
        kinds: column → number, category, date or ignore. Of the others a column is what all its known values read as; one that mixes
            numbers, dates and words is refused, and one with more than 200 different words is left out, with a note.
        label_strip: characters taken off the end of labels.

    Rows with another number of fields than the header, with a NUL byte, or with a value that is infinite or does not fit its column are
    set aside. Raises SourceError where a file cannot be read at all.
    """
    reading = Reading(delimiter, decimal, header, tuple(names), tuple(missing), encoding)
    tables = {
        name: [_table(folder / f, reading) for f in ([of] if isinstance(of, str) else of)] for name, of in parts.items()
    }
    every = list(chain.from_iterable(tables.values()))
    header_names = every[0].names
    for table in every[1:]:
        if table.names != header_names:
            raise SourceError(
                f"{table.file} has the columns {', '.join(table.names)}, {every[0].file} has {', '.join(header_names)}"
            )
    declared = dict(kinds or {})
    _check_declared(declared, label, header_names, every[0].file)
    notes: list[str] = []
    columns = _columns(every, declared, label, reading, notes)
    if not columns:
        raise SourceError(f"{every[0].file}: no column is left to learn from")
    at_label = header_names.index(label) if label else None
    classes = _classes(every, at_label, reading, label_strip)
    refused = [item for table in every for item in table.refused]
    found = []
    for name, some in tables.items():
        samples, labels, origins = [], [], []
        for table in some:
            for row in table.rows:
                values = encode(row, columns, reading)
                if isinstance(values, str):
                    refused.append(Refused(f"{table.file}:{row.line}", "a value that does not fit", values))
                    continue
                samples.append(values)
                text = "" if at_label is None else row.fields[at_label].rstrip(label_strip)
                labels.append(-1 if is_missing(text, missing) else classes.index(text))
                origins.append(f"{table.file}:{row.line}")
        if not samples:
            first = f": {refused[0].file}, {refused[0].detail}" if refused else ""
            raise SourceError(f"part {name} of {folder} has no usable row{first}")
        found.append(Part(name, np.array(samples, np.float32), np.array(labels, np.int64), origins))
    described = {
        "columns": [describe_kind(c) for c in columns],
        "reading": {**reading._asdict(), "names": list(names), "missing": list(missing)},
    }
    return Source(found, classes, refused, 0, notes, described)


def _table(path: Path, reading: Reading) -> Delimited:
    if not path.is_file():
        raise SourceError(f"{path} is missing")
    try:
        return read_delimited(path.read_bytes(), path.name, reading)
    except ValueError as problem:
        raise SourceError(f"{path.parent}: {problem}") from None


def _check_declared(declared: Mapping[str, str], label: str | None, names: list[str], file: str) -> None:
    for name in [*declared, *([label] if label else [])]:
        if name not in names:
            raise SourceError(f"{file} has no column {name!r}{nearest(name, names)}: it has {', '.join(names)}")
    for name, kind in declared.items():
        if kind not in KINDS:
            raise SourceError(f"column {name!r}: kind {kind!r}{nearest(kind, KINDS)}: there are {', '.join(KINDS)}")


def _columns(
    tables: list[Delimited], declared: Mapping[str, str], label: str | None, reading: Reading, notes: list[str]
) -> list[Column]:
    """The columns that are used; what is left out, or loses something, joins ``notes``."""
    found = []
    for at, name in enumerate(tables[0].names):
        if name == label or declared.get(name) == "ignore":
            continue
        texts = [Text(table.file, row.line, row.fields[at]) for table in tables for row in table.rows]
        try:
            kind = declared.get(name) or guess_kind(name, texts, reading.missing, reading.decimal)
        except ValueError as problem:
            raise SourceError(str(problem)) from None
        if kind == "ignore":
            notes.append(f"column {name!r} has no value at all and was left out")
            continue
        categories = categories_of(texts, reading.missing) if kind == "category" else []
        if len(categories) > MOST_CATEGORIES and name not in declared:
            notes.append(
                f"column {name!r} holds {len(categories)} different texts and was left out: declare its kind to use it"
            )
            continue
        check: Callable[..., str] = {"number": precision_note, "date": _order}.get(kind, lambda *_: "")
        notes += [note] if (note := check(name, texts, reading.missing, reading.decimal)) else []
        found.append(Column(name, at, kind, categories))
    return found


def _order(name: str, texts: Sequence[Text], missing: Sequence[str], decimal: str) -> str:
    return order_note(name, texts, missing)


def _classes(tables: list[Delimited], at: int | None, reading: Reading, strip: str) -> list[str]:
    if at is None:
        return []
    texts = (Text(table.file, row.line, row.fields[at].rstrip(strip)) for table in tables for row in table.rows)
    return categories_of(texts, reading.missing)
