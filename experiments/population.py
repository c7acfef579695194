"""Population-based training of schedules (Jaderberg et al. 2017, §3): side by side, the worst going on from the best after every round.

A generator of jobs like ``halving``: it trains nothing and knows nothing of Ray. What a member hides and how fast it learns may change from
round to round, so the way of its ancestors is a schedule. Every member draws the same weights, batches and masks from the same seed, so
playing that schedule from the start gives the very weights of the member: what is found can be trained again as it is.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from experiments.halving import (
    NOT_CONFIRMED,
    Found,
    Job,
    Outcome,
    Plan,
    best,
    check_defaults,
    confirm,
    confirm_share,
    defaults_failed,
    judge,
    scores,
)
from experiments.recipe import SearchSection
from experiments.space import Space, propose, tidy
from mae_core.draws import key as draw_key

TUNED = ("masking.ratio", "pretrain.lr")
"""Keys that a training can change on its way."""
PART = 4
"""One in so many members copies another after a round."""
RATIO_STEP = 0.1
LR_FACTOR = 1.25
"""How far a copy moves from whom it copies."""
HIGHEST_RATIO = 0.95
"""Of a copy: beyond it hardly a cell is seen."""

WON = "has a schedule that beats the defaults (best.yaml keeps them, for its values hold throughout)"


class Piece(NamedTuple):
    """A part of a schedule."""

    until: float
    """Share of the steps at its end."""
    chosen: dict[str, Any]
    """The searched keys in this part."""


def only_tuned(space: Space) -> Space:
    """The keys of a space that a schedule can change; a note for each of the others."""
    keys = {key: values for key, values in space.keys.items() if key in TUNED}
    left = [
        f"{key} is not searched: a population changes {', '.join(TUNED)} alone"
        for key in space.keys
        if key not in TUNED
    ]
    return Space(keys, {key: space.defaults[key] for key in keys}, [*space.notes, *left])


def population(space: Space, rules: SearchSection) -> Plan:
    """The jobs of a population. Member 0 is the defaults throughout and copies nobody; raises SearchError where they cannot be trained."""
    first = propose(space, [], rules.population - 1, rules.seed, rules.population)
    now: list[tuple[int | None, dict[str, Any]]] = [(None, space.defaults), *((None, chosen) for chosen in first)]
    rounds: list[list[Outcome]] = []
    for number in range(rules.rounds):
        outcomes = yield [_leg(rules, member, number, chosen, parent) for member, (parent, chosen) in enumerate(now)]
        check_defaults(outcomes)
        rounds.append(outcomes)
        now = _next(space, rules, outcomes)
    return (yield from _end(rules, rounds))


def _leg(rules: SearchSection, member: int, number: int, chosen: dict[str, Any], parent: int | None) -> Job:
    origin = "sampled" if member else "default"
    return Job(member, number, origin, rules.seed, rules.budget / rules.rounds, chosen, parent)


def _next(space: Space, rules: SearchSection, outcomes: list[Outcome]) -> list[tuple[int | None, dict[str, Any]]]:
    """Whose weights each member goes on from, and with what: truncation selection, then a step away from whom it copies (§4.1)."""
    order = [o.job.trial for o in best(outcomes, len(outcomes))]
    count = max(len(outcomes) // PART, 1)
    leaders = order[:count]
    failed = [o.job.trial for o in outcomes if o.failure]
    worst = [*failed, *[member for member in order if member and member not in leaders][-count:]]
    found: list[tuple[int | None, dict[str, Any]]] = []
    for outcome in outcomes:
        job = outcome.job
        if job.trial not in worst:
            found.append((job.trial, job.chosen))
            continue
        where = (rules.seed, "population", job.rung, job.trial)
        parent = leaders[draw_key(*where, "whom") % len(leaders)]
        source = outcomes[parent].job.chosen
        found.append(
            (parent, {key: moved(key, source[key], space.keys[key], draw_key(*where, key) % 2) for key in source})
        )
    return found


def moved(key: str, value: float, allowed: BaseDistribution, up: int) -> float:
    """``value`` a step up or down, within what the space allows; the other way where it stands at the end."""
    found = _stepped(key, value, allowed, up)
    return found if found != value else _stepped(key, value, allowed, not up)


def _stepped(key: str, value: float, allowed: BaseDistribution, up: bool | int) -> float:
    if isinstance(allowed, CategoricalDistribution):
        return _neighbour(value, allowed.choices, up)
    least = getattr(allowed, "step", None) or 0.0  # less would be rounded away
    if key == "pretrain.lr":
        found = value * LR_FACTOR if up else value / LR_FACTOR
        if abs(found - value) < least:
            found = value + (least if up else -least)
    else:
        size = max(RATIO_STEP, least)
        found = min(max(value + (size if up else -size), 0.0), HIGHEST_RATIO)
    if isinstance(allowed, FloatDistribution):
        found = min(max(found, allowed.low), allowed.high)
        if allowed.step:
            found = allowed.low + round((found - allowed.low) / allowed.step) * allowed.step
    return float(tidy(float(found)))


def _neighbour(value: float, choices: Sequence[Any], up: bool | int) -> float:
    """The next larger or smaller of the listed values; ``value`` where there is none."""
    further = [float(one) for one in choices if (one > value if up else one < value)]
    return min(further, key=lambda one: abs(one - value), default=value)


def ancestors(rounds: list[list[Outcome]], member: int) -> list[int]:
    """Who trained, round by round, what ``member`` is at the end."""
    line = [member]
    for outcomes in reversed(rounds[1:]):
        parent = outcomes[line[-1]].job.parent
        line.append(line[-1] if parent is None else parent)
    return line[::-1]


def _end(rules: SearchSection, rounds: list[list[Outcome]]) -> Generator[list[Job], list[Outcome], Found]:
    last = rounds[-1]
    by_trial = dict(zip([o.job.trial for o in last], scores(last)))
    sampled = [o.job.trial for o in best(last, len(last)) if o.job.trial]
    if not sampled:
        return Found(
            rounds, [], None, NOT_CONFIRMED, "default", "no member but the defaults could be scored at the end"
        )
    leader = sampled[0]
    line = ancestors(rounds, leader)
    pieces = [Piece((n + 1) / rules.rounds, rounds[n][member].job.chosen) for n, member in enumerate(line)]
    schedule = {"member": leader, "line": line, "pieces": [piece._asdict() for piece in pieces]}
    default, ahead = by_trial[0], by_trial[leader]
    assert default is not None and ahead is not None
    if ahead <= default:
        verdict = (
            f"the defaults stay: the best schedule (member {leader}) scores {ahead:.4f} at the end, the defaults {default:.4f}, so there "
            "was nothing to confirm"
        )
        return Found(rounds, [], leader, NOT_CONFIRMED, "default", verdict, schedule=schedule)
    told = [piece._asdict() for piece in pieces]
    seeds = [rules.seed + 1 + k for k in range(rules.confirm_seeds)]
    confirming = yield [
        Job(member, rules.rounds - 1, "confirm", seed, confirm_share(rules), last[member].job.chosen, None, played)
        for seed in seeds
        for member, played in ((0, None), (leader, told))
    ]
    confirmation = confirm(confirming)
    judged = judge(leader, confirmation, WON, defaults_failed(confirming))
    return Found(rounds, confirming, leader, confirmation, *judged, schedule=schedule)


def most_population(rules: SearchSection) -> float:
    """What a population costs at most in final runs, had every member the defaults' mask ratio; members that hide less cost more."""
    return rules.budget * rules.population + confirm_share(rules) * 2 * rules.confirm_seeds


def most_members(rules: SearchSection) -> int:
    """The largest number of jobs of a population."""
    return rules.population * rules.rounds + 2 * rules.confirm_seeds
