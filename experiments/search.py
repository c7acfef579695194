"""The search stage: what a recipe leaves ``auto`` is tried through Ray Tune; ``results/<recipe>/`` says what was found and why."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from experiments import outcomes
from experiments.goals import COSTS, METRICS, PROXIES
from experiments.halving import Found, Job, Outcome, Player, SearchError, halving, most, most_jobs
from experiments.params import recipe_row
from experiments.population import most_members, most_population, only_tuned, population
from experiments.publish import publish
from experiments.recipe import Recipe, SearchSection, load_recipe
from experiments.resolving import resolve
from experiments.runs import Run, claim, fingerprint
from experiments.schedules import Leg, Part
from experiments.search_results import off, report, rows_of, summary_of, write
from experiments.space import Space, load_space, narrow
from experiments.trials import Measured, Metric, Work, choose_metric
from mae_core.data.dataset import open_dataset
from mae_core.flops import encode_flops, train_flops
from mae_core.training.precision import choose_precision

BEAT_SECONDS = 10.0


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
    proxies: tuple[str, ...] = ()
    """What is measured beside the metric."""
    members: Path | None = None
    """Where members of a population leave their checkpoints."""

    def work(self, job: Job) -> Work:
        """A job in plain values: ``job.share`` of the FLOPs of the final run, whatever the architecture.

        A member of a population trains as many steps a round as the others, whatever it hides, and goes on where its parent stopped.
        """
        resolved = resolve(self.recipe, self.info, job.chosen, self.modality, self.root)
        settings = {**asdict(resolved.settings), "seed": job.seed}
        leg = None
        if job.pieces or (self.members and job.origin != "confirm"):
            leg = self._leg(job, resolved.config)
            settings["steps"] = leg.parts[-1].end if job.pieces else self._rounds() * self._length()
        else:
            settings["steps"] = max(round(job.share * resolved.settings.steps), 1)
        given = (self.recipe.pretrain.init_from, self.recipe.objective.features_from)
        begin, features = (str(self.root / folder) if folder else None for folder in given)
        told = leg._asdict() if leg else None
        return Work(resolved.config, settings, str(self.folder), self.metric, begin, features, list(self.proxies), told)

    def outcome(self, job: Job, measured: Measured) -> Outcome:
        """What a worker found, with what it cost."""
        try:
            work = self.work(job)
        except ValueError as problem:
            return Outcome(job, {}, None, 0, 0, 0.0, str(problem))
        parts = [Part(*one) for one in work.leg["parts"]] if work.leg else []
        steps = (parts[-1].end if job.pieces else self._length()) if work.leg else work.settings["steps"]
        batch = work.settings["batch_size"]
        flops = batch * (
            self._cost(work.config, parts, batch) if job.pieces else steps * train_flops(work.config, batch)
        )
        return Outcome(
            job, measured.measures, measured.loss, measured.parameters, steps, flops, measured.failure, measured.proxies,
            encode_flops(work.config),
        )  # fmt: skip

    def steps(self, pieces: list[dict[str, Any]], share: float) -> list[Part]:
        """A schedule in steps that cost ``share`` of the FLOPs of the final run, parts of equal length."""
        resolved = [resolve(self.recipe, self.info, piece["chosen"], self.modality, self.root) for piece in pieces]
        # each resolved number of steps is the whole final run's at its own ratio, so parts of equal length take their harmonic mean
        whole = share * len(pieces) / sum(1 / one.settings.steps for one in resolved)
        length = max(round(whole / len(pieces)), 1)
        return [
            Part(length * (number + 1), one.config["masking"]["ratio"], one.settings.lr)
            for number, one in enumerate(resolved)
        ]

    def _leg(self, job: Job, config: dict[str, Any]) -> Leg:
        if job.pieces:
            return Leg(self.steps(job.pieces, job.share))
        assert self.members is not None
        end = self._length() * (job.rung + 1)
        lr = resolve(self.recipe, self.info, job.chosen, self.modality, self.root).settings.lr
        source = None if job.parent is None else str(self.members / f"round-{job.rung - 1}" / f"member-{job.parent}")
        target = str(self.members / f"round-{job.rung}" / f"member-{job.trial}")
        return Leg([Part(end, config["masking"]["ratio"], lr)], source, target)

    def _rounds(self) -> int:
        return self.recipe.search.rounds

    def _length(self) -> int:
        """Steps of a round, of every member."""
        whole = resolve(self.recipe, self.info, {}, self.modality, self.root).settings.steps
        return max(round(self.recipe.search.budget * whole / self._rounds()), 1)

    def _cost(self, config: dict[str, Any], parts: list[Part], batch: int) -> float:
        """Training FLOPs of one sample a step, summed over the steps of a schedule."""
        begins = [0, *(part.end for part in parts)]
        ratios = ({**config, "masking": {**config["masking"], "ratio": part.ratio}} for part in parts)
        return sum((part.end - begin) * train_flops(one, batch) for begin, part, one in zip(begins, parts, ratios))


def search(recipe: str, root: Path = Path()) -> None:
    """Searches for ``recipe`` and writes best.yaml, trials.parquet, search.json and proxies.csv below ``results/<recipe>``.

    A killed search goes on after the trials that had ended. Raises SearchError where the defaults cannot be trained.
    """
    began, root = time.perf_counter(), root.resolve()
    described, row = load_recipe(recipe, root), recipe_row(recipe, root)
    dataset = open_dataset(root / "data" / row.dataset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision(described.pretrain.precision, device)
    digest = fingerprint("search", recipe, precision.name, root)
    with claim("search", recipe, digest, root) as run:
        space = narrow(load_space(described.search.space, root), described, dataset.info, row.modality, root)
        several = described.search.method == "population"
        space = only_tuned(space) if several else space
        timing: dict[str, Any] = {"device": device.type, "precision": precision.name, "reason": precision.reason}
        why = _nothing(described, space)
        if why:
            print(f"search {recipe}: {why}")
            write(root / "results" / recipe, off(described, why), [])
        else:
            target = resolve(described, dataset.info, {}, row.modality, root).config["objective"]["target"]
            metric = choose_metric(dataset, described.search.metric, _beside(described.search), target)
            rules, notes = _weighed(described.search, metric)
            print(f"search {recipe}: {', '.join(space.keys)} by {metric.name}: {metric.why}")
            cost = f"about {most_population(rules):.2f}" if several else f"at most {most(rules):.2f}"
            told = [*space.notes, *notes, f"the trials cost {cost} times the final run's FLOPs"]
            print("\n".join(f"  {note}" for note in told), flush=True)
            members = run.folder / "population" if several else None
            facts_of = (described, dataset.info, row.modality, dataset.folder, metric.name, root)
            task = Task(*facts_of, tuple(metric.beside), members)
            found, facts = _play(task, space, rules, run)
            timing |= facts
            if found.schedule:
                parts = task.steps(found.schedule["pieces"], 1.0)
                found = found._replace(schedule=found.schedule | _in_steps(parts))
            summary = summary_of(found, space, metric, rules.objectives)
            report(summary, write(root / "results" / recipe, summary, rows_of(found)))
        run.timing(seconds=round(time.perf_counter() - began, 3), **timing)
        run.delivered()
    publish(root, "search", recipe, digest)


def _in_steps(parts: list[Part]) -> dict[str, Any]:
    """A schedule as a recipe would say it, of a final run: when the mask ratio changes, and the peak of the learning rate."""
    begins = [0, *(part.end for part in parts)]
    changes = [
        {"step": begin, "ratio": part.ratio, "lr": part.lr}
        for number, (begin, part) in enumerate(zip(begins, parts))
        if not number or part[1:] != parts[number - 1][1:]
    ]
    return {"steps": parts[-1].end, "changes": changes}


def _beside(rules: SearchSection) -> tuple[str, ...]:
    """Proxies that a recipe asks for, those that it weighs included."""
    return tuple(dict.fromkeys([*rules.proxies, *(name for name in rules.objectives if name in PROXIES)]))


def _weighed(rules: SearchSection, metric: Metric) -> tuple[SearchSection, list[str]]:
    """The rules without objectives that these data cannot answer, and a note for each."""
    able = {*COSTS, *metric.beside, *METRICS[metric.name]}
    kept = [name for number, name in enumerate(rules.objectives) if number == 0 or name in able]
    notes = [
        f"the objective {name} is left out: {'it needs labels' if PROXIES[name].labels else 'the target has none'}"
        for name in rules.objectives
        if name not in kept
    ]
    return rules.model_copy(update={"objectives": kept}), notes


def _nothing(recipe: Recipe, space: Space) -> str:
    """Why there is nothing to search, '' where there is."""
    if recipe.search.trials == 0:
        return "switched off by search.trials: 0, so the defaults are used"
    if not space.keys:
        return (
            f"no key of the space {recipe.search.space} is left auto with several values, so there is nothing to search"
        )
    if recipe.search.trials == 1 and recipe.search.method != "population":
        return "search.trials: 1 leaves the defaults nothing to be compared with, so they are used"
    return ""


def _play(task: Task, space: Space, rules: SearchSection, run: Run) -> tuple[Found, dict[str, Any]]:
    """The whole search with Ray, and the wall-clock facts of it."""
    from experiments.cluster import connected
    from experiments.tuning import LOST, Jobs, play

    ledger = run.folder / outcomes.LEDGER
    known = outcomes.read(ledger)
    if known:
        print(f"  going on after {len(known)} trials that had ended before")
    several = rules.method == "population"
    jobs, plan = (most_members(rules), population) if several else (most_jobs(rules), halving)
    player = Player(plan(space, rules), known)
    spent, of_proxies = outcomes.read_seconds(ledger)
    ended, beaten = len(known), 0.0

    def beat() -> None:
        nonlocal beaten
        if time.monotonic() - beaten > BEAT_SECONDS:
            run.heartbeat(step=ended, steps=jobs)
            beaten = time.monotonic()

    def done(job: Job, measured: Measured) -> None:
        nonlocal ended, spent, beaten
        outcome = task.outcome(job, measured)
        # after a resume, whatever killed the process may be gone; but whoever went on from a member needs what it was ranked by.
        # With its defaults a search ends, and the next one is to try them again
        ends = bool(outcome.failure) and job.origin == "default"
        if not ends and (measured.failure != LOST or task.members):
            outcomes.append(ledger, outcome, measured.seconds, measured.proxy_seconds)
        ended, spent, beaten = ended + 1, spent + measured.seconds, 0.0
        for name, seconds in measured.proxy_seconds.items():
            of_proxies.setdefault(name, []).append(seconds)
        if task.members and job.rung > 1 and job.origin != "confirm":  # no member goes on from there any more
            shutil.rmtree(task.members / f"round-{job.rung - 2}", ignore_errors=True)
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
    if task.members:
        shutil.rmtree(task.members, ignore_errors=True)
    costs = {name: round(sum(took) / len(took), 4) for name, took in of_proxies.items()}
    return player.found, {"workers": workers, "trial_seconds": round(spent, 3), "proxy_seconds": costs}


def _line(outcome: Outcome) -> str:
    """One finished trial in words."""
    job = outcome.job
    what = "confirming " if job.origin == "confirm" else ""
    score = outcome.failure or ", ".join(f"{name} {value:.4f}" for name, value in outcome.measures.items())
    keys = ", ".join(f"{key} {value}" for key, value in job.chosen.items())
    return f"{what}trial {job.trial} rung {job.rung} seed {job.seed}: {score} ({keys}; {outcome.steps} steps)"
