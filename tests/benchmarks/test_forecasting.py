"""The benchmark of forecasts: medians and worst of both ways, and every recipe beside what it took."""

from __future__ import annotations

import pytest

from benchmarks import forecasting, performance
from benchmarks.forecasting import Outcome, Took, rows
from experiments.forecast import Forecast


def outcome(name, machine, own, took=(100.0, 500.0)):
    return Outcome(name, Forecast(*machine, "a"), Forecast(*own, "b"), Took(*took))


FOUND = [
    outcome("a", (110.0, 110.0, 500.0), (101.0, 101.0, 505.0)),
    outcome("b", (80.0, 80.0, 600.0), (100.0, 100.0, 500.0)),
    outcome("c", (105.0, 105.0, 450.0), (95.0, 95.0, 490.0)),
]


def test_medians_come_first_with_the_worst():
    time, memory, *each = rows(FOUND, "command", steps=9)
    assert time.name == "median_error_of_cpu_time_from_machine_vs_own_steps"
    assert (time.ours, time.baseline) == pytest.approx((0.1, 0.01)) and time.n == 3
    assert time.facts == pytest.approx({"worst_from_machine": 0.2, "worst_from_own": 0.05, "steps": 9})
    assert (memory.ours, memory.baseline) == pytest.approx((0.1, 0.01))
    assert memory.facts["worst_from_machine"] == pytest.approx(0.2)
    assert [row.name for row in each[:4]] == [
        "a_forecast_vs_run_cpu_s",
        "a_forecast_of_own_steps_vs_run_cpu_s",
        "a_forecast_vs_run_mb",
        "a_forecast_of_own_steps_vs_run_mb",
    ]
    assert each[0].ratio == pytest.approx(1.1) and len(each) == 12


def test_the_page_says_forecast_over_run_and_whether_the_aim_is_met():
    said = [performance.line(row._asdict()) for row in rows(FOUND, "command")]
    assert said[0].aim == "at most 0.15: met" and said[0].ours == "0.1"
    assert said[2].what == "a forecast (cpu s)" and said[2].other == "run" and said[2].gain == "× 1.10"


def test_recipes_are_forecast_and_trained_in_turn(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(forecasting, "shortened", lambda pair, steps, root: asked.append((pair, steps)) or pair)
    for name in ("look", "measure"):
        monkeypatch.setattr(forecasting, name, lambda *given: FOUND[0].own)
    monkeypatch.setattr(forecasting, "trained", lambda training, root: Took(50.0, 400.0))
    (found,) = forecasting.outcomes(["a:x"], 7, None, None)
    assert asked == [("a:x", 7)] and found.recipe == "a" and found.took.cpu_s == 50
    assert "a: 50.0 s of CPU, forecast 101.0 and 101.0; 400 MB" in capsys.readouterr().out
