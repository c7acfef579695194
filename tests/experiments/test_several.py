"""A search with several objectives, scores and costs from formulas: who goes on, what is picked, and when it replaces the defaults."""

import random

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from experiments.halving import Found, Job, Outcome, Player, best, halving, history_of, points_of, values_of
from experiments.pareto import dominates
from experiments.recipe import Recipe, SearchSection, parse_recipe
from experiments.space import Space, propose

SPACE = Space(
    {"ratio": FloatDistribution(0.4, 0.9, step=0.05), "width": CategoricalDistribution((32, 64, 128, 256))},
    {"ratio": 0.75, "width": 128},
    [],
)
BOTH = ["metric", "flops"]


def rules(**keys: object) -> SearchSection:
    return SearchSection(**{"trials": 16, "rungs": 2, "confirm_seeds": 3, "objectives": BOTH, **keys})


def outcome(job: Job, score: float | None, cost: float) -> Outcome:
    if score is None:
        return Outcome(job, {}, None, 0, 10, 1.0, "it diverged")
    return Outcome(job, {"knn": score}, 0.1, 5, 10, 1.0, "", {"lidar": 10 * score}, cost)


def width_pays_little(job: Job) -> float:
    """Wider is a little better, a ratio of 0.5 is best; another seed moves all alike."""
    return 0.8 + 0.0001 * job.chosen["width"] - (job.chosen["ratio"] - 0.5) ** 2 + 0.001 * (job.seed % 7)


def run(section: SearchSection, score=width_pays_little, shuffle: int = 0, cores: int = 1) -> tuple[Found, list[Job]]:
    player, chance, ran, out = Player(halving(SPACE, section), {}), random.Random(shuffle), [], []
    while player.found is None:
        while len(out) < cores and (job := player.next()):
            out.append(job)
        job = out.pop(chance.randrange(len(out)))
        ran.append(job)
        player.take(outcome(job, score(job), 1e4 * job.chosen["width"]))
    return player.found, ran


def test_neither_cores_nor_order_change_what_is_tried():
    assert run(rules(), cores=3, shuffle=5)[0] == run(rules())[0]


def test_the_front_is_what_none_dominates_and_the_pick_is_on_it():
    found, _ = run(rules())
    last = found.rungs[-1]
    points = {o.job.trial: p for o, p in zip(last, points_of(last, BOTH))}
    assert set(found.front) == {t for t, p in points.items() if not any(dominates(q, p) for q in points.values())}
    assert found.winner in found.front


def test_what_goes_on_is_not_dominated_by_what_is_left_behind():
    found, _ = run(rules())
    first, going = found.rungs[0], {o.job.trial for o in found.rungs[1]}
    assert 0 in going and len(going) == 5
    points = {o.job.trial: p for o, p in zip(first, points_of(first, BOTH))}
    for trial in going - {0}:
        assert not any(dominates(points[other], points[trial]) for other in set(points) - going)


def test_a_cheaper_pick_that_scores_no_worse_replaces_the_defaults():
    fresh = {0: 0.001, 1: 0.0005, 2: -0.0005, 3: 0.0001}

    def narrow_is_as_good(job: Job) -> float:
        return 0.8 + fresh[job.seed] if job.chosen["width"] == 32 else 0.8 if job.trial == 0 else 0.7

    found, _ = run(rules(), score=narrow_is_as_good)
    assert found.confirmation.gain is not None and found.confirmation.gain < (found.confirmation.standard_error or 0)
    assert found.winner and found.chosen == "winner", found.verdict
    assert found.others["flops"].gain > 0 and found.others["flops"].standard_error == 0


def test_a_cheap_pick_that_loses_score_is_a_trade():
    by_width = {32: 0.5, 64: 0.79, 128: 0.8, 256: 0.805}
    found, _ = run(rules(rungs=1), score=lambda job: by_width[job.chosen["width"]])
    assert found.winner and found.chosen == "default" and "a trade, not a gain" in found.verdict


def test_an_objective_that_the_pick_lacks_on_fresh_seeds_keeps_the_defaults():
    """As good and cheaper; whether it is worse in LiDAR is not known."""
    section, lost = rules(objectives=[*BOTH, "lidar"]), {}
    player = Player(halving(SPACE, section), {})
    while player.found is None:
        job = player.next()
        known = lost if job.origin == "confirm" and job.trial else {"lidar": 1.0}
        player.take(Outcome(job, {"knn": 0.8}, 0.1, 5, 10, 1.0, "", known, 1e4 * job.chosen["width"]))
    found = player.found
    assert found.winner and found.others["lidar"].gain is None and found.others["flops"].gain > 0
    assert found.chosen == "default" and "not measured on every seed: lidar" in found.verdict


def test_defaults_that_are_the_pick_need_no_confirming():
    found, jobs = run(rules(), score=lambda job: 0.9 if job.trial == 0 else 0.1, shuffle=1)
    if found.winner == 0:
        assert found.chosen == "default" and not any(job.origin == "confirm" for job in jobs)
    assert 0 in found.front


def test_failed_trials_are_nowhere():
    found, _ = run(rules(), score=lambda job: None if job.trial % 2 else width_pays_little(job))
    assert all(o.job.trial % 2 == 0 for o in found.rungs[1]) and all(trial % 2 == 0 for trial in found.front)


def test_values_are_turned_and_what_is_not_there_is_no_value():
    job = Job(1, 0, "sampled", 0, 0.1, {"ratio": 0.5, "width": 64})
    both = [outcome(job, 0.5, 7.0), outcome(job, None, 0.0)]
    assert values_of(both, "flops") == [-7.0, None] and values_of(both, "lidar") == [5.0, None]
    assert values_of(both, "ridge") == [None, None]
    known, failed = history_of(both, ["metric", "lidar"])
    assert (known.score, known.others) == (0.5, (5.0,)) and failed.score is None
    assert best(both, 2, ["metric", "flops"]) == both[:1]


def test_proposals_for_several_objectives_repeat_and_learn():
    section = rules(trials=40, rungs=1)
    found, _ = run(section)
    history = history_of(found.rungs[0][:20], BOTH)
    first = propose(SPACE, history, 4, 0, 20, 2)
    assert first == propose(SPACE, history, 4, 0, 20, 2) and len(first) == 4
    gap = [abs(o.job.chosen["ratio"] - 0.5) for o in found.rungs[0]]
    assert sum(gap[20:]) / len(gap[20:]) < sum(gap[1:20]) / 19


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("search: {metric: loss}", "unknown metric 'loss'"),
        ("search: {metric: rigde}", "did you mean 'ridge'"),
        ("search: {objectives: [flops]}", "the first is metric"),
        ("search: {objectives: [metric, flop]}", "did you mean 'flops'"),
        ("search: {objectives: [metric, flops, flops]}", "name each once"),
        ("search: {proxies: [knn, lider]}", "did you mean 'lidar'"),
        ("search: {population: 2}", "greater than or equal to 4"),
    ],
)
def test_a_wrong_search_section_is_refused_by_name(text, words):
    with pytest.raises(ValueError, match="search") as refusal:
        parse_recipe(text, "mine.yaml")
    assert words in str(refusal.value)
    assert Recipe().search.objectives == ["metric"] and Recipe().search.metric == "knn"
