"""From time stamps to a regular clock: which step it has, and which tick each stamp belongs to.

Stamps are whole microseconds since 1970, so that no step is off by a rounding and adds up to a tick over a long recording.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

SECOND = 1_000_000
"""Microseconds."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MEAN_MONTH = 30.436875 * 24 * 3600 * SECOND
SHORTEST_MONTH = 27 * 24 * 3600 * SECOND
"""Steps from here on may be months: 28 days less what a change of the clocks takes."""
TOLD = 0.1
"""The share of steps that have to be equal for the most frequent one to be what the clock was set to."""
RUN = 8
"""A step that holds over runs of an eighth of the rows is exact; what the whole then strays is a jump of the clock."""


class Clock(NamedTuple):
    """A regular clock and where stamps lie on it."""

    start: float
    """Microseconds of tick 0."""
    step: float
    """Microseconds between ticks; of months the mean."""
    ticks: np.ndarray
    """(n,) int64: the tick of each stamp; the first is 0."""
    moments: np.ndarray | None = None
    """(last tick + 1,) int64 microseconds of the ticks of a calendar; None where all steps are equally long."""

    @property
    def words(self) -> str:
        """How long a step is."""
        if self.moments is None:
            return f"{self.step / SECOND:g} s"
        months = round(self.step / MEAN_MONTH)
        return "a month" if months == 1 else f"{months} months"

    def seconds(self, tick: int) -> float:
        """Unix seconds of a tick."""
        return (self.start + self.step * tick if self.moments is None else float(self.moments[tick])) / SECOND


def microseconds(stamp: datetime) -> int:
    """Since 1970; a stamp without a time zone is UTC."""
    return ((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)


def fit_clock(at: np.ndarray) -> Clock:
    """The clock of (n,) int64 stamps in order, of which at least two differ; a stamp that lies off it gets the nearest tick.

    Stamps of the same day of every month, or every so many months, are steps of a calendar, however long its months are.
    """
    different = np.unique(at)
    if months := _months(different):
        return _calendar(at, months)
    step = _step(different)
    since = at - at[0]
    early = np.angle(np.exp(2j * np.pi * since / step).mean()) / (2 * np.pi)
    beside = since - np.floor(since / step - early + 0.5) * step
    offset = float(np.quantile(beside, 0.5, method="lower"))
    ticks = np.floor((since - offset) / step + 0.5).astype(np.int64)
    return Clock(float(at[0]) + offset + float(ticks[0]) * step, step, ticks - ticks[0])


def _calendar(at: np.ndarray, months: int) -> Clock:
    """The clock of stamps in order whose steps are ``months`` of the calendar; the time of day is that of the first."""
    days = at.astype("datetime64[us]").astype("datetime64[D]")
    month = days.astype("datetime64[M]")
    ticks = (month - month[0]).astype(np.int64) // months
    every = month[0] + np.arange(ticks[-1] + 1) * months
    day = np.minimum((days - month.astype("datetime64[D]")).max(), _length(every) - 1)
    time = at[0] - days[0].astype("datetime64[us]").astype(np.int64)
    moments = (every.astype("datetime64[D]") + day).astype("datetime64[us]").astype(np.int64) + time
    return Clock(float(moments[0]), float(moments[-1] - moments[0]) / int(ticks[-1]), ticks, moments)


def _step(at: np.ndarray) -> float:
    """Microseconds between ticks, of (n,) different stamps in order.

    The most frequent difference is a first guess that roundings of the stamps spoil: at 44.1 Hz it is a quarter of a microsecond too long,
    half a tick after 43,000. So it is measured over ever longer runs of rows, each of which says how many ticks the next has; to the median
    gaps and jumps are nothing.
    """
    differences, counts = np.unique(np.diff(at), return_counts=True)
    usual = float(differences[counts.argmax()])
    if counts.max() < TOLD * counts.sum():
        usual = float(np.median(np.diff(at)))
    near = np.abs(differences - usual) <= usual / 2
    step = float(np.average(differences[near], weights=counts[near]))
    last = max(len(at) // RUN, min(2, len(at) - 1))
    run = min(2, last)
    while run <= last:
        spans = at[run:] - at[:-run]
        ticks = np.floor(spans / step + 0.5)
        whole = (ticks >= 1) & (ticks <= 2 * run)
        if not whole.any():
            break
        step = float(np.median(spans[whole] / ticks[whole]))
        run *= 2
        if run > last and step != usual:
            last = len(at) // 2
    return step


def _months(at: np.ndarray) -> int:
    """Of the calendar between (n,) different stamps in order; 0 where they are not of the same day of months, the last one included."""
    if len(at) < 3 or np.median(np.diff(at)) < SHORTEST_MONTH:
        return 0
    days = at.astype("datetime64[us]").astype("datetime64[D]")
    month = days.astype("datetime64[M]")
    day = days - month.astype("datetime64[D]")
    steps = np.diff(month.astype(np.int64))
    return int(np.gcd.reduce(steps)) if (day == np.minimum(day.max(), _length(month) - 1)).all() and steps.min() else 0


def _length(month: np.ndarray) -> np.ndarray:
    """timedelta64 in days of datetime64 months."""
    return (month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")
