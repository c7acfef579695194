"""Recipes that differ in one thing, each at its best of as many trials, at equal FLOPs: what the sweeps over masks and objectives share.

A sweep has a baseline and variants, each with trials. Every trial is trained with a seed of its own and the best on validation is kept
(where trials are shorter than what is compared, the best few are trained again at its length first); then baseline and variants are
trained with the same fresh seeds and compared on test, pair by pair. After the first seeds the sweep goes on with the baseline and what
is best on validation by then (or what ``--narrow`` names), until that interval is as narrow as was asked or the time is spent; the others
keep the intervals of the first seeds. An interval that is looked at until it is narrow enough covers slightly less than 95 %: 92 to 95 %
in simulations. The length is that of the baseline's training; a variant with dearer steps gets fewer of them, teachers and views counted.
Every finished model is a file, so a sweep that was stopped goes on; what could not be trained is in no pair.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.rows import Row
from benchmarks.spread import file_of, problem_of, spread
from benchmarks.training import Training, recipe_with, training_of
from experiments.recipe import Recipe, load_recipe
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.features import extract
from mae_core.evaluation.knn import knn_predict
from mae_core.evaluation.linear import fit_linear
from mae_core.evaluation.rank import measure_rank
from mae_core.evaluation.statistics import Interval, over_items, over_seeds
from mae_core.training.loop import fit

TUNED_ON = 1000
"""Seed of the trials; those of the comparison begin at 0."""
FINALISTS = 3
"""At most, of shorter trials: the better half of them is trained again."""
NEIGHBOURS = 20
PROBED = 10_000
"""Labelled training samples that probes learn from, at most."""
MEASURES = ("knn", "linear", "effective_rank")
WORDS = {"knn": "knn_accuracy", "linear": "linear_accuracy", "effective_rank": "effective_rank"}
"""How rows of the table call them."""
LEAST_SEEDS = 5
"""For everybody; and so many more at a time where an interval is too wide."""
LOOKED = "stopped by looking: covers slightly less than 95 %"
"""Of intervals that went on beyond the first seeds."""


class Trial(NamedTuple):
    """One way of doing it."""

    changes: Mapping[str, Any] = {}
    """Dotted key of a recipe → value."""
    rate: float = 1.0
    """Times the recipe's peak learning rate."""

    def __str__(self) -> str:
        said = [f"{name.rpartition('.')[2]} {value}" for name, value in self.changes.items()]
        return ", ".join(said + ([f"rate × {self.rate:g}"] if self.rate != 1 or not said else []))


Table = Mapping[str, Sequence[Trial]]
"""Name → its trials; the first is the baseline, at whose first trial the cost is counted."""


class Task(NamedTuple):
    """One training: all that a process needs to do it."""

    root: Path
    dataset: str
    recipe: str | None
    trial: Trial
    seed: int
    flops: float
    """Of the whole training."""
    device: str

    @property
    def file(self) -> str:
        """Another one for everything that changes what is trained."""
        return file_of(self.training().told())

    def training(self) -> Training:
        """Of as many steps as it may cost."""
        whole = described(self.root, self.dataset, self.recipe, self.trial, self.device)
        steps = max(round(self.flops / whole.step_flops), 1)
        rate = whole.settings.lr * self.trial.rate
        return whole._replace(settings=replace(whole.settings, steps=steps, seed=self.seed, lr=rate))


class Cell(NamedTuple):
    """One trained and probed model, or what became of it."""

    steps: int
    seconds: float
    device: str
    loss: float
    validation: dict[str, float]
    test: dict[str, float]
    hits: dict[str, str]
    """By probe: of every test item whether it was right, bits in hexadecimal."""
    problem: str = ""
    """Why there is nothing of all that."""

    def right(self, probe: str, n: int) -> np.ndarray:
        """(n,) 0 or 1."""
        return unpacked(self.hits[probe], n)


