"""Delimited text: bytes to rows of text that know their line. Nothing is shifted, replaced or guessed unsaid."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import floor, inf, log10
from pathlib import Path
from typing import Any, NamedTuple

from mae_core.data.quarantine import Refused

OTHER_DELIMITERS = ";\t|,"
SIGNIFICANT, FLOAT32_DIGITS = 6, 9
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Reading(NamedTuple):
    """How a file is written; travels with a dataset to the models that are made of it."""

    delimiter: str = ","
    decimal: str = "."
    header: bool = True
    names: Sequence[str] = ()
    """Of all columns, where there is no header."""
    missing: Sequence[str] = ()
    """Marks of a missing value beside the usual ones."""
    encoding: str = "utf-8"

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Reading:
        """From what ``_asdict`` gave."""
        return cls(**entries)


class Row(NamedTuple):
    """One record."""

    line: int
    """Of the file, from 1, on which it begins."""
    fields: list[str]
    """Without blanks around them."""


class Delimited(NamedTuple):
    """What a file holds."""

    file: str
    names: list[str]
    rows: list[Row]
    refused: list[Refused]
    """Rows that do not fit the header, or hold what no text holds."""


def read_delimited(data: bytes, file: str, reading: Reading) -> Delimited:
    """The rows of a file of that name. Raises ValueError, naming file, line and column, where the file as a whole cannot be read."""
    if not data.strip():
        raise ValueError(f"{file} is empty")
    text = _decode(data, file, reading.encoding)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=reading.delimiter, strict=True)
    found: list[Row] = []
    before = 0
    try:
        for fields in records:
            if fields:
                found.append(Row(before + 1, [field.strip() for field in fields]))
            before = records.line_num
    except csv.Error as problem:
        raise ValueError(f"{file}, line {records.line_num}: {problem}: mend the quotes") from None
    names = _names(found, file, reading)
    rows = found[1:] if reading.header else found
    if not rows:
        raise ValueError(f"{file} has a header but no rows")
    whole: list[Row] = []
    refused: list[Refused] = []
    for row in rows:
        wrong = _wrong(row, names)
        if wrong is None:
            whole.append(row)
        else:
            refused.append(Refused(f"{file}:{row.line}", *wrong))
    return Delimited(file, names, whole, refused)


def read_records(path: Path, delimiter: str) -> Iterator[Row]:
    """The records of a UTF-8 file, or of a UTF-16 one that says so, one by one and as they stand; blank lines are none.

    Raises ValueError naming the file and the line where it is no such text, or where a record with wrong quotes begins.
    """
    line = 1
    with open(path, "rb") as start:
        encoding = encoding_of(start.read(2), "utf-8")
    with open(path, newline="", encoding="utf-8-sig" if encoding == "utf-8" else encoding) as file:
        records = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for fields in records:
                if fields:
                    yield Row(line, fields)
                line = records.line_num + 1
        except csv.Error as problem:
            raise ValueError(f"{path}, line {line}: {problem}: mend the quotes") from None
        except UnicodeDecodeError:
            _decode(path.read_bytes(), str(path), "utf-8", "convert the file to UTF-8")
            raise


def number_text(value: float, spread: float) -> str:
    """A number of six significant digits, or of as many as show a thousandth of ``spread``, up to the nine that tell float32 apart."""
    digits = SIGNIFICANT
    if 0 < abs(value) < inf and spread > 0:
        digits += max(floor(log10(abs(value))) - floor(log10(spread)) - 2, 0)
    return f"{value:.{min(digits, FLOAT32_DIGITS)}g}"


def encoding_of(data: bytes, asked: str) -> str:
    """How a file is encoded: as its byte order mark says, else as was ``asked`` for."""
    if data.startswith(UTF16):
        return "utf-16"
    return "utf-8" if asked.lower().replace("_", "-") in ("utf-8", "utf8") else asked


def _decode(
    data: bytes, file: str, asked: str, advice: str = "say how it is written, such as `encoding: latin-1`"
) -> str:
    encoding = encoding_of(data, asked)
    try:
        return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except LookupError:
        raise ValueError(f"{file}: no encoding is called {encoding!r}") from None
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise ValueError(
            f"{file} is not {encoding}: byte {data[problem.start]:#04x} at offset {problem.start}, line {line}; {advice}"
        ) from None


def _names(found: list[Row], file: str, reading: Reading) -> list[str]:
    names = found[0].fields if reading.header else list(reading.names)
    if not reading.header and not names:
        raise ValueError(f"{file} has no header: give `names`")
    if len(names) == 1:
        others = [mark for mark in OTHER_DELIMITERS if mark != reading.delimiter and mark in found[0].fields[0]]
        if others:
            raise ValueError(
                f"{file}, line {found[0].line}: one column {found[0].fields[0]!r} where {others[0]!r} seems to separate several: "
                f"set `delimiter: {others[0]!r}`, and `decimal: ','` where numbers are written so"
            )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{file} has more than one column called {', '.join(map(repr, twice))}: rename them")
    if "" in names:
        raise ValueError(f"{file}: column {names.index('') + 1} has no name: give it one")
    return names


def _wrong(row: Row, names: list[str]) -> tuple[str, str] | None:
    """Reason and detail, None where the row is whole."""
    have, want = len(row.fields), len(names)
    if have != want:
        at = f"column {have + 1} ({names[have]}) is missing" if have < want else f"column {want + 1} has no name"
        return "wrong number of fields", f"line {row.line}: {have} fields instead of {want}, {at}"
    for i, field in enumerate(row.fields):
        if "\0" in field:
            return "NUL byte", f"line {row.line}, column {i + 1} ({names[i]})"
    return None
