"""What the texts of a column mean: numbers, categories or dates, by a stated rule, and how they become float32."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mae_core.data.delimited import Reading, Row

MISSING = frozenset({"", "NA", "N/A", "nan", "NaN", "NULL", "null"})
"""Always missing; others, such as ?, have to be declared, for they may mean something."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
INFINITE = re.compile(r"[+-]?(inf|infinity)", re.IGNORECASE)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
EPOCH = datetime(2000, 1, 1)
"""Dates become days since then, which float32 holds to about a minute."""
FIRST, LAST = ((end - EPOCH) / timedelta(days=1) for end in (datetime.min, datetime(9999, 12, 31, 23, 59)))
"""The days that a date can be; what a model believes of one reaches further."""
EXACT = 2**24
"""Whole numbers beyond it lose digits in float32."""
MOST_CATEGORIES = 200
"""A column of more different texts is left out unless it is declared: it names rows rather than kinds of rows."""
KINDS = ("number", "category", "date", "ignore")


def words_of_days(value: float) -> str:
    """The inverse of ``days``, to the minute; the day alone at midnight. Days beyond the years 1 to 9999 are their ends."""
    when = EPOCH + timedelta(minutes=round(min(max(value, FIRST), LAST) * 24 * 60))
    return when.date().isoformat() if when.hour == when.minute == 0 else when.isoformat(" ", "minutes")


class Text(NamedTuple):
    """One value of a column and where it stands."""

    file: str
    line: int
    text: str


class Column(NamedTuple):
    """A column that is used."""

    name: str
    at: int
    """Its place in a row."""
    kind: str
    categories: list[str]


class BadValue(ValueError):
    """A value that does not fit its column: says why in a few words."""


def guess_kind(name: str, values: Iterable[Text], missing: Collection[str], decimal: str) -> str:
    """``number`` or ``date`` where every known value is one, ``category`` where none is, ``ignore`` where nothing is known.

    Raises ValueError with the first odd value of a column that mixes them.
    """
    first: dict[str, Text] = {}
    counts = {"number": 0, "date": 0, "category": 0}
    for value in values:
        if is_missing(value.text, missing):
            continue
        kind = _looks(value.text, decimal)
        counts[kind] += 1
        first.setdefault(kind, value)
    if len(first) <= 1:
        return next(iter(first), "ignore")
    main = max(first, key=lambda kind: counts[kind])
    odd = min((value for kind, value in first.items() if kind != main), key=lambda value: (value.file, value.line))
    others = sum(counts.values()) - counts[main]
    raise ValueError(
        f"column {name!r} is mixed: {counts[main]} of its values read as {main}, {others} do not, the first in {odd.file}, "
        f"line {odd.line}: {odd.text!r}. Name the mark under `missing` if it is one, "
        f"or say what the column is under `kinds`: {', '.join(KINDS)}"
    )


def _looks(text: str, decimal: str) -> str:
    if NUMBER.fullmatch(_plain(text, decimal)) or INFINITE.fullmatch(text):
        return "number"
    return "date" if DATE.match(text) and _date(text) is not None else "category"


def is_missing(text: str, missing: Collection[str]) -> bool:
    """Whether a text stands for nothing."""
    return text in MISSING or text in missing


def number(text: str, decimal: str = ".") -> float:
    """A finite number that float32 holds. Raises BadValue."""
    plain = _plain(text, decimal)
    if INFINITE.fullmatch(text):
        raise BadValue(f"{text!r} is infinite, which is not the same as missing")
    if not NUMBER.fullmatch(plain):
        raise BadValue(f"{text[:40]!r} is no number")
    value = float(plain)
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise BadValue(f"{text[:40]!r} is too large for a float32")
    return value


