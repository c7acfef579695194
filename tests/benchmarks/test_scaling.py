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


@pytest.fixture
def published(monkeypatch):
    """What ``main`` published, of runs that are made up, and the widths that cannot be trained."""
    found, lost = [], []

    def spread(cells, *_):
        return [(cell, json.dumps({"problem": "no"} if cell.width in lost else told(cell))) for cell in cells]

    monkeypatch.setattr(scaling, "spread", spread)
    monkeypatch.setattr(scaling.Cell, "file", "file")
    monkeypatch.setattr(scaling, "publish", lambda name, rows: found.append((name, rows[0])))
    return found, lost


def test_other_data_and_runs_have_a_table_of_their_own(published):
    found, _ = published
    scaling.main([])
    scaling.main(["--dataset", "spots", "--steps", "150", "450"])
    assert [name for name, _ in found] == ["scaling", "scaling-dataset-spots-steps-150-450"]
    assert found[1][1].command.endswith("--dataset spots --widths 32 64 128 256 --steps 150 450 --seeds 1")


def test_what_could_not_be_trained_is_left_out_but_for_the_largest(published):
    found, lost = published
    lost.append(64)
    scaling.main([])
    assert found[0][1].facts["runs_fitted"] == 8
    lost.append(256)
    with pytest.raises(SystemExit, match="width 256 could not be trained for 1350 steps"):
        scaling.main([])


def test_other_labels_are_another_cell(tmp_path):
    for name in ("one", "other"):
        write_dataset(tmp_path / name, labels=np.roll(np.arange(240) % 3, name == "other"))
    one, other = (Cell(tmp_path / name, "tiny", 32, 2, 0) for name in ("one", "other"))
    assert one.training().config == other.training().config and one.file != other.file


def test_a_cell_is_one_training(tmp_path):
    write_dataset(tmp_path)
    said = json.loads(train(Cell(tmp_path, "tiny", 32, 2, 0)))
    assert said["samples"] % 2 == 0 and said["parameters"] > 1000 and np.isfinite(said["loss"])
