"""Successive halving over complete schedules, as a generator: it yields jobs, is sent their outcomes, and returns what was found.

Nothing here trains or knows of Ray. Jobs come in batches whose sizes depend on the recipe alone and a batch is proposed only when the one
before it is whole, so neither the number of cores nor the order in which jobs finish can change what is tried.

A rung is a complete schedule with its own warm-up and cosine, because a trial that is cut off on the way down says little of where it
would have ended (Jamieson & Talwalkar 2016 halve unfinished runs). The best third go on to a schedule three times as long, from scratch.
"""

from __future__ import annotations

import statistics
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

from experiments import words
from experiments.goals import COSTS, SCORE, oriented
from experiments.pareto import Gain, front_of, knee, ranked, undone, unpaired, weigh
from experiments.recipe import SearchSection
from experiments.space import Space, Tried, propose

ETA = 3
"""Growth of the schedule from rung to rung; one trial in so many goes on."""
BATCHES = 4
"""About so many batches are proposed with knowledge of the earlier ones."""


class SearchError(RuntimeError):
    """A search that cannot give an answer."""


class Job(NamedTuple):
    """One complete schedule to train and score."""

    trial: int
    """0 is the defaults."""
    rung: int
    origin: str
    """default, sampled or confirm."""
    seed: int
    share: float
    """FLOPs over those of the final run."""
    chosen: dict[str, Any]
    parent: int | None = None
    """Whose weights a member of a population goes on from; None: it begins, or nothing goes on."""
    pieces: list[dict[str, Any]] | None = None
    """The schedule that is played, as ``population.Piece``; None: the same values throughout."""


class Outcome(NamedTuple):
    """What came of a job."""

    job: Job
    measures: dict[str, float]
    """By name, more is better; empty where it failed."""
    loss: float | None
    """Mean reconstruction loss of the last tenth of the schedule: shown, never ranked by."""
    parameters: int
    steps: int
    flops: float
    failure: str = ""
    """Why there is no score."""
    proxies: dict[str, float] = {}  # noqa: RUF012 - read, never written to
    """As measured, by name."""
    encode_flops: float = 0.0
    """Of encoding one whole sample."""


Plan = Generator[list[Job], list[Outcome], "Found"]


class Confirmation(NamedTuple):
    """Defaults and winner on the same fresh seeds, as long as the final run unless the recipe says otherwise."""

    seeds: list[int]
    default: list[float]
    winner: list[float]
    gain: float | None
    """Mean of the paired differences; None where nothing was confirmed."""
    standard_error: float | None
    """Of that mean, over seeds."""
    share: float | None = None
    """FLOPs of each training over those of the final run."""
    failed: list[int] = []  # noqa: RUF012 - read, never written to
    """Seeds on which the challenger could not be trained or scored."""


class Found(NamedTuple):
    """The whole search."""

    rungs: list[list[Outcome]]
    """Outcomes of each rung, by trial."""
    confirming: list[Outcome]
    winner: int | None
    """The best sampled trial of the longest rung; of several objectives the pick, which may be the defaults."""
    confirmation: Confirmation
    chosen: str
    """winner or default."""
    verdict: str
    front: list[int] = []  # noqa: RUF012 - read, never written to
    """Of several objectives: the trials of the longest rung that none dominates, the best score first."""
    others: dict[str, Confirmation] = {}  # noqa: RUF012
    """Of several objectives: what the confirming runs say of those beside the score, turned so that more is better."""
    schedule: dict[str, Any] | None = None
    """Of a population: what its best member did, to be played again."""


NOT_CONFIRMED = Confirmation([], [], [], None, None)