def days(text: str) -> float:
    """ISO date, with or without a time, as days since 2000-01-01; a time zone is turned to UTC. Raises BadValue."""
    when = _date(text)
    if when is None:
        raise BadValue(f"{text[:40]!r} is no date such as 2024-03-31 or 2024-03-31 14:00")
    return (when - EPOCH) / timedelta(days=1)


def categories_of(values: Iterable[Text], missing: Collection[str]) -> list[str]:
    """The different texts: in order of size where all are numbers, else sorted."""
    found = {value.text for value in values if not is_missing(value.text, missing)}
    if all(NUMBER.fullmatch(text) for text in found):
        return sorted(found, key=lambda text: (float(text), text))
    return sorted(found)


def precision_note(name: str, values: Sequence[Text], missing: Collection[str], decimal: str) -> str:
    """Says how many whole numbers lose digits, '' where none does."""
    lost = 0
    for value in values:
        plain = _plain(value.text, decimal).lstrip("+-")
        if plain.isdecimal() and not is_missing(value.text, missing) and int(plain) > EXACT:
            lost += int(np.float32(int(plain))) != int(plain) if int(plain) < 1e38 else 1
    return f"column {name!r}: {lost} whole numbers above 2^24 lose digits in float32" if lost else ""


def order_note(name: str, dated: Sequence[Text], missing: Collection[str]) -> str:
    """Says where dates go back, repeat or leave a gap of more than twice their usual step; '' where they do not."""
    known = []
    for value in dated:
        when = None if is_missing(value.text, missing) else _date(value.text)
        if when is not None:
            known.append((value, when))
    if len(known) < 3:
        return ""
    steps = [(b[1] - a[1], a[0], b[0]) for a, b in pairwise(known)]
    forward = sorted(step for step, _, _ in steps if step > timedelta(0))
    usual = forward[len(forward) // 2] if forward else timedelta(0)
    seen: set[datetime] = set()
    again = 0
    for _, when in known:
        again += when in seen
        seen.add(when)
    back = [f"line {b.line}" for step, _, b in steps if step < timedelta(0)]
    gaps = [f"after line {a.line} ({step})" for step, a, _ in steps if usual and step > 2 * usual]
    said = [f"goes back at {', '.join(back[:3])} ({len(back)} times)"] if back else []
    said += [f"repeats a date {again} times"] if again else []
    said += [f"leaves a gap {', '.join(gaps[:3])} ({len(gaps)} in all, the usual step is {usual})"] if gaps else []
    return f"column {name!r} {'; '.join(said)}; rows are taken as they stand" if said else ""


def encode(row: Row, columns: Sequence[Column], reading: Reading) -> list[float] | str:
    """The values of a row, NaN where missing, a category that has no number as the next one; or what is wrong with it."""
    values = []
    for column in columns:
        text = row.fields[column.at]
        if is_missing(text, reading.missing):
            values.append(float("nan"))
            continue
        if column.kind == "category":
            values.append(float(column.categories.index(text) if text in column.categories else len(column.categories)))
            continue
        try:
            values.append(days(text) if column.kind == "date" else number(text, reading.decimal))
        except BadValue as problem:
            return f"line {row.line}, column {column.at + 1} ({column.name}): {problem}"
    return values


def column_of(described: Mapping[str, Any], at: int) -> Column:
    """The inverse of ``describe_kind``, for a file that has the column at place ``at``."""
    kind = "date" if described.get("date") else described["kind"]
    return Column(described["name"], at, kind, list(described.get("categories", ())))


def describe_kind(column: Column) -> dict[str, Any]:
    """What a modality has to know of a column; to a network a date is a number."""
    if column.kind == "category":
        return {"name": column.name, "kind": "category", "categories": column.categories}
    return {"name": column.name, "kind": "number", **({"date": True} if column.kind == "date" else {})}


def _plain(text: str, decimal: str) -> str:
    """A number with a point, unless it has one already where another mark was asked for."""
    if decimal == ".":
        return text
    return "" if "." in text else text.replace(decimal, ".")


def _date(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)
