"""Rows of a table as delimited text: written anew, or put where a file lacks values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from mae_core.data.delimited import Reading, encoding_of, read_delimited
from mae_core.data.kinds import is_missing, words_of_days
from mae_core.modalities.columns import Columns

UNSEEN = "(unseen)"
"""A category that is none of the known ones; reads back as that."""


def write_rows(columns: Columns, rows: Tensor, reading: Reading) -> str:
    """(n, F) raw rows as ``read`` takes them; columns that ``reading`` names and the model does not know are empty."""
    names = columns.names if reading.header else list(reading.names)
    at = {name: i for i, name in enumerate(columns.names)}
    lines = [names] if reading.header else []
    for row in rows.tolist():
        lines.append([_text(columns, at[name], row[at[name]], reading) if name in at else "" for name in names])
    return _delimited(lines, reading)


def mend_rows(columns: Columns, data: bytes, filled: np.ndarray, reading: Reading) -> bytes:
    """The file ``data`` with its missing values from ``filled`` (n, F); all other fields and its encoding as they are."""
    found = read_delimited(data, "the table", reading)
    at = {i: found.names.index(name) for i, name in enumerate(columns.names)}
    lines = [found.names] if reading.header else []
    for row, values in zip(found.rows, filled.tolist(), strict=True):
        fields = list(row.fields)
        for i, place in at.items():
            if is_missing(fields[place], reading.missing):
                fields[place] = _text(columns, i, values[i], reading)
        lines.append(fields)
    return _delimited(lines, reading).encode(encoding_of(data, reading.encoding))


def _text(columns: Columns, i: int, value: float, reading: Reading) -> str:
    if np.isnan(value):
        return ""
    if columns.sizes[i]:
        names = columns.categories[i]
        return names[int(value)] if int(value) < len(names) else UNSEEN
    if columns.dates[i]:
        return words_of_days(value)
    return f"{value:.6g}".replace(".", reading.decimal)


def _delimited(lines: Iterable[Sequence[str]], reading: Reading) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=reading.delimiter, lineterminator="\n").writerows(lines)
    return out.getvalue()
