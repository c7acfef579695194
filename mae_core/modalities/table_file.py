"""Rows of a table as delimited text: written anew, or put where a file lacks values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from mae_core.data.delimited import Reading, encoding_of, number_text, read_delimited
from mae_core.data.kinds import is_missing, words_of_days
from mae_core.modalities.columns import Columns

SHOWN = 20
"""Characters that are quoted."""
UNSEEN = "(unseen)"
"""A category that is none of the known ones; reads back as that."""


def write_rows(columns: Columns, rows: Tensor, reading: Reading) -> str:
    """(n, F) raw rows as ``read`` takes them; columns that ``reading`` names and the model does not know are empty."""
    names = columns.names if reading.header else list(reading.names)
    at = {name: i for i, name in enumerate(columns.names)}
    lines = [names] if reading.header else []
    spreads = columns.std.tolist()
    for row in rows.tolist():
        lines.append([_text(columns, at[n], row[at[n]], spreads[at[n]], reading) if n in at else "" for n in names])
    return _delimited(lines, reading)


def mend_rows(columns: Columns, data: bytes, filled: np.ndarray, reading: Reading) -> bytes:
    """The file ``data`` with its missing values from ``filled`` (n, F); all other fields and its encoding as they are.

    Raises ValueError for a prediction that the encoding cannot write.
    """
    found = read_delimited(data, "the table", reading)
    at = {i: found.names.index(name) for i, name in enumerate(columns.names)}
    lines = [found.names] if reading.header else []
    spreads = columns.std.tolist()
    for row, values in zip(found.rows, filled.tolist(), strict=True):
        fields = list(row.fields)
        for i, place in at.items():
            if is_missing(fields[place], reading.missing):
                fields[place] = _text(columns, i, values[i], spreads[i], reading)
        lines.append(fields)
    encoding = encoding_of(data, reading.encoding)
    try:
        return _delimited(lines, reading).encode(encoding)
    except UnicodeEncodeError as problem:
        odd = problem.object[problem.start : problem.end][:SHOWN]
        raise ValueError(
            f"{odd!r}, of a predicted category, cannot be written in {encoding}: convert the table to UTF-8"
        ) from None


def _text(columns: Columns, i: int, value: float, spread: float, reading: Reading) -> str:
    if np.isnan(value):
        return ""
    if columns.sizes[i]:
        names = columns.categories[i]
        return names[int(value)] if int(value) < len(names) else UNSEEN
    if columns.dates[i]:
        return words_of_days(value)
    return number_text(value, spread).replace(".", reading.decimal)


def _delimited(lines: Iterable[Sequence[str]], reading: Reading) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=reading.delimiter, lineterminator="\n").writerows(lines)
    return out.getvalue()
