"""The search stage: what a recipe leaves ``auto`` is tried through Ray Tune; ``results/<recipe>/`` says what was found and why."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import yaml

from experiments import outcomes
from experiments.halving import (
    NOT_CONFIRMED,
    Found,
    Job,
    Outcome,
    Player,
    SearchError,
    halving,
    most,
    most_jobs,
    scores,
)
from experiments.publish import publish
from experiments.recipe import Recipe, load_recipe, recipe_row
from experiments.resolving import resolve
from experiments.runs import Run, claim, fingerprint
from experiments.space import Space, Tried, importance, load_space, narrow
from experiments.trials import Measured, Metric, Work, choose_metric
from mae_core.atomic import replace_file, write_text
from mae_core.data.dataset import open_dataset
from mae_core.flops import train_flops
from mae_core.training.precision import choose_precision

SCHEMA = 1
COLUMNS = {
    "trial": "int64", "rung": "int64", "origin": "str", "status": "str", "seed": "int64", "steps": "int64",
    "flops": "float64", "parameters": "int64", "score": "float64", "loss": "float64",
}  # fmt: skip
"""Of trials.parquet, before the searched keys."""
FEW = 20
"""Importance from fewer trials is noise for the most part."""
BEAT_SECONDS = 10.0
WHY_NOT_LOSS = "the loss is shown, never ranked by: what it measures changes with the mask and the patch, so the easiest task would win"


class Task(NamedTuple):
    """What turns a job into work."""

    recipe: Recipe
    info: dict[str, Any]
    """The dataset's ``dataset.json``."""
    modality: str
    folder: Path
    """Of the prepared dataset, absolute."""
    metric: str
    root: Path

    def work(self, job: Job) -> Work:
        """A job in plain values: ``job.share`` of the FLOPs of the final run, whatever the architecture."""
        resolved = resolve(self.recipe, self.info, job.chosen, self.modality, self.root)
        steps = max(round(job.share * resolved.settings.steps), 1)
        settings = {**asdict(resolved.settings), "steps": steps, "seed": job.seed}
        given = (self.recipe.pretrain.init_from, self.recipe.objective.features_from)
        folders = (str(self.root / folder) if folder else None for folder in given)
        return Work(resolved.config, settings, str(self.folder), self.metric, *folders)

    def outcome(self, job: Job, measured: Measured) -> Outcome:
        """What a worker found, with what it cost."""
        work = self.work(job)
        steps = work.settings["steps"]
        flops = steps * work.settings["batch_size"] * train_flops(work.config)
        return Outcome(job, measured.measures, measured.loss, measured.parameters, steps, flops, measured.failure)


