"""Ten seconds that tell how fast this machine trains: a dozen small fixed models, none of a recipe, are timed in turn.

They differ in what rules a step: calls, matrix products, large or small tensors, text, tables, series, both precisions. How much memory a
process takes for each byte that its tensors hold is measured beside it, once with equal steps and once with mask ratios that change, which
leaves holes between what is kept.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from experiments.fresh import as_a_worker, measured, say, used
from experiments.made_up import Made, models
from mae_core.memory import MB
from mae_core.speed import Rates, Timed, alone, fitted
from mae_core.training.loop import fit, start
from mae_core.training.state import Saver, TrainState
from mae_core.work import Work, count

SECONDS = 10.0
"""Of timing; building the models takes a few more."""
ROUNDS = 5
"""Visits of each model, so that a busy moment of the machine touches few of them."""
STEPS = 25
"""Until a process whose mask ratios change has taken what it will take."""
SPREAD = 0.2
"""Of the mask ratios that change."""


class Machine(NamedTuple):
    """What a training takes here; CPU seconds are of all threads together."""

    cpu: Rates
    wall_share: float
    """Seconds of the clock for each of CPU, where nothing else runs."""
    start_cpu: float
    """Seconds until the first step is done: libraries and a tiny step."""
    save_s: float
    """To save a checkpoint of nothing."""
    save_s_per_mb: float
    base_mb: float
    """Of a process that has trained a tiny model."""
    slack: float
    """Memory taken for each byte that tensors hold at once."""
    slack_of_many: float
    """The same where mask ratios change."""


class _Training:
    """A made-up model and the times of its steps."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.state: TrainState = start(made.config, made.settings)
        self._run = fit(self.state, made.samples, made.settings, report_every=1)
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def step(self) -> None:
        """A step that is not timed."""
        next(self._run)

    def visit(self, seconds: float) -> None:
        """Times steps for so long, after one that warms up."""
        self.step()
        ends = time.process_time() + seconds
        while not self.cpu or time.process_time() < ends:
            cpu, wall = time.process_time(), time.perf_counter()
            self.step()
            self.cpu.append(time.process_time() - cpu)
            self.wall.append(time.perf_counter() - wall)


def timed(seconds: float) -> dict[str, Any]:
    """Everything but ``slack_of_many``, in a process that has trained nothing before."""
    made = models()
    trainings = [_Training(made[0])]
    trainings[0].step()
    begun = used()
    trainings.append(_Training(made[1]))
    for _ in range(ROUNDS):
        trainings[1].step()
    grown = used()
    trainings += [_Training(one) for one in made[2:]]
    for _ in range(ROUNDS):
        for training in trainings:
            training.visit(seconds / ROUNDS / len(trainings))
    counted = [count(one.config, one.settings, one.samples) for one in made]
    sizes = [one.state_bytes / MB for one in counted]
    largest = sizes.index(max(sizes))
    small, large = save_seconds(trainings[0].state), save_seconds(trainings[largest].state)
    per_mb = max(large - small, 0.0) / (sizes[largest] - sizes[0])
    pairs = list(zip(counted, trainings))
    return Machine(
        cpu=fitted([Timed(one.work, median(training.cpu)) for one, training in pairs], alone()),
        wall_share=median(min(training.wall) / min(training.cpu) for training in trainings),
        start_cpu=begun.cpu_s,
        save_s=max(small - per_mb * sizes[0], 0.0),
        save_s_per_mb=per_mb,
        base_mb=begun.peak_mb,
        slack=max((grown.peak_mb - begun.peak_mb) * MB / counted[1].peak_bytes, 1.0),
        slack_of_many=0.0,
    )._asdict()


def save_seconds(state: TrainState) -> float:
    """CPU seconds of saving a checkpoint, the best of three."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            begun = time.process_time()
            with Saver(Path(folder), "measured") as saver:
                saver.save(state)
            found.append(time.process_time() - begun)
    return min(found)


def changing() -> dict[str, Any]:
    """``slack_of_many``, in a process that has trained nothing before."""
    tiny, large = models()[:2]
    _Training(tiny).step()
    begun = used()
    config = {**large.config, "masking": {**large.config["masking"], "ratio_spread": SPREAD}}
    large = large._replace(config=config, settings=replace(large.settings, steps=STEPS))
    training = _Training(large)
    for _ in range(STEPS):
        training.step()
    grown = used().peak_mb - begun.peak_mb
    held = count(large.config, large.settings, large.samples).peak_bytes
    return {"slack_of_many": max(grown * MB / held, 1.0)}


def calibrated(root: Path, threads: int, seconds: float = SECONDS) -> Machine:
    """Measures this machine with so many threads, in two fresh processes."""
    found = measured("experiments.calibration", {"seconds": seconds}, root, threads)
    found |= measured("experiments.calibration", {}, root, threads)
    return machine_of(found)


def machine_of(found: dict[str, Any]) -> Machine:
    """A ``Machine`` of its plain values. Raises KeyError, TypeError or ValueError where they are not those of one."""
    rates = Rates(Work(*map(float, found["cpu"][0])))
    return Machine(rates, *(float(found[name]) for name in Machine._fields[1:]))


if __name__ == "__main__":
    asked = as_a_worker()
    say(timed(asked["seconds"]) if asked else changing())
