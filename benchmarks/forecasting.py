"""Forecasts beside what the trainings then took: CPU time and peak memory of recipes that did not calibrate them.

``python -m benchmarks.forecasting`` writes benchmarks/out/forecasting.json. The machine is measured once, by models that no recipe has;
then each recipe is forecast from that, and from its own first steps, and trained for ``--steps`` steps in a fresh process of one thread.
The datasets have to be prepared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.rows import Row, publish
from experiments.calibration import Machine, calibrated
from experiments.forecast import Forecast, Training, look, measure, training_of
from experiments.fresh import as_a_worker, measured, say, used
from experiments.recipe import load_recipe
from experiments.resolving import resolve
from experiments.train import Job, train_here
from mae_core.data.dataset import open_dataset
from mae_core.training.world import World

PAIRS = (
    "digits:mnist5k",
    "cifar10_subset:cifar10_subset",
    "spoken_digits:spoken_digits",
    "shakespeare:tinyshakespeare",
    "banking77:banking77",
    "adult:adult",
    "table_small:breast_cancer_sklearn",
    "series_small:ucr_power_cons",
    "pollution:pollution",
)
"""Recipe and dataset."""


class Took(NamedTuple):
    """What a training took."""

    cpu_s: float
    peak_mb: float


class Outcome(NamedTuple):
    """Of one recipe."""

    recipe: str
    machine: Forecast
    own: Forecast
    took: Took


def shortened(pair: str, steps: int, root: Path) -> Training:
    """The training of ``recipe:dataset``, of so many steps on one thread."""
    name, _, dataset_name = pair.partition(":")
    recipe, dataset = load_recipe(name, root), open_dataset(root / "data" / dataset_name)
    resolved = resolve(recipe, dataset.info, {}, dataset.modality, root)
    resolved = resolved._replace(settings=replace(resolved.settings, steps=steps))
    training = training_of(recipe, dataset, resolved, root)
    return training._replace(placement=training.placement._replace(workers=1, gpu=False, cpus=1))


def trained(training: Training, root: Path) -> Took:
    """Trains it as a worker does."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"job": training.job(Path(folder))._asdict()}
        return Took(**measured("benchmarks.forecasting", given, root, training.placement.cpus, "--work"))


def outcomes(pairs: list[str], steps: int, machine: Machine, root: Path) -> list[Outcome]:
    """Each recipe forecast and trained, in turn."""
    found = []
    trainings = [shortened(pair, steps, root) for pair in pairs]  # all, so that a dataset that lacks is told at once
    for pair, training in zip(pairs, trainings):
        one = Outcome(pair.partition(":")[0], look(training, machine), measure(training, root), trained(training, root))
        print(
            f"{one.recipe}: {one.took.cpu_s:.1f} s of CPU, forecast {one.machine.cpu_s:.1f} and {one.own.cpu_s:.1f}; "
            f"{one.took.peak_mb:.0f} MB, forecast {one.machine.peak_mb:.0f} and {one.own.peak_mb:.0f}",
            flush=True,
        )
        found.append(one)
    return found


def rows(found: list[Outcome], command: str, **facts: Any) -> list[Row]:
    """Median errors first, from the machine's rates beside those from own steps, then every recipe."""
    made = []
    for what, field in (("cpu_time", "cpu_s"), ("peak_memory", "peak_mb")):
        errors = {
            way: np.array([abs(getattr(getattr(one, way), field) / getattr(one.took, field) - 1) for one in found])
            for way in ("machine", "own")
        }
        ours, theirs = (float(np.median(errors[way])) for way in ("machine", "own"))
        worst = {f"worst_from_{way}": float(each.max()) for way, each in errors.items()}
        name = f"median_error_of_{what}_from_machine_vs_own_steps"
        made.append(Row(name, ours, theirs, ours / max(theirs, 1e-9), None, None, len(found), command, worst | facts))
    for one in found:
        for unit, field in (("cpu_s", "cpu_s"), ("mb", "peak_mb")):
            took = getattr(one.took, field)
            for way, label in (("machine", "forecast"), ("own", "forecast_of_own_steps")):
                said = getattr(getattr(one, way), field)
                made.append(Row(f"{one.recipe}_{label}_vs_run_{unit}", said, took, said / took, None, None, 1, command))
    return made


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(PAIRS), metavar="RECIPE:DATASET")
    parser.add_argument("--steps", type=int, default=400)
    given = parser.parse_args()
    named = "" if given.recipes == list(PAIRS) else f" --recipes {' '.join(given.recipes)}"
    command = f"python -m benchmarks.forecasting --steps {given.steps}{named}"
    torch.set_num_threads(1)
    root = Path.cwd()
    machine = calibrated(root, 1)
    publish("forecasting", rows(outcomes(given.recipes, given.steps, machine, root), command, steps=given.steps))


def work() -> None:
    """The training that ``trained`` waits for, in this process."""
    train_here(Job(**as_a_worker()["job"]), World(), torch.device("cpu"))
    took = used()
    say(Took(took.cpu_s, took.peak_mb)._asdict())


if __name__ == "__main__":
    work() if "--work" in sys.argv else main()
