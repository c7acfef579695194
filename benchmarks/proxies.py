"""``python -m benchmarks.proxies``: which measure after a tenth of the training tells who will be best after all of it.

Twenty-four configurations, listed beforehand in ``benchmarks/proxies.yaml``, are trained at a tenth and at the whole of the final run's
FLOPs. Every proxy, and the training loss, is rank-correlated at a tenth with the linear probe of the whole run on test; the regret of
choosing by it stands beside the spread over seeds. Then the platform's own searches are compared with the best of twenty configurations
made by hand, every run at equal FLOPs; ``--search`` names those that are compared, and leaves the ranking out. Each training is a file
of ``benchmarks/out/proxies-<recipe>``: the same command goes on from there. What cannot be trained is a file that says so, and in no
correlation and no mean.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from scipy.stats import rankdata

from benchmarks.commands import again, table_name
from benchmarks.rows import OUT, Row, publish
from benchmarks.spread import TimeSpent, file_of, problem_of, spread
from benchmarks.training import Training, recipe_with, training_of
from benchmarks.variants import gain_facts, probe, unpacked
from experiments.goals import LOSS, METRICS, PROXIES, oriented
from experiments.halving import Job, Outcome, Player, halving, most
from experiments.params import recipe_row
from experiments.proxies import Subject, measure_proxies
from experiments.recipe import Recipe, SearchSection, load_recipe
from experiments.space import narrow, parse_space
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.statistics import over_items, over_seeds, rank_correlation
from mae_core.flops import encode_flops
from mae_core.training.loop import fit

COMMAND = "python -m benchmarks.proxies"
REPEATED = ("recipe", "steps", "first", "ranking_alone", "search", "short_batch", "short_rate")
"""Options that decide what stands in a table; the name of one tells of all but the first."""
LISTED = Path(__file__).with_name("proxies.yaml")
TENTH, WHOLE = 0.1, 1.0
SEEDS = (0, 1, 2)
"""Of the first that is listed, for the spread."""
FINALS = (0, 1, 2, 3, 4)
"""Seeds of the search's pick and of the best by hand; everything else is trained from the first."""


class Course(NamedTuple):
    """How everything of a bench is trained."""

    root: Path
    recipe: str
    steps: int | None = None
    """Of a final run, in place of the recipe's."""
    batch: int | None = None
    """In place of the recipe's, with steps that see as many samples."""
    rate: float = 1.0
    """Times the recipe's peak learning rate."""


class Opened(NamedTuple):
    """A recipe in which nothing that the lists name is pinned, on its dataset."""

    recipe: Recipe
    dataset: Dataset


class Cell(NamedTuple):
    """One training: all that a process needs to do it."""

    course: Course
    chosen: dict[str, Any]
    share: float
    """FLOPs over those of the final run."""
    seed: int

    @property
    def file(self) -> str:
        """Another one for everything that changes what is trained and measured."""
        return file_of(planned(self).told(), self.share == WHOLE)


class Measured(NamedTuple):
    """What a cell gave."""

    proxies: dict[str, float]
    """On validation; ``loss`` among them."""
    test: float
    """Accuracy of the linear probe, its strength chosen on validation; NaN of shorter runs, which nobody chooses."""
    validation: float
    """Of the same probe."""
    flops: float
    encode_flops: float
    parameters: int
    steps: int
    seconds: float
    hits: str = ""
    """Of every labelled test sample whether that probe was right, bits in hexadecimal; of shorter runs none."""
    problem: str = ""
    """Why there is nothing of all that."""


@cache
def opened(course: Course) -> Opened:
    """By name, once a process."""
    described, dataset = load_recipe(course.recipe, course.root), recipe_row(course.recipe, course.root).dataset
    pretrain = described.pretrain.model_dump()
    pretrain["steps"] = course.steps or pretrain["steps"]
    if course.batch:
        pretrain["steps"] = pretrain["steps"] * pretrain["batch_size"] // course.batch
        pretrain["batch_size"] = course.batch
    listed = yaml.safe_load(LISTED.read_text())
    named = {name for one in (*listed["listed"], *listed["handmade"], listed["space"]) for name in one}
    free: dict[str, Any] = dict.fromkeys([*named, "model.encoder.heads", "model.decoder.heads"], "auto")
    free |= {"pretrain": pretrain, "search": {"space": course.recipe}}
    return Opened(recipe_with(described, free), open_dataset(course.root / "data" / dataset))


