"""How the error falls with width and with samples seen, and whether small runs foretell a large one. Can be stopped and gone on with.

``python -m benchmarks.scaling --dataset mnist`` trains every width for every length (a complete schedule each), fits
L(N, D) = floor + a N^-alpha + b D^-beta (``mae_core.scaling``) to all but the largest run and compares its forecast with that run,
beside the forecast that nothing improves over the best run fitted. L is the share of the best constant's error that is left on fixed masks
of validation samples, in raw units; N counts the encoder's and decoder's weights, D samples of all epochs. Writes
benchmarks/out/scaling.json, of other data and runs under a longer name; finished runs are files beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.commands import again, table_name
from benchmarks.rows import OUT, Row, publish
from benchmarks.spread import file_of, problem_of, spread
from benchmarks.training import Training, training_of
from experiments.proxies import Subject, measure_proxies
from experiments.recipe import Recipe
from mae_core.data.dataset import open_dataset
from mae_core.scaling import Run, fit_law
from mae_core.training.loop import fit

WIDTHS = (32, 64, 128, 256)
STEPS = (150, 450, 1350)
HEAD = 32
"""Width of an attention head: heads grow in number."""
REPEATED = ("dataset", "widths", "steps", "seeds")
"""Options that decide what stands in a table; its name tells of all but the seeds."""


class Cell(NamedTuple):
    """One training."""

    root: Path
    dataset: str
    width: int
    steps: int
    seed: int

    @property
    def file(self) -> str:
        """Of what it gave; another one for everything that changes what is trained."""
        return f"{self.width}-{self.steps}-{self.seed}-{file_of(self.training().told())}"

    def training(self) -> Training:
        """The default recipe at this width, predicting plain pixels; the decoder is half as wide."""
        data = open_dataset(self.root / "data" / self.dataset)
        encoder = {"width": self.width, "heads": max(self.width // HEAD, 1)}
        decoder = {"width": max(self.width // 2, 32), "heads": max(self.width // 2 // HEAD, 1)}
        recipe = Recipe.model_validate(
            {"model": {"encoder": encoder, "decoder": decoder}, "objective": {"target": "pixels"}}
        )
        whole = training_of(self.root, data, recipe, "cpu")
        return whole._replace(settings=replace(whole.settings, steps=self.steps, seed=self.seed))


def train(cell: Cell) -> str:
    """Trains a cell and measures it; what its file says."""
    training = cell.training()
    data, settings = training.data, training.settings
    begun = time.process_time()
    state = training.begin()
    for _ in fit(state, data.split("train").samples, settings, report_every=cell.steps):
        pass
    seconds = time.process_time() - begun
    model = state.result()
    found = measure_proxies(Subject(model, data, settings.precision), ["explained"], [])
    run = Run(
        sum(p.numel() for p in model.parameters() if p.requires_grad),
        cell.steps * settings.batch_size,
        1 - found.values["explained"],
    )
    per_sample = training.step_flops / settings.batch_size
    return json.dumps({**run._asdict(), "cpu_s": seconds, "flops_per_sample": per_sample}) + "\n"


def rows_of(cells: list[tuple[Cell, dict[str, float]]], command: str) -> list[Row]:
    """The forecast of the largest run, beside that run and beside the best of those the law was fitted to."""
    runs = [(cell, Run(*(told[name] for name in Run._fields))) for cell, told in cells]
    largest = max((cell.width, cell.steps) for cell, _ in runs)
    fitted = [run for cell, run in runs if (cell.width, cell.steps) != largest]
    held_out = [run for cell, run in runs if (cell.width, cell.steps) == largest]
    law = fit_law(fitted)
    real = sum(run.loss for run in held_out) / len(held_out)
    foretold = law.loss(held_out[0].parameters, held_out[0].samples)
    per_parameter = max(told["flops_per_sample"] / told["parameters"] for _, told in cells)
    budget = per_parameter * held_out[0].parameters * held_out[0].samples
    facts = {**law._asdict(), "runs_fitted": len(fitted), "cpu_s": sum(told["cpu_s"] for _, told in cells)}
    if min(law.alpha, law.beta) > 0:
        best = law.best(budget, per_parameter)
        facts |= {"best_parameters_at_its_cost": best.parameters, "best_samples_at_its_cost": best.samples}
    seen = min(run.loss for run in fitted)
    return [
        _row("largest_run_error_forecast_vs_run", foretold, real, len(held_out), command, facts),
        _row("largest_run_error_best_small_run_vs_run", seen, real, len(held_out), command, {}),
    ]


def _row(name: str, ours: float, theirs: float, n: int, command: str, facts: dict[str, float]) -> Row:
    return Row(name, ours, theirs, ours / theirs, None, None, n, command, facts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is missing, fits, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist", help="a prepared one")
    parser.add_argument("--widths", type=int, nargs="+", default=list(WIDTHS))
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--root", type=Path, default=Path())
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cells = [
        Cell(given.root, given.dataset, width, steps, seed)
        for width in given.widths for steps in given.steps for seed in range(given.seeds)
    ]  # fmt: skip
    folder = OUT / f"scaling-{given.dataset}"
    found = []
    for cell, text in spread(cells, folder, train, given.workers):
        if problem := problem_of(text):
            print(
                f"width {cell.width:>4} steps {cell.steps:>5} seed {cell.seed}: {problem}; left out, it is {folder / cell.file}"
            )
        else:
            found.append((cell, json.loads(text)))
    largest = (max(given.widths), max(given.steps))
    if not any((cell.width, cell.steps) == largest for cell, _ in found):
        raise SystemExit(
            f"width {largest[0]} could not be trained for {largest[1]} steps, so no forecast can be judged: see above why"
        )
    for cell, told in sorted(found, key=lambda one: one[0][2:]):
        error, cost = told["loss"], math.prod(told[name] for name in ("flops_per_sample", "samples")) / 1e12
        print(
            f"width {cell.width:>4} steps {cell.steps:>5}: error {error:.4f}, {cost:.2f} TFLOP, {told['cpu_s']:.0f} s"
        )
    command = again("python -m benchmarks.scaling", given, REPEATED)
    publish(table_name("scaling", parser, given, REPEATED[:-1]), rows_of(found, command))


if __name__ == "__main__":
    main()
