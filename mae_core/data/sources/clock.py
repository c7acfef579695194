"""Long recordings on a clock, one CSV file each, cut into windows.

Time stamps may be out of order (sorted, counted), repeated (averaged, counted), missing (NaN, counted) or no dates at all (set aside). The
clock is the step that most stamps keep over the whole file, months of the calendar among them; a value that lies off it goes to the nearest
tick, and values that meet there are averaged, too, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mae_core.data.anomaly_windows import Marked, read_windows, within
from mae_core.data.delimited import Row, read_records
from mae_core.data.quarantine import Refused
from mae_core.data.sources import Part, Source, SourceError
from mae_core.data.ticks import SECOND, Clock, fit_clock, microseconds
from mae_core.registry import nearest

MISSING = ("", "NA", "NaN", "nan", "NULL", "?")
CLASSES = ("normal", "anomaly")
LONGEST_TICKS = 50_000_000
"""Of one recording: a stamp that is centuries off would ask for all memory."""
LARGEST = float(np.finfo(np.float32).max)
SHOWN = 40
"""Characters of a field that is quoted."""


class Recording(NamedTuple):
    """One file on its clock."""

    values: np.ndarray
    """(C, ticks) float32, NaN = not there."""
    clock: Clock
    notes: list[str]
    refused: list[Refused]
    anomalous: np.ndarray
    """(ticks,) bool: the rows say so of themselves."""
    rows: int
    """That the file holds, refused ones among them."""

    @property
    def step(self) -> float:
        """Seconds between ticks."""
        return self.clock.step / SECOND


def read(
    folder: Path,
    files: Sequence[str],
    columns: Sequence[str],
    time: str | Sequence[str],
    window: int,
    stride: int,
    splits: Sequence[float] = (0.7, 0.1),
    least: float = 0.5,
    anomalies: str | None = None,
    anomaly_column: str | None = None,
    delimiter: str = ",",
) -> Source:
    """Windows (1 a sample) of the ``columns`` of CSV files, labelled where ``anomalies`` says so.

    Args:
        time: the column of ISO time stamps, or the columns year, month, day, hour.
        window, stride: ticks of a window, and between the starts of two; windows of other splits than train never overlap, for a score
            counts them as different samples.
        splits: shares of each recording that are train and validation, in order of time; the rest is test. No window reaches over a border.
        least: share of a window's values that have to be there.
        anomalies: JSON file of anomalous stretches by file; a window that meets one is of class ``anomaly``, another of class ``normal``.
        anomaly_column: the same, said by each row: any number but 0, and no mark says what 0 says. A file without that column is normal.
        delimiter: between the fields of a row.
    """
    if anomalies and anomaly_column:
        raise SourceError("anomalies and anomaly_column are two ways to say what is anomalous: give one")
    if anomaly_column:
        _check_marks(folder, files, anomaly_column, delimiter)
    if not 0 < splits[0] < 1 or not 0 < splits[1] < 1 or sum(splits) >= 1:
        raise SourceError(
            f"splits {list(splits)}: give the shares of train and validation, which leave something for test"
        )
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    origins: dict[str, list[str]] = {name: [] for name in parts}
    labels: dict[str, list[int]] = {name: [] for name in parts}
    marked = read_windows(folder / anomalies) if anomalies else Marked({}, [])
    notes = _unmatched(marked, files)
    refused = list(marked.refused)
    sparse, items = 0, len(marked.refused) + sum(map(len, marked.stretches.values()))
    for file in files:
        one = record(folder / file, columns, time, anomaly_column, delimiter)
        refused += one.refused
        items += one.rows
        notes += [f"{file}: {note}" for note in one.notes]
        ticks = one.values.shape[1]
        known = _key_of(file, marked)
        edges = [0, round(ticks * splits[0]), round(ticks * sum(splits)), ticks]
        for name, first, last in zip(parts, edges, edges[1:]):
            step = stride if name == "train" else max(stride, window)
            for start in range(first, last - window + 1, step):
                piece = one.values[:, start : start + window]
                if np.isfinite(piece).mean() < least:
                    sparse += 1
                    continue
                parts[name].append(piece)
                origins[name].append(f"{file}@{start}")
                meets = int(one.anomalous[start : start + window].any())
                labels[name].append(meets if anomaly_column else _label(one, start, window, marked, known))
    if sparse:
        notes.append(f"{sparse} windows were left out: less than {least:.0%} of their values are there")
    for name, some in parts.items():
        if not some:
            raise SourceError(f"no window of {window} ticks fits into {name}: choose a shorter window or other splits")
    found = [Part(n, np.stack(some), np.array(labels[n], np.int64), origins[n]) for n, some in parts.items()]
    classes = list(CLASSES) if anomalies or anomaly_column else []
    return Source(found, classes, refused, 0, notes, {"columns": list(columns), "window": window}, items)


def _check_marks(folder: Path, files: Sequence[str], column: str, delimiter: str) -> None:
    """Raises SourceError where no file has the column of marks: every window would be normal."""
    names = {name: None for file in files for name in _header(folder / file, delimiter)}
    if column not in names:
        raise SourceError(
            f"anomaly_column: none of the files below {folder} has a column {column!r}{nearest(column, names)}: "
            f"they have {', '.join(names)}"
        )


def _key_of(file: str, marked: Marked) -> str | None:
    """What a file of anomalies calls a recording: its path, or the end of it."""
    return next((key for key in marked.stretches if file == key or file.endswith(f"/{key}")), None)


def _unmatched(marked: Marked, files: Sequence[str]) -> list[str]:
    """What to say of series that are marked and not among the files."""
    used = {_key_of(file, marked) for file in files}
    others = [key for key in marked.stretches if key not in used]
    return [f"{len(others)} series with marked anomalies are not among the files, {others[0]} first"] if others else []


def _label(one: Recording, start: int, window: int, marked: Marked, key: str | None) -> int:
    """Place in CLASSES of the window that begins at tick ``start``; −1 where nobody looked for anomalies."""
    if key is None:
        return -1
    first, last = (np.array([one.clock.seconds(tick)]) for tick in (start, start + window - 1))
    return int(within(marked.stretches[key], first, last)[0])


def record(
    path: Path, columns: Sequence[str], time: str | Sequence[str], marks: str | None = None, delimiter: str = ","
) -> Recording:
    """One CSV file on its clock; ``marks`` is the column that says which rows are anomalous.

    Raises SourceError naming the file and what is wrong with it.
    """
    stamps, rows, refused = _rows(path, columns, [time] if isinstance(time, str) else list(time), marks, delimiter)
    if len(stamps) < 2:
        first = f"; {refused[0].file} was set aside: {refused[0].detail}" if refused else ""
        raise SourceError(f"{path} holds {len(stamps)} readable rows: a clock needs two{first}")
    at, values = np.array(stamps, np.int64), np.array(rows, np.float64)
    notes = []
    disordered = int((np.diff(at) < 0).sum())
    if disordered:
        notes.append(f"{disordered} time stamps come before the one above them: sorted")
    order = np.argsort(at, kind="stable")
    at, values = at[order], values[order]
    if at[0] == at[-1]:
        raise SourceError(f"{path}: all {len(at)} rows have the same time stamp")
    clock = fit_clock(at)
    ticks = int(clock.ticks[-1]) + 1
    if ticks > LONGEST_TICKS:
        raise SourceError(f"{path}: its time stamps span {ticks:,} steps of {clock.words}: is one of them wrong?")
    notes += _tick_notes(at, clock, ticks)
    values, marked = values[:, :-1], np.nan_to_num(values[:, -1]) != 0
    anomalous = np.zeros(ticks, bool)
    anomalous[clock.ticks[marked]] = True
    there = np.isfinite(values)
    total, count = np.zeros((ticks, len(columns))), np.zeros((ticks, len(columns)))
    np.add.at(total, clock.ticks, np.where(there, values, 0))
    np.add.at(count, clock.ticks, there)
    with np.errstate(invalid="ignore"):
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Recording(mean.T.astype(np.float32), clock, notes, refused, anomalous, len(stamps) + len(refused))


def _tick_notes(at: np.ndarray, clock: Clock, ticks: int) -> list[str]:
    """What to say of stamps that share a tick, and of ticks without one."""
    different, used = len(np.unique(at)), len(np.unique(clock.ticks))
    notes = []
    if repeated := len(at) - different:
        notes.append(f"{repeated} time stamps are repeated: their values are averaged")
    if met := different - used:
        notes.append(f"{met} time stamps fell on the tick of another ({clock.words}): their values are averaged")
    if absent := ticks - used:
        notes.append(f"{absent} of {ticks} moments of the clock ({clock.words}) have no row: gaps")
    return notes


def _rows(
    path: Path, columns: Sequence[str], time: list[str], marks: str | None, delimiter: str
) -> tuple[list[int], list[list[float]], list[Refused]]:
    """Stamps in microseconds, values and what was set aside; the last of a row's values is its mark, 0 where there is none."""
    names = _header(path, delimiter)
    absent = [name for name in [*time, *columns] if name not in names]
    if absent:
        raise SourceError(f"{path} has no column {', '.join(absent)}: it has {', '.join(names)}")
    stamps: list[int] = []
    rows: list[list[float]] = []
    refused: list[Refused] = []
    records = _records(path, delimiter)
    next(records)
    for line, fields in records:
        origin = f"{path.name}:{line}"
        if len(fields) != len(names):
            refused.append(Refused(origin, "wrong number of fields", f"{len(fields)} fields instead of {len(names)}"))
            continue
        row = dict(zip(names, fields))
        try:
            stamp = _stamp([row[name] for name in time])
            values = [_value(row[name]) for name in columns]
            values.append(_value(row[marks]) if marks in row else 0.0)
        except ValueError as problem:
            refused.append(Refused(origin, "unreadable row", str(problem)))
            continue
        if any(abs(value) > LARGEST for value in values):
            refused.append(
                Refused(origin, "not finite", "inf, or what float32 cannot hold, is neither a value nor a gap")
            )
            continue
        stamps.append(stamp)
        rows.append(values)
    return stamps, rows, refused


def _header(path: Path, delimiter: str) -> list[str]:
    """The names of a file's columns."""
    if not path.is_file():
        raise SourceError(f"{path} is missing")
    return next((row.fields for row in _records(path, delimiter)), [])


def _records(path: Path, delimiter: str) -> Iterator[Row]:
    """Raises SourceError where the file as a whole cannot be read."""
    try:
        yield from read_records(path, delimiter)
    except ValueError as problem:
        raise SourceError(str(problem)) from None


def _stamp(fields: list[str]) -> int:
    """Microseconds since 1970 of an ISO stamp (UTC unless it says otherwise), or of year, month, day, hour. Raises ValueError."""
    try:
        if len(fields) > 1:
            return microseconds(datetime(*[int(field) for field in fields], tzinfo=UTC))  # type: ignore[misc,arg-type]
        return microseconds(datetime.fromisoformat(fields[0].strip()))
    except (ValueError, OverflowError):
        raise ValueError(f"{' '.join(fields)[:SHOWN]!r} is no time stamp") from None


def _value(text: str) -> float:
    text = text.strip()
    try:
        return float("nan") if text in MISSING else float(text)
    except ValueError:
        raise ValueError(f"{text[:SHOWN]!r} is no number") from None