def search(recipe: str, root: Path = Path()) -> None:
    """Searches for ``recipe`` and writes best.yaml, trials.parquet and search.json below ``results/<recipe>``.

    A killed search goes on after the trials that had ended. Raises SearchError where the defaults cannot be trained.
    """
    began, root = time.perf_counter(), root.resolve()
    described, row = load_recipe(recipe, root), recipe_row(recipe, root)
    dataset = open_dataset(root / "data" / row.dataset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(described.pretrain.precision, device)
    digest = fingerprint("search", recipe, precision.name, root)
    with claim("search", recipe, digest, root) as run:
        space = narrow(load_space(described.search.space, root), described, dataset.info, row.modality)
        timing: dict[str, Any] = {"device": device.type, "precision": precision.name, "reason": precision.reason}
        why = _nothing(described, space)
        if why:
            print(f"search {recipe}: {why}")
            _write(root / "results" / recipe, _off(described, why), [])
        else:
            metric = choose_metric(dataset)
            print(f"search {recipe}: {', '.join(space.keys)} by {metric.name}: {metric.why}")
            cost = f"{most(described.search):.2f} times the final run's FLOPs"
            print("\n".join(f"  {note}" for note in [*space.notes, f"the trials cost at most {cost}"]), flush=True)
            task = Task(described, dataset.info, row.modality, dataset.folder, metric.name, root)
            found, facts = _play(task, space, run)
            timing |= facts
            summary = _summary(found, space, metric)
            _write(root / "results" / recipe, summary, _rows(found))
            _report(summary)
        run.timing(seconds=round(time.perf_counter() - began, 3), **timing)
        run.delivered()
    publish(root, "search", recipe, digest)


def _nothing(recipe: Recipe, space: Space) -> str:
    """Why there is nothing to search, '' where there is."""
    if recipe.search.trials == 0:
        return "switched off by search.trials: 0, so the defaults are used"
    if not space.keys:
        return (
            f"no key of the space {recipe.search.space} is left auto with several values, so there is nothing to search"
        )
    if recipe.search.trials == 1:
        return "search.trials: 1 leaves the defaults nothing to be compared with, so they are used"
    return ""


def _play(task: Task, space: Space, run: Run) -> tuple[Found, dict[str, Any]]:
    """The whole search with Ray, and the wall-clock facts of it."""
    from experiments.cluster import connected
    from experiments.tuning import LOST, Jobs, play

    ledger = run.folder / "outcomes.jsonl"
    known = outcomes.read(ledger)
    if known:
        print(f"  going on after {len(known)} trials that had ended before")
    rules = task.recipe.search
    jobs, player = most_jobs(rules), Player(halving(space, rules), known)
    ended, spent, beaten = len(known), 0.0, 0.0

    def beat() -> None:
        nonlocal beaten
        if time.monotonic() - beaten > BEAT_SECONDS:
            run.heartbeat(step=ended, steps=jobs)
            beaten = time.monotonic()

    def done(job: Job, measured: Measured) -> None:
        nonlocal ended, spent, beaten
        outcome = task.outcome(job, measured)
        if measured.failure != LOST:  # after a resume, whatever killed the process may be gone
            outcomes.append(ledger, outcome, measured.seconds)
        ended, spent, beaten = ended + 1, spent + measured.seconds, 0.0
        print(f"  {_line(outcome)}, {measured.seconds:.1f} s", flush=True)
        player.take(outcome)
        beat()

    workers = 0
    if player.found is None:
        scratch = run.folder / "tune"
        shutil.rmtree(scratch, ignore_errors=True)
        with connected(task.root) as machines:
            workers = machines.cpus
            play(Jobs(player, task.work, done), machines, scratch, beat)
        shutil.rmtree(scratch, ignore_errors=True)
    if player.found is None:
        raise SearchError(
            f"the search was stopped after {ended} of at most {jobs} trials: run it again, it goes on from there"
        )
    return player.found, {"workers": workers, "trial_seconds": round(spent, 3)}


def _line(outcome: Outcome) -> str:
    """One finished trial in words."""
    job = outcome.job
    what = "confirming " if job.origin == "confirm" else ""
    score = outcome.failure or ", ".join(f"{name} {value:.4f}" for name, value in outcome.measures.items())
    keys = ", ".join(f"{key} {value}" for key, value in job.chosen.items())
    return f"{what}trial {job.trial} rung {job.rung} seed {job.seed}: {score} ({keys}; {outcome.steps} steps)"


def _write(folder: Path, summary: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The three files. They hold no times, hosts or paths, so the same search writes the same bytes."""
    chosen = summary["winner"] if summary["chosen"] == "winner" else summary["default"]
    table = pd.DataFrame(rows, columns=[*COLUMNS, *summary["keys"]]).astype(COLUMNS)
    write_text(folder / "best.yaml", yaml.safe_dump(chosen, sort_keys=True))
    with replace_file(folder / "trials.parquet") as staging:
        table.to_parquet(staging, index=False)
    write_text(folder / "search.json", json.dumps({"schema": SCHEMA, **summary}, indent=2, allow_nan=False) + "\n")


def _rows(found: Found) -> list[dict[str, Any]]:
    """One row per trial and rung, then those that confirmed."""
    rows = []
    for rung, tried in enumerate([*found.rungs, found.confirming]):
        went_on = {o.job.trial for o in found.rungs[rung + 1]} if rung + 1 < len(found.rungs) else None
        for outcome, score in zip(tried, scores(tried)):
            job = outcome.job
            status = "complete" if went_on is None or job.trial in went_on else "stopped"
            rows.append(
                {
                    "trial": job.trial,
                    "rung": job.rung,
                    "origin": job.origin,
                    "status": "failed" if outcome.failure else status,
                    "seed": job.seed,
                    "steps": outcome.steps,
                    "flops": outcome.flops,
                    "parameters": outcome.parameters,
                    "score": math.nan if score is None else score,
                    "loss": math.nan if outcome.loss is None else outcome.loss,
                    **job.chosen,
                }
            )
    return rows


def _off(recipe: Recipe, why: str) -> dict[str, Any]:
    """search.json of a search that did not take place."""
    return {
        "metric": recipe.search.metric,
        "split": "validation",
        "trials": 0,
        "keys": [],
        "default": {},
        "winner": {},
        "chosen": "default",
        "verdict": why,
        "confirm": NOT_CONFIRMED._asdict(),
        "importance": {},
        "importance_n": 0,
        "rank_correlation": {"loss_with_score": None, "n": 0},
        "flops": 0.0,
    }


def _summary(found: Found, space: Space, metric: Metric) -> dict[str, Any]:
    """search.json of a search that did. Importance and rank correlation are over the first rung, where all trials cost the same."""
    first = found.rungs[0]
    winner = next((o.job.chosen for o in first if o.job.trial == found.winner), {})
    shares, n = importance(space, [Tried(o.job.chosen, score) for o, score in zip(first, scores(first))])
    return {
        "metric": metric.name,
        "split": "validation",
        "trials": len(first),
        "keys": list(space.keys),
        "default": space.defaults,
        "winner": winner,
        "chosen": found.chosen,
        "verdict": found.verdict,
        "confirm": {k: round(v, 6) if isinstance(v, float) else v for k, v in found.confirmation._asdict().items()},
        "importance": shares,
        "importance_n": n,
        "rank_correlation": _rank_correlation(first),
        "flops": sum(o.flops for o in [*(o for rung in found.rungs for o in rung), *found.confirming]),
    }


def _rank_correlation(tried: list[Outcome]) -> dict[str, Any]:
    """Spearman's, of loss and score; None where fewer than three trials have both, or all of one are alike."""
    pairs = [(o.loss, score) for o, score in zip(tried, scores(tried)) if o.loss is not None and score is not None]
    losses, scored = [loss for loss, _ in pairs], [score for _, score in pairs]
    if len(pairs) < 3 or len(set(losses)) < 2 or len(set(scored)) < 2:
        return {"loss_with_score": None, "n": len(pairs)}
    from scipy.stats import spearmanr

    return {"loss_with_score": round(float(spearmanr(losses, scored).statistic), 4), "n": len(pairs)}


def _report(summary: dict[str, Any]) -> None:
    """What was found, in words."""
    print(f"  {summary['verdict']}")
    rank = summary["rank_correlation"]
    value = "unknown" if rank["loss_with_score"] is None else f"{rank['loss_with_score']:+.2f}"
    name = "k-NN" if summary["metric"] == "knn" else "label-free"
    print(f"  rank correlation of the reconstruction loss with the {name} score over {rank['n']} trials: {value}")
    print(f"  {WHY_NOT_LOSS}")
    shares = sorted(summary["importance"].items(), key=lambda pair: (-pair[1], pair[0]))
    n, few = summary["importance_n"], f" (noise below {FEW} trials)" if summary["importance_n"] < FEW else ""
    print(f"  importance over {n} trials{few}: {', '.join(f'{key} {share:.2f}' for key, share in shares) or 'unknown'}")
