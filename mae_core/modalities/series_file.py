"""Time series as delimited text: of one channel a line is a sample, of several a line is a moment and a field a channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mae_core.data.delimited import number_text


class Line(NamedTuple):
    """One line of a file."""

    number: int
    """From 1; lines that are empty but for spaces are neither samples nor moments."""
    fields: list[str]
    delimiter: str

    @property
    def values(self) -> list[float] | None:
        """NaN of empty fields; None where one is no finite number."""
        try:
            row = [float(field) if field.strip() else math.nan for field in self.fields]
        except ValueError:
            return None
        return None if any(math.isinf(value) for value in row) else row


def read_series(data: bytes, channels: int, length: int) -> np.ndarray:
    """(n, C, T) float32, NaN in gaps and behind the end; T is ``length``. Raises ValueError naming the line that is wrong."""
    lines, rows = _numbers(data, channels)
    if channels == 1:
        for line, row in zip(lines, rows):
            if len(row) > length:
                raise ValueError(f"line {line.number} has {len(row)} values, this model takes at most {length}")
        return np.array([row + [math.nan] * (length - len(row)) for row in rows], np.float32)[:, None]
    moments = np.array(rows, np.float32)
    count = -(-len(moments) // length)
    whole = np.full((count * length, channels), np.nan, np.float32)
    whole[: len(moments)] = moments
    return whole.reshape(count, length, channels).transpose(0, 2, 1)


def write_series(raw: np.ndarray, spread: Sequence[float]) -> str:
    """(n, C, T) raw samples as ``read_series`` takes them; of several channels one window after another.

    ``spread`` is the standard deviation of each channel, which its digits have to show.
    """
    rows, spreads = _lines_of(raw, spread)
    return "".join(",".join(map(_text, row, spreads)) + "\n" for row in rows.tolist())


def mend_series(data: bytes, filled: np.ndarray, spread: Sequence[float]) -> bytes:
    """The file ``data`` with its empty fields from ``filled`` (n, C, T), and nothing else changed; ``spread`` as for ``write_series``."""
    channels = filled.shape[1]
    values, spreads = _lines_of(filled, spread)
    found = _lines(data)
    lines, rows = _numbers(data, channels)
    mended = [line.delimiter.join(line.fields) for line in found[: len(found) - len(lines)]]
    for line, row, said in zip(lines, rows, values.tolist()):
        fields = (_text(v, s) if math.isnan(x) else field for field, x, v, s in zip(line.fields, row, said, spreads))
        mended.append(line.delimiter.join(fields))
    return ("\n".join(mended) + "\n").encode()


def _lines_of(samples: np.ndarray, spread: Sequence[float]) -> tuple[np.ndarray, list[float]]:
    """(n, C, T) as lines of fields, and the spread of each field."""
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0], list(spread) * samples.shape[2]
    return samples.transpose(0, 2, 1).reshape(-1, channels), list(spread)


def _lines(data: bytes) -> list[Line]:
    try:
        texts = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as problem:
        raise ValueError(f"it is no UTF-8 text: {problem.reason} at byte {problem.start}") from None
    found = []
    for number, text in enumerate(texts, 1):
        if text.strip(" "):  # tabs alone are fields, all of them empty
            delimiter = next((mark for mark in "\t;" if mark in text), ",")
            found.append(Line(number, text.split(delimiter), delimiter))
    if not found:
        raise ValueError("it is empty")
    return found


def _numbers(data: bytes, channels: int) -> tuple[list[Line], list[list[float]]]:
    """Lines of numbers and their values; of several channels the first line may be names."""
    lines = _lines(data)
    if channels > 1 and lines[0].values is None:
        lines = lines[1:]
    rows = []
    for line in lines:
        row = line.values
        if row is None:
            text = line.delimiter.join(line.fields)
            raise ValueError(f"line {line.number}: {text[:60]!r} holds something else than finite numbers")
        if channels > 1 and len(row) != channels:
            raise ValueError(
                f"line {line.number} has {len(row)} fields, this model takes one for each of {channels} channels"
            )
        rows.append(row)
    if not rows:
        raise ValueError("it has a first line of names, but no numbers")
    return lines, rows


def _text(value: float, spread: float) -> str:
    return "" if math.isnan(value) else number_text(value, spread)