@cache
def opened(root: Path, dataset: str, recipe: str | None) -> tuple[Dataset, Recipe]:
    """Both by name, each once a process."""
    return open_dataset(root / "data" / dataset), load_recipe(recipe, root) if recipe else Recipe()


def described(root: Path, dataset: str, recipe: str | None, trial: Trial, device: str) -> Training:
    """A trial as the recipe has it, its rate and length included. Raises RecipeError for changes that it cannot have."""
    data, told = opened(root, dataset, recipe)
    return training_of(root, data, recipe_with(told, trial.changes), device)


def train(task: Task) -> str:
    """Trains and probes; what a cell's file says."""
    training = task.training()
    settings, split = training.settings, training.data.split("train")
    began = time.perf_counter()
    state, last = training.begin(), float("nan")
    every = max(settings.steps // 10, 1)
    for progress in fit(state, split.samples, settings, report_every=every, labels=split.labels, watched=False):
        last = progress.loss
    seconds = round(time.perf_counter() - began, 1)
    found = Cell(settings.steps, seconds, device_name(task.device), last, *probe(state.result(), training.data))
    return json.dumps({**found._asdict(), "trial": str(task.trial), "seed": task.seed}) + "\n"


def read_cell(text: str) -> Cell:
    """What ``train`` said, or why it could not."""
    if problem := problem_of(text):
        return Cell(0, 0.0, "", float("nan"), {}, {}, {}, problem)
    told = json.loads(text)
    return Cell(**{name: told[name] for name in Cell._fields})


def probe(model: Any, data: Dataset) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Measures on validation and on test, and which test items were right. Labelled training samples vote and teach."""
    x, y = {}, {}
    for name in ("train", "validation", "test"):
        split = data.split(name)
        rows = np.flatnonzero(np.asarray(split.labels) >= 0)
        rows = rows[:: -(-len(rows) // PROBED)] if name == "train" else rows
        x[name], y[name] = extract(model, split.samples[rows]), np.asarray(split.labels)[rows]
    linear = fit_linear(x["train"], y["train"], x["validation"], y["validation"])
    measures, hits = {}, {}
    for name in ("validation", "test"):
        guesses = {"knn": knn_predict(x["train"], y["train"], x[name], NEIGHBOURS), "linear": linear.predict(x[name])}
        right = {what: guess == y[name] for what, guess in guesses.items()}
        rank = measure_rank(x[name]).effective_rank
        measures[name] = {what: float(np.mean(one)) for what, one in right.items()} | {"effective_rank": rank}
        hits[name] = {what: np.packbits(one).tobytes().hex() for what, one in right.items()}
    return measures["validation"], measures["test"], hits["test"]


def unpacked(hits: str, n: int) -> np.ndarray:
    """Bits in hexadecimal → (n,) 0 or 1."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(hits), np.uint8))[:n].astype(float)


class Sweep(NamedTuple):
    """What all trainings of a sweep have in common."""

    root: Path
    dataset: str
    recipe: str | None
    flops: float
    tuning_flops: float
    """Of the trials."""
    folder: Path
    device: str
    workers: int
    until: float
    """Of ``time.time()``: after it no training is begun."""
    finalists: int = FINALISTS
    """At most so many of shorter trials are trained again at the whole length."""

    def task(self, trial: Trial, seed: int, flops: float) -> Task:
        """A training of it."""
        return Task(self.root, self.dataset, self.recipe, trial, seed, flops, self.device)

    def cells(self, tasks: Sequence[Task]) -> list[Cell | None]:
        """Of every task, None of those that were not begun in time; says what is done."""
        files = [task.file for task in tasks]
        found: dict[str, Cell] = {}
        for task, text in spread(list(dict(zip(files, tasks)).values()), self.folder, train, self.workers, self.until):
            found[task.file] = cell = read_cell(text)
            told = " ".join(f"{name} {value:.4f}" for name, value in cell.validation.items())
            told += f", {cell.steps} steps in {cell.seconds:.0f} s"
            if cell.problem:
                told = f"{cell.problem}; remove {self.folder / task.file} to have it tried again"
            print(f"  {task.trial} seed {task.seed}: {told}", flush=True)
        return [found.get(file) for file in files]


class Found(NamedTuple):
    """What a sweep gave."""

    chosen: dict[str, Trial]
    cells: dict[str, dict[int, Cell]]
    """By name and seed, of those that could be trained."""
    note: str
    """Whether the intervals are as asked, or the time was spent; and what could not be trained."""
    seeds: int
    """How many everybody was to be trained with."""


def run(
    sweep: Sweep,
    table: Table,
    metric: str,
    seeds: int,
    most_seeds: int,
    half_width: float,
    narrow: Sequence[str] = (),
) -> Found:
    """Trials, then ``seeds`` for everybody, then more for the ``narrow`` until their intervals of ``metric`` are as asked.

    ``narrow``: names of variants; of none given it is the one that is best on validation after the first seeds.

    Raises RuntimeError where no trial of the baseline could be trained.
    """
    chosen = choose(sweep, table, metric)
    baseline = next(iter(table))
    others = [name for name in chosen if name != baseline]
    found: dict[str, dict[int, Cell]] = {name: {} for name in chosen}
    failed: dict[str, None] = {}  # in the order in which they did
    narrow = [name for name in narrow if name in chosen]
    asked, first = list(chosen), min(seeds, most_seeds)
    upto = first
    while True:
        pairs = [(name, seed) for seed in range(upto) for name in asked]
        tasks = [sweep.task(chosen[name], seed, sweep.flops) for name, seed in pairs]
        for (name, seed), cell in zip(pairs, sweep.cells(tasks)):
            if cell is not None and cell.problem:
                failed[f"{name} seed {seed}"] = None
            elif cell is not None:
                found[name][seed] = cell
        if others and not narrow:
            narrow = [best_on_validation({name: found[name] for name in others}, metric)]
        wide = [name for name in narrow if _half(found.get(name, {}), found.get(baseline, {}), metric) > half_width]
        late = time.time() >= sweep.until
        if late or not wide or upto >= most_seeds:
            break
        asked, upto = [baseline, *wide], min(upto + LEAST_SEEDS, most_seeds)
    if wide:
        note = f"{'the time was' if late else f'{most_seeds} seeds were'} spent; wider: {', '.join(wide)}"
    else:
        note = (
            f"half-width of {metric} at most {100 * half_width:g} points: {', '.join(narrow) or 'nothing to compare'}"
        )
    if failed:
        note += f"; failed: {', '.join(failed)}"
    if lost := [name for name in table if name not in chosen]:
        note += f"; without a trained trial: {', '.join(lost)}"
    return Found(chosen, found, note, first)


def choose(sweep: Sweep, table: Table, metric: str) -> dict[str, Trial]:
    """Of each name the trial that is best on validation; names of which nothing was trained in time are left out.

    Shorter trials choose finalists alone, which are trained again as long as what is compared: the rate that is best for half a minute
    is too low for two, and a baseline that has nothing but rates to choose from would carry it into every comparison. A name with one
    finalist has nothing left to choose, and trains none again. What could not be trained at either length is not chosen.

    Raises RuntimeError where no trial of the baseline could be trained.
    """
    ranked: dict[str, list[Trial]] = {}
    for flops in sorted({sweep.tuning_flops, sweep.flops}):
        left = {name: some[: min(sweep.finalists, -(-len(some) // 2))] for name, some in ranked.items()} or table
        pairs = [(name, trial) for name, some in left.items() for trial in some if len(some) > 1 or not ranked]
        ended: dict[str, list[tuple[Cell, Trial]]] = {}
        for (name, trial), cell in zip(pairs, sweep.cells([sweep.task(trial, TUNED_ON, flops) for _, trial in pairs])):
            if cell is not None:
                ended.setdefault(name, []).append((cell, trial))
        for name, some in ended.items():
            tried = [trial for _, trial in some]
            rest = [trial for trial in ranked.get(name, []) if trial not in tried]
            ranked[name] = _best_first(some, metric) + rest
    baseline = next(iter(table))
    if ranked.get(baseline) == []:
        raise RuntimeError(
            f"no trial of the baseline {baseline} could be trained on {sweep.dataset}, so there is nothing to compare with: "
            f"see above why, mend it, and remove their files from {sweep.folder}"
        )
    return {name: some[0] for name, some in ranked.items() if some}


def _best_first(ended: list[tuple[Cell, Trial]], metric: str) -> list[Trial]:
    trained = [one for one in ended if not one[0].problem]
    return [trial for _, trial in sorted(trained, key=lambda one: -one[0].validation[metric])]


def best_on_validation(cells: Mapping[str, Mapping[int, Cell]], metric: str) -> str:
    """The name whose mean over its seeds is highest."""
    return max(cells, key=lambda name: np.mean([cell.validation[metric] for cell in cells[name].values()] or [0]))


def _half(ours: Mapping[int, Cell], theirs: Mapping[int, Cell], metric: str) -> float:
    gains = [ours[seed].test[metric] - theirs[seed].test[metric] for seed in ours if seed in theirs]
    spread = over_seeds(np.array(gains), "") if len(gains) > 1 else None
    return float("inf") if spread is None or not np.isfinite(spread.width) else spread.width / 2


def rows_of(found: Found, table: Table, metric: str, test_items: int, command: str) -> list[Row]:
    """A row for every variant and measure on test: means over seeds, the gain over paired seeds, and its interval over items beside it.

    ``metric`` says who is best on validation. No rows where nothing of the baseline was trained in time.
    """
    baseline = next(iter(table))
    if not found.cells.get(baseline):
        return []
    leader = best_on_validation(found.cells, metric)
    rows = []
    for name, own in found.cells.items():
        both = [seed for seed in own if seed in found.cells[baseline]]
        if not both:
            continue
        ours, theirs = [own[seed] for seed in both], [found.cells[baseline][seed] for seed in both]
        stopped = f"{found.note}; {LOOKED}" if max(both) >= found.seeds else found.note
        for what in MEASURES:
            mine, other = (np.array([cell.test[what] for cell in cells]) for cells in (ours, theirs))
            facts: dict[str, Any] = {
                "chosen": str(found.chosen[name]),
                "trials": len(table[name]),
                "steps": ours[0].steps,
                "seconds": round(float(np.mean([cell.seconds for cell in ours])), 1),
                "device": ours[0].device,
                "validation": round(float(np.mean([cell.validation[what] for cell in ours])), 4),
                "best_on_validation": name == leader,
                "stopped": stopped,
            }
            if name != baseline:
                facts |= gain_facts("gain", over_seeds(mine - other, "paired, pretraining seeds"))
                if what in ours[0].hits:
                    hit, missed = (np.mean([c.right(what, test_items) for c in cells], 0) for cells in (ours, theirs))
                    facts |= gain_facts("over_items", over_items(hit - missed))
            means = float(mine.mean()), float(other.mean())
            ratio = means[0] / means[1] if means[1] else None
            label = f"{name}_{WORDS[what]}_vs_{baseline}"
            rows.append(Row(label, *means, ratio, None, None, len(both), command, facts))
    return rows


def gain_facts(name: str, spread: Interval) -> dict[str, float | None]:
    """A gain and the ends of its interval, None where there is none."""
    low, high = (round(x, 4) if np.isfinite(x) else None for x in (spread.low, spread.high))
    return {name: round(spread.mean, 4), f"{name}_low": low, f"{name}_high": high}


def device_name(device: str) -> str:
    """Of a GPU its name."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"
