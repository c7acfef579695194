"""The benchmark of scaling laws: a cell is a training, and the largest run is foretold, not fitted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from project import write_dataset

from benchmarks import scaling
from benchmarks.scaling import Cell, rows_of, train
from mae_core.scaling import Law

LAW = Law(0.1, 5.0, 0.4, 30.0, 0.5)


def told(cell, factor=1.0):
    parameters, samples = 100.0 * cell.width**2, 128.0 * cell.steps
    loss = factor * LAW.loss(parameters, samples)
    return {
        "parameters": parameters,
        "samples": samples,
        "loss": loss,
        "cpu_s": 1.0,
        "flops_per_sample": 6 * parameters,
    }


def cells(tmp_path):
    return [Cell(tmp_path, "d", width, steps, 0) for width in scaling.WIDTHS for steps in scaling.STEPS]


def test_the_largest_run_is_foretold_by_the_others(tmp_path):
    forecast, best = rows_of([(cell, told(cell)) for cell in cells(tmp_path)], "command")
    assert forecast.ours == pytest.approx(forecast.baseline, rel=0.01) and forecast.facts["runs_fitted"] == 11
    assert best.ours > best.baseline  # the largest run is better than all that were fitted


def test_the_largest_run_itself_does_not_enter_its_forecast(tmp_path):
    largest = max(cells(tmp_path))
    honest, other = (
        rows_of([(cell, told(cell, factor if cell == largest else 1.0)) for cell in cells(tmp_path)], "command")[0]
        for factor in (1.0, 2.0)
    )
    assert honest.ours == other.ours and other.baseline == pytest.approx(2 * honest.baseline)


def test_a_cell_is_one_training(tmp_path):
    write_dataset(tmp_path)
    said = json.loads(train(Cell(tmp_path, "tiny", 32, 2, 0)))
    assert said["samples"] % 2 == 0 and said["parameters"] > 1000 and np.isfinite(said["loss"])