def planned(cell: Cell) -> Training:
    """What a cell's model is, and how it is trained."""
    of = opened(cell.course)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole = training_of(cell.course.root, of.dataset, of.recipe, device, cell.chosen)
    steps = max(round(cell.share * whole.settings.steps), 1)
    rate = cell.course.rate * whole.settings.lr
    return whole._replace(settings=replace(whole.settings, steps=steps, seed=cell.seed, lr=rate))


def train(cell: Cell) -> str:
    """Trains and measures; what a cell's file says."""
    began = time.perf_counter()
    training = planned(cell)
    dataset, settings, split = training.data, training.settings, training.data.split("train")
    state, every = training.begin(), max(settings.steps // 100, 1)
    reports = fit(state, split.samples, settings, report_every=every, labels=split.labels, watched=False)
    losses = [(p.step, p.loss) for p in reports]
    model = state.result()
    proxies = measure_proxies(Subject(model, dataset, settings.precision), [], list(PROXIES)).values
    proxies[LOSS] = float(np.mean([loss for step, loss in losses if step > 0.9 * settings.steps]))
    validation, test, hits = math.nan, math.nan, ""
    if cell.share == WHOLE:
        validations, tests, right = probe(model, dataset)
        validation, test, hits = validations["linear"], tests["linear"], right["linear"]
    found = Measured(
        proxies,
        test,
        validation,
        settings.steps * training.step_flops,
        encode_flops(training.config),
        sum(p.numel() for p in model.parameters()),
        settings.steps,
        round(time.perf_counter() - began, 1),
        hits,
    )
    return json.dumps({**found._asdict(), "chosen": cell.chosen, "share": cell.share, "seed": cell.seed}) + "\n"


def read_measured(text: str) -> Measured:
    """What ``train`` said, or why it could not."""
    if problem := problem_of(text):
        return Measured({}, np.nan, np.nan, 0.0, 0.0, 0, 0, 0.0, problem=problem)
    told = json.loads(text)
    return Measured(**{name: told[name] for name in Measured._fields if name in told})


class Bench(NamedTuple):
    """A course, and where what it gave is kept."""

    course: Course
    folder: Path
    workers: int = 1
    measure: Callable[[Cell], str] = train
    until: float = math.inf
    """Of ``time.time()``: after it no training is begun."""

    def cell(self, chosen: dict[str, Any], share: float, seed: int = SEEDS[0]) -> Cell:
        """A training of it."""
        return Cell(self.course, chosen, share, seed)

    def run(self, cells: Sequence[Cell]) -> list[Measured]:
        """Trains what is not there yet, and says what is done. Raises TimeSpent where not everything was begun in time."""
        files, found = [cell.file for cell in cells], {}
        once = list(dict(zip(files, cells)).values())
        for cell, text in spread(once, self.folder, self.measure, self.workers, self.until):
            found[cell.file] = one = read_measured(text)
            told = f"knn {one.proxies.get('knn', np.nan):.4f}, {one.seconds:.0f} s"
            if one.problem:
                told = f"{one.problem}; remove {self.folder / cell.file} to have it tried again"
            print(f"  {cell.chosen} × {cell.share:g} seed {cell.seed}: {told}", flush=True)
        if len(found) < len(once):
            raise TimeSpent(len(found), len(once), self.folder)
        return [found[file] for file in files]


def ranking(bench: Bench, configurations: list[dict[str, Any]], short: Bench) -> Iterator[Row]:
    """A row per metric of a search: its rank correlation at a tenth with the whole run's probe, and the regret of choosing by it in points.

    ``short`` trains the tenths: ``bench`` itself, or one with another batch or rate. A configuration that could not be trained at both
    lengths is left out, and named. Raises RuntimeError where none could.
    """
    early = short.run([short.cell(one, TENTH) for one in configurations])
    whole = bench.run([bench.cell(one, WHOLE) for one in configurations])
    repeats = bench.run([bench.cell(configurations[0], WHOLE, seed) for seed in SEEDS])
    seeds = [one.test for one in repeats if not one.problem]
    noise = 100 * float(np.std(seeds, ddof=1)) if len(seeds) > 1 else np.nan
    well = [at for at, (first, last) in enumerate(zip(early, whole)) if not (first.problem or last.problem)]
    if not well:
        raise RuntimeError(f"no configuration could be trained at both lengths: see above why, and {bench.folder}")
    lost = [str(one) for at, one in enumerate(configurations) if at not in well]
    early, final = [early[at] for at in well], np.array([whole[at].test for at in well])
    found: dict[str, dict[str, Any]] = {}
    for name in (*METRICS, LOSS):
        values = judged(name, early)
        if not np.isfinite(values).any():
            continue
        rank, top = rank_correlation(values, final), final >= np.median(final)
        if not np.isfinite(rank.mean):  # a proxy that is the same everywhere ranks nothing
            continue
        better = rank_correlation(values[top], final[top])
        regret = 100 * float(final.max() - final[int(np.nanargmax(values))])
        facts = {"top_half": better.mean, "top_low": better.low, "top_high": better.high, "regret_points": regret}
        seconds = float(np.mean([one.seconds for one in early]))
        found[name] = {"rank": rank, "facts": {**facts, "seed_sd_points": noise, "seconds": seconds}}
    for name, one in found.items():
        rank = one["rank"]
        told: dict[str, Any] = {key: _none(value) for key, value in one["facts"].items()}
        told |= {"failed": lost} if lost else {}
        against = _none(found[LOSS]["rank"].mean) if name != LOSS and LOSS in found else None
        row = f"{name}_at_a_tenth_rank_correlation" + ("_vs_training_loss" if name != LOSS else "")
        yield Row(row, float(rank.mean), against, None, _none(rank.low), _none(rank.high), rank.n, COMMAND, told)


def judged(name: str, found: Sequence[Measured]) -> np.ndarray:
    """(n,): what a metric or the loss says of each, more is better; of a metric of several proxies the mean of their ranks."""
    columns = [[oriented(p, one.proxies.get(p, np.nan)) for one in found] for p in METRICS.get(name, (name,))]
    return np.array(columns[0]) if len(columns) == 1 else np.mean([rankdata(column) for column in columns], 0)


def _none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def against_hand(
    bench: Bench, handmade: list[dict[str, Any]], space: dict[str, Any], name: str, rules: SearchSection
) -> Row:
    """The choice of the search ``name`` beside the best of the handmade on validation, both trained whole on several seeds, on test.

    The gain has its interval over pretraining seeds, and beside it that over test samples. What each cost in final runs is told, too;
    seeds after the first are for the comparison, and in no cost. Seeds on which one of both could not be trained are left out, and named.
    Raises RuntimeError where nothing is left to compare.
    """
    of = opened(bench.course)
    narrowed = narrow(
        parse_space(space, str(LISTED)), of.recipe, of.dataset.info, of.dataset.modality, bench.course.root
    )
    player = Player(halving(narrowed, rules), {})
    spent = 0.0
    while player.found is None:
        jobs = list(iter(player.next, None))
        for job, found in zip(jobs, bench.run([bench.cell(job.chosen, job.share, job.seed) for job in jobs])):
            spent += job.share
            player.take(_outcome(job, found, rules))
    won = next((o.job.chosen for o in player.found.rungs[0] if o.job.trial == player.found.winner), {})
    pick = won if player.found.chosen == "winner" else narrowed.defaults
    tried = [one.validation for one in bench.run([bench.cell(one, WHOLE) for one in handmade])]
    by_hand = handmade[int(np.argmax(np.nan_to_num(tried, nan=-np.inf)))]
    finals = bench.run([bench.cell(one, WHOLE, seed) for one in (pick, by_hand) for seed in FINALS])
    ours, theirs = np.array([one.test for one in finals]).reshape(2, len(FINALS))
    ended = np.isfinite(ours - theirs)
    if not ended.any():
        raise RuntimeError(f"on no seed {pick} and {by_hand} could both be trained: see above why, and {bench.folder}")
    ours, theirs = ours[ended], theirs[ended]
    items = int((np.asarray(of.dataset.split("test").labels) >= 0).sum())
    told = [(unpacked(a.hits, items), unpacked(b.hits, items)) for a, b in zip(finals, finals[len(FINALS) :])]
    hit, missed = np.mean([pair for pair, well in zip(told, ended) if well], 0)
    facts: dict[str, Any] = {
        **gain_facts("gain", over_seeds(ours - theirs, "paired, pretraining seeds")),
        **gain_facts("over_items", over_items(hit - missed)),
        "chosen": str(pick), "by_hand": str(by_hand), "verdict": player.found.verdict,
        "ours_final_runs": spent + 1, "theirs_final_runs": float(len(handmade)),
    }  # fmt: skip
    if not ended.all():
        facts["failed_seeds"] = [seed for seed, well in zip(FINALS, ended) if not well]
    title = f"pick_of_{name}_accuracy_vs_best_of_{len(handmade)}_handmade"
    ratio = float(ours.mean() / theirs.mean())
    return Row(title, float(ours.mean()), float(theirs.mean()), ratio, None, None, len(ours), COMMAND, facts)


def _outcome(job: Job, found: Measured, rules: SearchSection) -> Outcome:
    measures = {} if found.problem else {rules.metric: found.proxies[rules.metric]}
    loss, numbers = found.proxies.get(LOSS), (found.parameters, found.steps, found.flops)
    return Outcome(job, measures, loss, *numbers, found.problem, found.proxies, found.encode_flops)


def cost(searches: Iterable[SearchSection], listed: int, handmade: int) -> float:
    """The largest cost of everything, in final runs."""
    finals = len(FINALS) - 1 + sum(most(rules) + len(FINALS) for rules in searches)
    return (listed * (1 + TENTH) + len(SEEDS) - 1 if listed else 0) + (handmade + finals if handmade else 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, writes ``benchmarks/out/proxies-<recipe>.json``, of other questions under a longer name."""
    lists = yaml.safe_load(LISTED.read_text())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="digits", help="whose data, batch and defaults; labels are needed")
    parser.add_argument("--steps", type=int, help="of a final run; default: the recipe's")
    parser.add_argument("--ranking-alone", action="store_true", help="without the searches and what was made by hand")
    parser.add_argument("--search", nargs="+", choices=lists["searches"], help="these alone, without the ranking")
    parser.add_argument("--first", type=int, help="of each list alone: shows that it runs, says nothing")
    parser.add_argument("--short-batch", type=int, help="of the tenths: samples of a step, as many in all")
    parser.add_argument("--short-rate", type=float, help="of the tenths: times the learning rate")
    parser.add_argument("--workers", type=int, default=1, help="trainings at once, each with one thread")
    parser.add_argument("--most-minutes", type=float, default=90.0, help="begin no training after so long")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    listed, handmade = [] if given.search else lists["listed"][: given.first], lists["handmade"][: given.first]
    course = Course(Path(), given.recipe, given.steps)
    until = time.time() + 60 * given.most_minutes
    bench = Bench(course, OUT / f"proxies-{given.recipe}", given.workers, until=until)
    short = bench._replace(course=course._replace(batch=given.short_batch, rate=given.short_rate or 1.0))
    few = {"trials": given.first} if given.first else {}
    alone = given.ranking_alone or short != bench
    named = [] if alone else given.search or lists["searches"]
    searches = {name: SearchSection(space=given.recipe, **lists["searches"][name] | few) for name in named}
    whole = cost(searches.values(), len(listed), 0 if alone else len(handmade))
    print(f"at most {whole:.1f} final runs of {opened(course).recipe.pretrain.steps} steps", flush=True)
    try:
        rows = list(ranking(bench, listed, short)) if listed else []
        rows += [against_hand(bench, handmade, lists["space"], *one) for one in searches.items()]
    except TimeSpent as spent:
        raise SystemExit(str(spent)) from None
    command = again(COMMAND, given, REPEATED)
    name = table_name(f"proxies-{given.recipe}", parser, given, REPEATED[1:])
    publish(name, [row._replace(command=command) for row in rows])


if __name__ == "__main__":
    main()
