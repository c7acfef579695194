"""Files with a text in every row: csv, tsv and jsonl, with or without labels. A bad row is set aside by its line, never the whole file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mae_core.data.quarantine import Refused
from mae_core.data.sources import SourceError
from mae_core.data.texts import TextProblem, decode_text

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = frozenset({*DELIMITERS, ".jsonl"})


class Item(NamedTuple):
    """One text."""

    text: str
    origin: str
    """File and line."""
    label: str | None = None


def read_rows(path: Path, origin: str, text: str, label: str | None, invalid: str) -> Iterator[Item | Refused]:
    """The rows of a file whose column or key ``text`` holds the text and ``label`` its class, if any; in order.

    Raises SourceError where the file as a whole cannot be read.
    """
    try:
        content = decode_text(path.read_bytes(), invalid)
    except TextProblem as problem:
        raise SourceError(f"{path}: {problem}") from None
    if path.suffix.lower() == ".jsonl":
        yield from _json_lines(content, origin, text, label)
    else:
        yield from _columns(path, content, origin, text, label)


def _columns(path: Path, content: str, origin: str, text: str, label: str | None) -> Iterator[Item | Refused]:
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=DELIMITERS[path.suffix.lower()], strict=True)
    try:
        header = next(reader)
        missing = [name for name in (text, label) if name is not None and name not in header]
        if missing:
            raise SourceError(f"{path} has no column {', '.join(missing)}: it has {', '.join(header)}")
        for row in reader:
            where = f"{origin}:{reader.line_num}"
            if not row:
                yield Refused(where, "blank line", "")
            elif len(row) != len(header):
                yield Refused(where, "wrong number of fields", f"{len(row)}, the header has {len(header)}")
            else:
                named = dict(zip(header, row))
                yield _item(where, named[text], (named[label] or None) if label else None)
    except csv.Error as problem:
        raise SourceError(f"{path}, line {reader.line_num}: {problem}") from None


def _json_lines(content: str, origin: str, text: str, label: str | None) -> Iterator[Item | Refused]:
    for number, line in enumerate(content.removesuffix("\n").split("\n"), start=1):
        where = f"{origin}:{number}"
        if not line.strip():
            yield Refused(where, "blank line", "")
            continue
        try:
            row = json.loads(line, parse_constant=_no_number)
        except _NotFinite as problem:
            yield Refused(where, "a value that is not finite", str(problem))
        except ValueError as problem:
            yield Refused(where, "not JSON", str(problem))
        else:
            yield _from_json(where, row, text, label)


def _from_json(where: str, row: Any, text: str, label: str | None) -> Item | Refused:
    if not isinstance(row, dict):
        return Refused(where, "no object", f"a {type(row).__name__}")
    if text not in row:
        return Refused(where, "no text", f"key {text!r} is missing")
    if not isinstance(row[text], str):
        return Refused(where, "wrong type", f"{text} is a {type(row[text]).__name__}, not a string")
    given = row.get(label) if label else None
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int)):
        return Refused(where, "wrong type", f"{label} is a {type(given).__name__}, neither a name nor a whole number")
    return _item(where, row[text], None if given is None else str(given))


def _item(where: str, text: str, label: str | None) -> Item | Refused:
    for what, given in (("the text", text), ("the label", label or "")):
        try:
            given.encode()
        except UnicodeEncodeError as problem:
            half = f"U+{ord(given[problem.start]):04X} at character {problem.start} of {what}"
            return Refused(where, "half a character", f"{half} is one surrogate of a pair")
    return Item(text, where, label) if text.strip() else Refused(where, "no text", "white space alone")


class _NotFinite(ValueError):
    """NaN or an infinity, which JSON has not."""


def _no_number(name: str) -> NoReturn:
    raise _NotFinite(name)
