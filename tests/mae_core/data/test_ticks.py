"""From stamps to a clock: no step adds up to a tick that is not there, gaps and jumps change nothing, months are steps."""

import calendar
from datetime import datetime

import numpy as np
import pytest

from mae_core.data.ticks import SECOND, fit_clock, microseconds

START = microseconds(datetime(2024, 1, 1))
ROWS = np.arange(60_000)


def rounded(step: float, to: int, rows: np.ndarray = ROWS) -> np.ndarray:
    """Stamps every ``step`` seconds, rounded to whole ``to`` microseconds."""
    return START + (to * np.round(step * SECOND * rows / to)).astype(np.int64)


@pytest.mark.parametrize("step", [0.001, 0.01, 1 / 44.1, 1 / 3, 1.0, 3600.0])
@pytest.mark.parametrize("to", [1, 1000])
def test_every_row_of_a_regular_clock_has_a_tick_of_its_own(step, to):
    clock = fit_clock(rounded(step, to))
    np.testing.assert_array_equal(clock.ticks, ROWS)
    assert clock.step / SECOND == pytest.approx(step, rel=1e-6)


def test_stamps_in_whole_seconds_of_a_step_that_is_none():
    clock = fit_clock(START + (SECOND * np.floor(2.5 * ROWS)).astype(np.int64))
    np.testing.assert_array_equal(clock.ticks, ROWS)


@pytest.mark.parametrize("step", [1 / 44.1, 0.001])
def test_gaps_do_not_change_the_step(step):
    kept = np.random.default_rng(0).random(len(ROWS)) < 0.5
    kept[20_000:31_000] = False
    kept[0] = True
    clock = fit_clock(rounded(step, 1000, ROWS[kept]))
    np.testing.assert_array_equal(clock.ticks, ROWS[kept])


def test_a_jump_of_the_clock_leaves_its_step_exact():
    at = START + 3600 * SECOND * ROWS
    at[40_000:] += 1000 * SECOND
    clock = fit_clock(at)
    assert clock.step == 3600 * SECOND and clock.start == START
    np.testing.assert_array_equal(clock.ticks, ROWS)


def test_a_first_stamp_between_two_ticks_takes_no_row_of_the_others():
    at = START + 3600 * SECOND * ROWS[:100]
    at[0] += 1800 * SECOND
    clock = fit_clock(at)
    assert len(np.unique(clock.ticks[1:])) == 99 and clock.seconds(0) * SECOND == START + 3600 * SECOND


def stamps_of_months(day: int, step: int, first: int = 0) -> list[int]:
    found = []
    for month in range(first, 144, step):
        year, name = 1949 + month // 12, month % 12 + 1
        last = calendar.monthrange(year, name)[1]
        found.append(microseconds(datetime(year, name, min(day, last), 12)))
    return found


@pytest.mark.parametrize(("day", "step", "first"), [(1, 1, 0), (31, 1, 0), (30, 1, 1), (15, 3, 2), (29, 12, 6)])
def test_months_are_steps_however_long_they_are(day, step, first):
    at = stamps_of_months(day, step, first)
    clock = fit_clock(np.array(at))
    assert clock.ticks.tolist() == list(range(len(at)))
    assert [clock.seconds(tick) * SECOND for tick in range(len(at))] == at
    assert clock.words == ("a month" if step == 1 else f"{step} months")
    kept = [0, 1, 5, 9]
    assert fit_clock(np.array(at)[kept]).ticks.tolist() == kept


def test_weeks_and_days_are_no_months():
    for days in (1, 7, 28, 30):
        clock = fit_clock(START + days * 24 * 3600 * SECOND * ROWS[:60])
        assert clock.moments is None and clock.ticks[-1] == 59


def test_stamps_that_jitter_keep_their_rows():
    jitter = np.random.default_rng(0).integers(-900 * SECOND, 900 * SECOND, 1000)
    clock = fit_clock(START + 3600 * SECOND * ROWS[:1000] + jitter)
    np.testing.assert_array_equal(clock.ticks, ROWS[:1000])