def halving(space: Space, rules: SearchSection) -> Plan:
    """The jobs of a search. Raises SearchError where the defaults cannot be trained."""
    rungs: list[list[Outcome]] = []
    tried = yield from _sampling(space, rules)
    rungs.append(tried)
    for rung in range(1, rules.rungs):
        count = max(len(rungs[-1]) // ETA, 2)
        going = sorted(o.job.trial for o in best(rungs[-1], count, rules.objectives))
        chosen_of = {o.job.trial: o.job.chosen for o in tried}
        rungs.append((yield [_job(rules, trial, rung, rules.seed, chosen_of[trial]) for trial in going]))
        check_defaults(rungs[-1])
    if len(rules.objectives) > 1:
        return (yield from _several(rungs, rules))
    candidates = [o for o in best(rungs[-1], len(rungs[-1])) if o.job.trial]
    if not candidates:
        return Found(
            rungs, [], None, NOT_CONFIRMED, "default", "no sampled trial could be scored at the longest schedule"
        )
    challenger = candidates[0].job
    ahead = dict(zip([o.job.trial for o in rungs[-1]], scores(rungs[-1])))
    default, sampled = ahead[0], ahead[challenger.trial]
    assert default is not None and sampled is not None
    if sampled <= default:
        verdict = (
            f"the defaults stay: the best sampled trial ({challenger.trial}) scores {sampled:.4f} at the longest schedule, "
            f"the defaults {default:.4f}, so there was nothing to confirm"
        )
        return Found(rungs, [], challenger.trial, NOT_CONFIRMED, "default", verdict)
    confirming = yield _confirming(rules, tried[0].job, challenger)
    confirmation = confirm(confirming)
    judged = judge(challenger.trial, confirmation, without=defaults_failed(confirming))
    return Found(rungs, confirming, challenger.trial, confirmation, *judged)


def _several(rungs: list[list[Outcome]], rules: SearchSection) -> Generator[list[Job], list[Outcome], Found]:
    """The end of a search with several objectives: the front of the longest rung, its pick, and whether that replaces the defaults."""
    last = rungs[-1]
    points = points_of(last, rules.objectives)
    front = [last[row].job.trial for row in front_of(points)]
    at = knee(points, [name in COSTS for name in rules.objectives])
    picked = last[at].job if at is not None else None
    if picked is None or picked.trial == 0:
        verdict = (
            "the defaults stay: of the trials that none dominates they are the pick"
            if picked
            else "the defaults stay: no trial has a value for every objective"
        )
        return Found(rungs, [], 0 if picked else None, NOT_CONFIRMED, "default", verdict, front)
    confirming = yield _confirming(rules, last[0].job, picked)
    by_name = {name: confirm(confirming, values_of(confirming, name)) for name in rules.objectives}
    gains = {name: Gain(len(c.seeds), c.gain, c.standard_error) for name, c in by_name.items()}
    judged = weigh(picked.trial, gains, by_name[SCORE].failed, defaults_failed(confirming))
    score = by_name.pop(SCORE)
    return Found(rungs, confirming, picked.trial, score, *judged, front, by_name)


def _confirming(rules: SearchSection, default: Job, challenger: Job) -> list[Job]:
    """Defaults and challenger on the same fresh seeds."""
    pairs, top = [(0, default.chosen), (challenger.trial, challenger.chosen)], rules.rungs - 1
    seeds, length = [rules.seed + 1 + k for k in range(rules.confirm_seeds)], confirm_share(rules)
    return [Job(trial, top, "confirm", seed, length, chosen) for seed in seeds for trial, chosen in pairs]


def _sampling(space: Space, rules: SearchSection) -> Generator[list[Job], list[Outcome], list[Outcome]]:
    """Rung 0: the defaults and a first half at random, then batches that learn from all before them."""
    first = first_batch(rules.trials)
    chosen = [space.defaults, *propose(space, [], first - 1, rules.seed, first)]
    outcomes: list[Outcome] = []
    while len(outcomes) < len(chosen):
        number = range(len(outcomes), len(chosen))
        outcomes += yield [_job(rules, trial, 0, rules.seed, chosen[trial]) for trial in number]
        check_defaults(outcomes)
        more = min(next_batch(first), rules.trials - len(chosen))
        history = history_of(outcomes, rules.objectives)
        chosen += propose(space, history, more, rules.seed, first, len(rules.objectives)) if more > 0 else []
    return outcomes


def first_batch(trials: int) -> int:
    """Half of the trials, made even so that two cores share them; the defaults are one of them."""
    half = (trials + 1) // 2
    return min(half + half % 2, trials)


def next_batch(first: int) -> int:
    """An even number of which about four make the second half."""
    return max(first // BATCHES // 2 * 2, 2)


def check_defaults(outcomes: list[Outcome]) -> None:
    """Raises SearchError where the defaults, which come first, failed."""
    if outcomes[0].failure:
        raise SearchError(
            f"the defaults could not be trained, so there is nothing to compare with: {outcomes[0].failure}"
        )


def _job(rules: SearchSection, trial: int, rung: int, seed: int, chosen: dict[str, Any]) -> Job:
    return Job(trial, rung, "sampled" if trial else "default", seed, share(rules, rung), chosen)


def share(rules: SearchSection, rung: int) -> float:
    """FLOPs of one schedule of ``rung`` over those of the final run."""
    return rules.budget / ETA ** (rules.rungs - 1 - rung)


def confirm_share(rules: SearchSection) -> float:
    """FLOPs of a confirming run over those of the final run: never less than the trials' own."""
    return max(rules.budget, rules.confirm_budget)


def _sizes(rules: SearchSection) -> Iterator[tuple[float, int]]:
    """Share and largest number of the jobs of each rung, then those that confirm."""
    count = rules.trials
    for rung in range(rules.rungs):
        yield share(rules, rung), count
        count = max(count // ETA, min(count, 2))
    yield confirm_share(rules), 2 * rules.confirm_seeds


def most(rules: SearchSection) -> float:
    """The largest cost of a search, in final runs."""
    return sum(cost * count for cost, count in _sizes(rules))


def most_jobs(rules: SearchSection) -> int:
    """The largest number of jobs of a search."""
    return sum(count for _, count in _sizes(rules))


def scores(outcomes: list[Outcome]) -> list[float | None]:
    """What ranks outcomes of one rung; None where one failed.

    A single measure is the score. Several, which have no common unit, are each turned into ranks among these outcomes, averaged and scaled
    to 0..1: such a score is comparable within ``outcomes`` alone.
    """
    good = [o for o in outcomes if not o.failure]
    names = sorted(good[0].measures) if good else []
    if len(names) == 1:
        return [None if o.failure else o.measures[names[0]] for o in outcomes]
    return [None if o.failure else statistics.fmean(_rank(o, good, name) for name in names) for o in outcomes]


def _rank(outcome: Outcome, among: list[Outcome], name: str) -> float:
    """The share of the others that are worse, ties counting half."""
    own = outcome.measures[name]
    worse = sum((o.measures[name] < own) + 0.5 * (o.measures[name] == own) for o in among if o is not outcome)
    return worse / (len(among) - 1) if len(among) > 1 else 0.5


def values_of(outcomes: list[Outcome], objective: str) -> list[float | None]:
    """What outcomes of one rung have of an objective, turned so that more is better; None where one failed or does not have it."""
    if objective == SCORE:
        return scores(outcomes)
    found: list[float | None] = []
    for outcome in outcomes:
        costs = {"flops": outcome.encode_flops, "parameters": outcome.parameters}
        raw = None if outcome.failure else costs.get(objective, outcome.proxies.get(objective))
        found.append(None if raw is None else oriented(objective, raw))
    return found


def points_of(outcomes: list[Outcome], objectives: Sequence[str]) -> list[list[float]]:
    """A row per outcome, a column per objective; NaN for what is not there."""
    columns = [values_of(outcomes, name) for name in objectives]
    return [[float("nan") if value is None else value for value in row] for row in zip(*columns)]


def history_of(outcomes: list[Outcome], objectives: Sequence[str]) -> list[Tried]:
    """What a sampler learns from; a trial that lacks an objective counts as failed."""
    found = []
    for outcome, row in zip(outcomes, points_of(outcomes, objectives)):
        whole = all(value == value for value in row)
        found.append(Tried(outcome.job.chosen, row[0] if whole else None, tuple(row[1:]) if whole else ()))
    return found


def best(outcomes: list[Outcome], count: int, objectives: Sequence[str] = (SCORE,)) -> list[Outcome]:
    """The defaults and the best ``count`` - 1 others, best first; ties go to the earlier trial, failed ones nowhere.

    By score; of several objectives, first those that none dominates.
    """
    if len(objectives) > 1:
        points = points_of(outcomes, objectives)
        order = [outcomes[row] for row in ranked(points) if not outcomes[row].failure]
    else:
        by_score = sorted((-s, o.job.trial, o) for o, s in zip(outcomes, scores(outcomes)) if s is not None)
        order = [outcome for *_, outcome in by_score]
    others = [o for o in order if o.job.trial != 0][: count - 1]
    return [o for o in order if o.job.trial == 0 or o in others]


def confirm(outcomes: list[Outcome], values: list[float | None] | None = None) -> Confirmation:
    """Paired differences of challenger and defaults over the seeds on which both have a value: the score, unless others are given."""
    by_seed: dict[int, dict[bool, float]] = {}
    for outcome, score in zip(outcomes, scores(outcomes) if values is None else values):
        if score is not None:
            by_seed.setdefault(outcome.job.seed, {})[outcome.job.trial == 0] = score
    pairs = {seed: pair for seed, pair in by_seed.items() if len(pair) == 2}
    default, winner = [p[True] for p in pairs.values()], [p[False] for p in pairs.values()]
    length = outcomes[0].job.share if outcomes else None
    lost = sorted(
        {o.job.seed for o in outcomes if o.job.trial} - {seed for seed, pair in by_seed.items() if False in pair}
    )
    if len(pairs) < 2:
        return Confirmation(list(pairs), default, winner, None, None, length, lost)
    gains = [w - d for w, d in zip(winner, default)]
    error = statistics.stdev(gains) / len(gains) ** 0.5
    return Confirmation(list(pairs), default, winner, statistics.fmean(gains), error, length, lost)


def defaults_failed(confirming: list[Outcome]) -> list[int]:
    """Fresh seeds on which the defaults could not be trained or scored, and so nothing could be compared."""
    return [o.job.seed for o in confirming if o.job.trial == 0 and o.failure]


def judge(
    trial: int, confirmation: Confirmation, won: str = "replaces the defaults", without: Sequence[int] = ()
) -> tuple[str, str]:
    """``winner`` or ``default``, and why in one sentence; ``won``: what a better one does, ``without``: seeds on which the defaults failed.

    One that could not be trained again on every fresh seed replaces nothing: the final run might be the next that fails. Defaults that
    fail on one are no reason to keep them; that seed is in no pair.
    """
    n, gain, error = len(confirmation.seeds), confirmation.gain, confirmation.standard_error
    if confirmation.failed:
        return "default", undone(trial, confirmation.failed, without)
    if gain is None or error is None:
        pairs = f"trial {trial} could be compared with them on {n} seeds, 2 are needed"
        return "default", f"the defaults stay: {pairs}{unpaired(without)}"
    seeds = f"{n} fresh seeds {words.length(confirmation.share)}"
    facts = f"its paired gain over the defaults on {seeds} is {gain:+.4f}, with a standard error of {error:.4f}"
    if gain > error:
        return "winner", f"trial {trial} {won}: {facts}{unpaired(without)}"
    why = "it is behind" if gain < -error else "no more than that"
    return "default", f"the defaults stay: trial {trial} led, but {facts}: {why}{unpaired(without)}"


class Player:
    """Walks a plan: hands out the jobs of a batch, takes their outcomes in any order, and passes over those known from before."""

    def __init__(self, plan: Plan, known: dict[str, Outcome]) -> None:
        self.plan, self.known = plan, known
        self.found: Found | None = None
        self._batch: list[Job] = []
        self._outcomes: dict[str, Outcome] = {}
        self._waiting: list[Job] = []
        self._start(next(plan))

    def next(self) -> Job | None:
        """A job to run now; None while the batch is out, or when all is ``found``."""
        return self._waiting.pop(0) if self._waiting else None

    def take(self, outcome: Outcome) -> None:
        """The outcome of a job that was handed out."""
        self._outcomes[identity(outcome.job)] = outcome
        self._go_on()

    def _start(self, batch: list[Job]) -> None:
        self._batch = batch
        names = {identity(job): job for job in batch}
        self._outcomes = {name: self.known[name]._replace(job=job) for name, job in names.items() if name in self.known}
        self._waiting = [job for name, job in names.items() if name not in self._outcomes]
        self._go_on()

    def _go_on(self) -> None:
        if len(self._outcomes) < len(self._batch):
            return
        try:
            batch = self.plan.send([self._outcomes[identity(job)] for job in self._batch])
        except StopIteration as end:
            self.found = end.value
            return
        self._start(batch)


def identity(job: Job) -> str:
    """What makes two jobs the same work: configuration, length and seed."""
    chosen = ",".join(f"{key}={job.chosen[key]!r}" for key in sorted(job.chosen))
    chosen += f" from {job.parent}" if job.parent is not None else ""
    chosen += f" played {job.pieces!r}" if job.pieces else ""
    return f"{job.origin} {job.trial} {job.rung} {job.seed} {job.share:.9g} {chosen}"
