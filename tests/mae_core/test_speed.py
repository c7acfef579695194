"""Rates of a machine: those that made the times are found again, none is faster than its work alone."""

from __future__ import annotations

import numpy as np
import pytest

from mae_core import speed
from mae_core.speed import Rates, Timed, alone, fitted
from mae_core.work import Work

TRUE = Rates(Work(8e-6, 4e-6, 4e-12, 1.2e-11, 6e-11, 1.5e-9, 3e-10, 3e-11))
LEAST = Rates(Work(*(rate / 3 for rate in TRUE.each)))


def works(n, seed=0):
    random = np.random.default_rng(seed)
    sizes = np.array([500, 500, 5e9, 5e8, 1e8, 5e6, 5e7, 2e8])
    return [Work(*(sizes * random.uniform(0.05, 2, 8))) for _ in range(n)]


def test_a_time_is_a_sum_over_kinds_of_work():
    work = Work(*[10.0] * 8)
    assert TRUE.seconds(work) == pytest.approx(10 * sum(TRUE.each))


def test_the_rates_that_made_the_times_forecast_others():
    found = fitted([Timed(work, TRUE.seconds(work)) for work in works(20)], LEAST)
    for work in works(10, seed=1):
        assert found.seconds(work) == pytest.approx(TRUE.seconds(work), rel=0.03)


def test_what_no_training_does_goes_at_its_own_speed():
    quiet = [work._replace(full_flops=0.0) for work in works(20)]
    found = fitted([Timed(work, TRUE.seconds(work)) for work in quiet], LEAST)
    assert found.each.full_flops == pytest.approx(LEAST.each.full_flops)


def test_no_rate_is_below_that_of_the_work_alone():
    fast = [Timed(work, 0.5 * LEAST.seconds(work)) for work in works(20)]
    assert fitted(fast, LEAST).each == pytest.approx(LEAST.each)


@pytest.mark.parametrize("seconds", [[], [0.0], [1.0, -1.0]])
def test_times_that_are_none_are_refused(seconds):
    trainings = [Timed(work, s) for work, s in zip(works(2), seconds)]
    with pytest.raises(ValueError, match="rates are fitted to trainings that took time"):
        fitted(trainings, LEAST)


def test_this_machine_has_a_rate_for_each_kind_of_work(monkeypatch):
    monkeypatch.setattr(speed, "SIDE", 64)
    found = alone(0.001)
    assert all(rate > 0 for rate in found.each)
