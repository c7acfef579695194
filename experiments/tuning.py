"""Ray Tune plays a halving search: a Searcher that hands out the jobs of a Player, and a Trainable that trains and scores one."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from experiments.cluster import Machines
from experiments.halving import Job, Player
from experiments.trials import Measured, Work, measure

TRIALS_PER_GPU = 4
"""Small models leave most of a GPU idle; more processes would crowd its memory."""
LOST = "the process that trained it ended without an answer: most often it was killed for want of memory"


class Trial(tune.Trainable):
    """One job. The process stays for the next one: importing torch takes longer than many a trial."""

    def setup(self, config: dict[str, Any]) -> None:
        """Takes the job that ``config`` describes."""
        self.work = Work(**config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next job, in the same process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Plays the whole job; its answer is text, because Tune flattens nested results."""
        return {"done": True, "measured": json.dumps(measure(self.work)._asdict())}


class Jobs(Searcher):
    """The jobs of a player, in its order. What ends the search is kept in ``problem``, for Tune would wrap it."""

    def __init__(self, player: Player, work: Callable[[Job], Work], done: Callable[[Job, Measured], None]) -> None:
        super().__init__()
        self.player, self.work, self.done = player, work, done
        self.problem: Exception | None = None
        self._out: dict[str, Job] = {}

    def suggest(self, trial_id: str) -> Any:
        """The work of the next job that makes a model; None while the batch is out."""
        while not (self.problem or self.player.found):
            job = self.player.next()
            if job is None:
                return None
            try:
                work = self.work(job)._asdict()
            except ValueError as problem:
                self._take(job, Measured({}, None, 0, 0.0, str(problem)))
                continue
            self._out[trial_id] = job
            return work
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Takes the outcome; a trial whose process died has failed, the search goes on."""
        answer = None if error or not result else result.get("measured")
        self._take(
            self._out.pop(trial_id), Measured(**json.loads(answer)) if answer else Measured({}, None, 0, 0.0, LOST)
        )

    def _take(self, job: Job, measured: Measured) -> None:
        try:
            self.done(job, measured)
        except Exception as problem:
            self.problem = problem

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what is known lies in outcomes.jsonl."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing for the copy of its searcher that Tune keeps: generators cannot be copied."""
        return {}


class Pulse(tune.Callback):
    """Calls ``beat`` several times a second while trials run."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self.beat = beat

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Beats at every turn of Tune's loop."""
        self.beat()

    def __getstate__(self) -> dict[str, Any]:
        return {}


def play(jobs: Jobs, machines: Machines, folder: Path, beat: Callable[[], None]) -> None:
    """Runs the jobs, one to a CPU, until there are no more. ``folder`` takes what Tune writes."""
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    # all first processes start at once, and those that end find a waiting trial to be kept for
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(machines.cpus))
    resources = {"cpu": 1.0, "gpu": 1 / TRIALS_PER_GPU if machines.gpus else 0.0}
    tune.Tuner(
        tune.with_resources(Trial, resources),
        tune_config=tune.TuneConfig(
            search_alg=jobs, num_samples=-1, reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            verbose=0,
            callbacks=[Pulse(beat)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            # what a configuration does wrong comes back as an answer; a process that died is worth a second try
            failure_config=tune.FailureConfig(max_failures=1),
        ),
    ).fit()
    if jobs.problem:
        raise jobs.problem
