"""What a trial of a search costs beside its training and scoring: Ray Tune and all around it against the same work called directly.

``python -m benchmarks.trial_overhead`` writes benchmarks/out/trial_overhead.json. Trials of the default architecture on a prepared
dataset are played one after another as ``dvc repro search`` plays them, with all of Ray on the same core. From one answer to the next
everything counts; the first trial, whose process loads libraries and data, is told apart. The work itself is timed beforehand, alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.rows import Row, compare, publish
from experiments import trials as trials_of_search
from experiments.cluster import Machines, connected
from experiments.halving import Job
from experiments.recipe import Recipe
from experiments.resolving import resolve
from experiments.trials import Measured, Work
from experiments.tuning import Jobs, play
from mae_core.data.dataset import open_dataset
from mae_core.training.allocator import keep_pages

ALONE = 3
"""Times that the work is called directly, after one that warms up."""


class Found(NamedTuple):
    """What was measured."""

    alone_s: float
    """Training and scoring, called directly."""
    turns: list[float]
    """Seconds from one answer to the next; the first from the start of the search."""


class Queue:
    """So many equal jobs: what ``Jobs`` plays."""

    def __init__(self, trials: int) -> None:
        self.waiting = [Job(number, 0, "sampled", 0, 1.0, {}) for number in range(trials)]
        self.trials = trials
        self.begun = time.perf_counter()
        self.turns: list[float] = []

    @property
    def found(self) -> bool:
        """Whether all have been played."""
        return len(self.turns) == self.trials

    def next(self) -> Job | None:
        """The next job."""
        return self.waiting.pop(0) if self.waiting else None

    def done(self, job: Job, measured: Measured) -> None:
        """Takes an answer. Raises RuntimeError where the trial failed."""
        if measured.failure:
            raise RuntimeError(f"trial {job.trial} failed: {measured.failure}")
        now = time.perf_counter()
        self.turns.append(now - self.begun)
        self.begun = now


def measure(dataset: Path, steps: int, trials: int) -> Found:
    """The turns of ``trials`` trials and of one before them, which starts their process."""
    opened = open_dataset(dataset)
    resolved = resolve(Recipe(), opened.info, {}, opened.modality)
    settings = {**resolved.settings.__dict__, "steps": steps}
    work = Work(resolved.config, settings, str(dataset.resolve()), "knn", None)
    alone = [trials_of_search.measure(work).seconds for _ in range(ALONE + 1)][1:]
    queue: Any = Queue(trials + 1)
    with tempfile.TemporaryDirectory() as folder, connected(Path.cwd()):
        jobs = Jobs(queue, lambda job: work, queue.done)
        play(jobs, Machines(1, 0, ""), Path(folder), lambda: None)
    return Found(median(alone), queue.turns)


def rows_of(found: Found, command: str, steps: int) -> list[Row]:
    """A warm trial beside its work alone; the seconds between them, and those of the first trial, among the facts."""
    first, *warm = found.turns
    facts = {
        "steps": steps,
        "seconds_beside_the_work": median(warm) - found.alone_s,
        "seconds_of_the_first_beside_the_work": first - found.alone_s,
    }
    return [compare("warm_trial_vs_its_work_alone_wall_s", warm, [found.alone_s] * len(warm), command, **facts)]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=Path("data/mnist5k"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--trials", type=int, default=8)
    given = parser.parse_args()
    keep_pages()  # as Ray's workers do
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # Ray counts the cores that it may use: one trial at a time
    logging.getLogger("ray").setLevel(logging.ERROR)
    command = (
        f"python -m benchmarks.trial_overhead --dataset {given.dataset} --steps {given.steps} --trials {given.trials}"
    )
    publish("trial_overhead", rows_of(measure(given.dataset, given.steps, given.trials), command, given.steps))


if __name__ == "__main__":
    main()
