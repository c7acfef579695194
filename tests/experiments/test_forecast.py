"""Forecasts: the arithmetic, what is printed, what is kept of a machine, and a tiny recipe measured for real."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from project import make_project

from experiments import calibration, forecast, measuring
from experiments.calibration import Machine, machine_of
from experiments.forecast import Forecast, duration, from_machine, from_steps, lines, mapped_mb, training_of
from experiments.made_up import models
from experiments.measuring import Steps
from experiments.recipe import load_recipe
from experiments.resolving import resolve
from mae_core.data.dataset import open_dataset
from mae_core.memory import MB
from mae_core.speed import Rates
from mae_core.work import Counted, Work

MACHINE = Machine(Rates(Work(1e-3, *[0.0] * 7)), 0.5, 4.0, 0.1, 0.01, 300.0, 2.0, 3.0)
COUNTED = Counted(Work(100.0, *[1.0] * 7), 50e6, 10e6)
STEPS = Steps(40, 0.2, 0.1, 5.0, 6.0, 0.5, 400.0, 0.001, 0.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("forecast") / "p", pretrain={"seeds": [0, 1]})


@pytest.fixture(scope="module")
def training(root):
    recipe, dataset = load_recipe("tiny", root), open_dataset(root / "data" / "tiny")
    found = training_of(recipe, dataset, resolve(recipe, dataset.info, {}, "image", root), root)
    return found._replace(placement=found.placement._replace(cpus=1))


def test_seconds_are_start_steps_and_checkpoints(training):
    assert (training.steps, training.saves, training.seeds) == (60, 3, 2)
    found = from_machine(training, MACHINE, COUNTED)
    steps = 60 * 100 * 1e-3 + 3 * (0.1 + 0.01 * 10)
    assert found.cpu_s == pytest.approx(4 + steps) and found.wall_s == pytest.approx(4 + steps / 2)


def test_memory_is_libraries_tensors_and_data(training):
    found = from_machine(training, MACHINE, COUNTED)
    assert found.peak_mb == pytest.approx(300 + 2 * 50 + mapped_mb(training))
    assert found.peak_mb > COUNTED.state_bytes / MB


def test_ratios_that_change_take_more_memory(training):
    config = {**training.resolved.config, "masking": {**training.resolved.config["masking"], "ratio_spread": 0.1}}
    several = training._replace(resolved=training.resolved._replace(config=config))
    more = from_machine(several, MACHINE, COUNTED).peak_mb - from_machine(training, MACHINE, COUNTED).peak_mb
    assert more == pytest.approx(50)


def test_data_is_the_file_or_what_a_short_training_sees(training):
    assert mapped_mb(training) == pytest.approx(training.samples.stat().st_size / MB)
    settings = replace(training.resolved.settings, steps=1, batch_size=1)
    short = training._replace(resolved=training.resolved._replace(settings=settings))
    assert mapped_mb(short) <= (64 + forecast.AROUND) / MB


def test_own_steps_are_multiplied(training):
    found = from_steps(training, STEPS)
    assert found.cpu_s == pytest.approx(5 + 59 * 0.2 + 3 * 0.5) and found.wall_s == pytest.approx(6 + 59 * 0.1 + 1.5)
    assert found.peak_mb == pytest.approx(400 + mapped_mb(training) - 0.001)
    assert "40 of its own steps" in found.how


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (750, "12 min 30 s"), (11100, "3 h 05 min")],
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert duration(seconds) == text


def test_what_is_said_names_seeds_workers_threads_and_cost(training):
    found = Forecast(7200.0, 3600.0, 512.4, "from 40 of its own steps")
    said = dict(lines(training, found, 1.5))
    assert said["time"] == "1 h 00 min for each of 2 seeds, 2 h 00 min of CPU on 1 thread; from 40 of its own steps"
    assert said["peak memory"].startswith("512 MB of its process")
    assert said["cost"] == "3.00: 2.00 hours of this machine at 1.5 an hour"
    assert "cost" not in dict(lines(training, found, None))
    two = training._replace(placement=training.placement._replace(workers=2, cpus=2))
    said = dict(lines(two, found, None))
    assert "of one of 2 workers, without what they tell each other" in said["time"] and "2 threads" in said["time"]


def test_a_gpu_that_was_not_measured_goes_at_a_stated_share_of_its_peak(training):
    on_gpu = training._replace(placement=training.placement._replace(gpu=True))
    said = dict(forecast.gpu_lines(on_gpu, "NVIDIA H100 80GB HBM3", 2.0))
    assert "at 30% of the peak of 1 × NVIDIA H100 80GB HBM3" in said["time"] and "--measure" in said["time"]
    assert said["cost"].startswith("0.00: 0.00 hours")
    assert forecast.gpu_lines(on_gpu, "Some GPU", 2.0) == [
        ("time", "not known of Some GPU: --measure runs the first steps on it")
    ]


def test_a_machine_is_kept_for_its_threads_and_library_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, "calibrated", lambda root, threads: MACHINE)
    assert forecast.known_machine(tmp_path, 1) is None
    assert forecast.calibrate(tmp_path, 1) == MACHINE
    assert forecast.known_machine(tmp_path, 1) == MACHINE
    assert forecast.known_machine(tmp_path, 2) is None
    path = tmp_path / "runs" / "machine.json"
    other = {**json.loads(path.read_text()), "torch": "1.0"}
    for text in (json.dumps(other), "{", "[]", json.dumps({**other, "torch": torch.__version__, "cpu": 3})):
        path.write_text(text)
        assert forecast.known_machine(tmp_path, 1) is None


def test_made_up_models_differ_from_each_other_and_train():
    each = models()
    assert len({json.dumps([one.config, one.settings.batch_size]) for one in each}) == len(each)
    assert {one.config["modality"]["kind"] for one in each} == {"image", "text", "table", "series"}
    assert {one.settings.precision for one in each} == {"auto", "fp32"}


def test_this_machine_is_measured(monkeypatch):
    """Few models and little time: the values are there and in order, no time is asserted."""
    few = [models()[n] for n in (0, 10, 12)]
    monkeypatch.setattr(calibration, "models", lambda: few)
    found = machine_of(calibration.timed(0.1))
    assert all(rate > 0 for rate in found.cpu.each) and found.start_cpu > 0 and found.save_s >= 0
    assert found.base_mb > 50 and found.slack >= 1


def test_a_tiny_recipe_is_measured_and_forecast_in_the_right_order(root, training):
    """Twice the steps take longer, and what its own process took is above the libraries and below a gigabyte or two."""
    found = forecast.measure(training, root)
    assert 0 < found.cpu_s < 300 and 100 < found.peak_mb < 3000
    machine = Machine(Rates(Work(1e-5, *[1e-11] * 7)), 1.0, 4.0, 0.1, 0.01, 300.0, 2.0, 3.0)
    short = forecast.look(training, machine)
    settings = replace(training.resolved.settings, steps=600)
    long = forecast.look(training._replace(resolved=training.resolved._replace(settings=settings)), machine)
    assert 4 < short.cpu_s < long.cpu_s < 10 * short.cpu_s
    assert not any((root / "runs").glob("*")) and not any((root / "models").glob("*"))


@pytest.mark.parametrize("steps", [1, 3, 60])
def test_steps_come_from_all_over_the_training(monkeypatch, steps):
    """By a clock that moves on when it is asked: every eighth is visited, and the training never ends."""
    state, before, clock = SimpleNamespace(step=0), [], count(0, 0.01)
    tick = partial(next, clock)
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=tick, process_time=tick))

    def fit():
        while state.step < steps:
            before.append(state.step)
            state.step += 1
            yield

    run = fit()
    next(run)
    found = list(measuring._steps(state, run, steps, 5.0, torch.device("cpu")))
    assert len(found) >= len(measuring.ORDER) and all(cpu > 0 and wall > 0 for cpu, wall in found)
    assert max(before) < steps and len({step * 8 // steps for step in before}) == min(steps, 8)


def test_a_training_is_timed_and_nothing_is_learned(training, tmp_path):
    found = measuring.timed(training.job(tmp_path), training.rows, torch.device("cpu"), 0.1)
    assert found.timed >= 1 and found.cpu_s > 0 and found.device_mb == 0 and found.touched_mb > 0


def test_a_measurement_that_fails_says_why(training, root):
    broken = training._replace(features_from=None, init_from="nowhere")
    with pytest.raises(RuntimeError, match=r"measuring failed \(experiments\.measuring\): .*nowhere"):
        forecast.measure(broken, root)
