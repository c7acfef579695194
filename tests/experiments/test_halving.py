"""The plan of a search, with scores from a formula: what is tried, who goes on, who wins, and that order and resume change nothing."""

from collections.abc import Callable

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from playing import play

from experiments import words
from experiments.halving import (
    Confirmation,
    Found,
    Job,
    Outcome,
    Player,
    SearchError,
    best,
    confirm,
    defaults_failed,
    first_batch,
    halving,
    identity,
    judge,
    most,
    most_jobs,
    next_batch,
    scores,
    share,
)
from experiments.recipe import SearchSection
from experiments.space import Space

SPACE = Space(
    {"lr": FloatDistribution(1e-4, 1e-1, log=True), "ratio": FloatDistribution(0.4, 0.9, step=0.05)},
    {"lr": 0.002, "ratio": 0.75},
    [],
)
Score = Callable[[Job], float | None]


def rules(**keys: float) -> SearchSection:
    return SearchSection(**{"trials": 12, "rungs": 2, "confirm_seeds": 3, **keys})


def outcome(job: Job, score: float | None) -> Outcome:
    if score is None:
        return Outcome(job, {}, None, 0, 10, 1.0, "it diverged")
    return Outcome(job, {"knn": score}, 1 - score, 5, 10, 1.0)


def bowl(job: Job) -> float:
    """Best at a ratio of 0.5; another seed moves it a little, the same for all."""
    return 0.9 - (job.chosen["ratio"] - 0.5) ** 2 + 0.001 * (job.seed % 7)


def run(
    section: SearchSection,
    score: Score = bowl,
    known: dict[str, Outcome] | None = None,
    cores: int = 1,
    shuffle: int = 0,
    space: Space = SPACE,
) -> tuple[Found, list[Job]]:
    """Plays a search on so many cores, whose jobs end in an order of chance; the jobs that were run."""
    return play(halving(space, section), lambda job: outcome(job, score(job)), known, cores, shuffle)


@pytest.mark.parametrize("cores", [2, 3, 16])
def test_neither_cores_nor_the_order_of_ending_change_what_is_tried(cores: int) -> None:
    alone, jobs = run(rules())
    for shuffle in range(5):
        found, others = run(rules(), cores=cores, shuffle=shuffle)
        assert found == alone
        assert sorted(map(identity, others)) == sorted(map(identity, jobs))


def test_a_better_configuration_replaces_the_defaults() -> None:
    found, jobs = run(rules())
    assert found.chosen == "winner" and found.winner
    chosen = found.rungs[0][found.winner].job.chosen
    assert abs(chosen["ratio"] - 0.5) < abs(0.75 - 0.5)
    assert len(found.confirmation.seeds) == 3 and 0 not in found.confirmation.seeds, "fresh seeds confirm"
    assert f"trial {found.winner} replaces the defaults" in found.verdict
    assert len(jobs) == most_jobs(rules())


def test_later_trials_learn_from_earlier_ones() -> None:
    found, _ = run(rules(trials=40, rungs=1))
    distance = [abs(o.job.chosen["ratio"] - 0.5) for o in found.rungs[0]]
    first = first_batch(40)
    assert sum(distance[first:]) / len(distance[first:]) < sum(distance[1:first]) / (first - 1)


def test_the_defaults_always_reach_the_longest_schedule() -> None:
    found, _ = run(rules(trials=18, rungs=3), score=lambda job: 0.1 if job.trial == 0 else bowl(job))
    assert [rung[0].job.trial for rung in found.rungs] == [0, 0, 0]
    assert [len(rung) for rung in found.rungs] == [18, 6, 2]
    assert all(o.job.origin == ("sampled" if o.job.trial else "default") for rung in found.rungs for o in rung)


def test_a_schedule_is_three_times_as_long_a_rung_higher() -> None:
    section = rules(rungs=3, budget=0.18)
    assert [share(section, rung) for rung in range(3)] == pytest.approx([0.02, 0.06, 0.18])
    assert most(section) == pytest.approx(12 * 0.02 + 4 * 0.06 + 2 * 0.18 + 6 * 1.0)
    assert most_jobs(section) == 12 + 4 + 2 + 6


@pytest.mark.parametrize(("asked", "length"), [(1.0, 1.0), (0.5, 0.5), (0.1, 0.18)])
def test_confirming_runs_have_a_length_of_their_own_and_never_less_than_a_trial(asked: float, length: float) -> None:
    found, jobs = run(rules(budget=0.18, confirm_budget=asked))
    assert {job.share for job in jobs if job.origin == "confirm"} == {length} == {found.confirmation.share}
    assert max(job.share for job in jobs if job.origin != "confirm") == 0.18
    assert f"on 3 fresh seeds {words.length(length)}" in found.verdict


def test_what_leads_in_short_trials_alone_is_not_chosen() -> None:
    def early(job: Job) -> float:
        return 0.5 + (0.1 if job.share < 1 else -0.1) * (job.trial == 3) + 0.001 * job.seed * (job.trial == 0)

    found, _ = run(rules(budget=0.3), score=early)
    assert (found.winner, found.chosen) == (3, "default")
    found, _ = run(rules(budget=0.3, confirm_budget=0.3), score=early)
    assert (found.winner, found.chosen) == (3, "winner")


def test_defaults_that_lead_need_no_confirming() -> None:
    found, jobs = run(rules(), score=lambda job: 0.9 if job.trial == 0 else 0.5)
    assert found.chosen == "default" and "nothing to confirm" in found.verdict
    assert not any(job.origin == "confirm" for job in jobs) and found.confirmation.gain is None


def test_a_tie_leaves_the_defaults() -> None:
    found, _ = run(rules(), score=lambda job: 0.5)
    assert found.chosen == "default"
    assert [o.job.trial for o in found.rungs[1]] == [0, 1, 2, 3], "among equals the earlier go on"


def test_luck_of_one_seed_is_not_confirmed() -> None:
    def lucky(job: Job) -> float:
        return 0.5 if job.trial != 3 else 0.9 if job.seed == 0 else 0.5 + 0.01 * (-1) ** job.seed

    found, _ = run(rules(), score=lucky)
    assert (found.winner, found.chosen) == (3, "default")
    assert "no more than that" in found.verdict


def test_failed_trials_neither_go_on_nor_win() -> None:
    found, _ = run(rules(), score=lambda job: None if job.trial % 2 else bowl(job))
    assert all(o.job.trial % 2 == 0 for o in found.rungs[1]) and found.winner and found.winner % 2 == 0


def test_a_search_in_which_only_the_defaults_train_keeps_them() -> None:
    found, _ = run(rules(), score=lambda job: None if job.trial else 0.5)
    assert (found.winner, found.chosen) == (None, "default")


def test_defaults_that_fail_end_the_search() -> None:
    with pytest.raises(SearchError, match="nothing to compare with: it diverged"):
        run(rules(), score=lambda job: None if job.trial == 0 else 0.5)
    with pytest.raises(SearchError, match="nothing to compare with"):
        run(rules(), score=lambda job: None if job.rung == 1 and job.trial == 0 else bowl(job))


@pytest.mark.parametrize("cut", [1, 5, 7, 12, 15, 19])
def test_known_outcomes_are_not_run_again_and_lead_to_the_same_end(cut: int) -> None:
    whole, jobs = run(rules())
    known = {identity(job): outcome(job, bowl(job)) for job in jobs[:cut]}
    found, rest = run(rules(), known=known)
    assert found == whole
    assert [identity(job) for job in rest] == [identity(job) for job in jobs[cut:]]


def test_a_search_of_which_all_is_known_hands_out_nothing() -> None:
    whole, jobs = run(rules())
    player = Player(halving(SPACE, rules()), {identity(job): outcome(job, bowl(job)) for job in jobs})
    assert player.found == whole and player.next() is None


def test_a_small_space_is_tried_whole_and_once() -> None:
    small = Space({"depth": CategoricalDistribution((1, 2, 3))}, {"depth": 2}, [])
    found, _ = run(rules(), score=lambda job: job.chosen["depth"] / 10, space=small)
    assert sorted(o.job.chosen["depth"] for o in found.rungs[0]) == [1, 2, 3]
    assert found.chosen == "winner"


@pytest.mark.parametrize("trials", range(1, 40))
def test_batches_are_even_and_hold_every_trial(trials: int) -> None:
    first = first_batch(trials)
    assert trials / 2 <= first <= trials and (first % 2 == 0 or first == trials)
    assert next_batch(first) >= 2 and next_batch(first) % 2 == 0


def job(trial: int, seed: int = 0) -> Job:
    return Job(trial, 0, "sampled", seed, 0.1, {"ratio": trial / 10})


def test_several_measures_become_mean_ranks() -> None:
    values = [(0.1, 5.0), (0.3, 1.0), (0.2, 1.0)]
    tried = [Outcome(job(i), {"lidar": a, "explained": b}, None, 1, 1, 1.0) for i, (a, b) in enumerate(values)]
    tried.append(outcome(job(3), None))
    assert scores(tried) == [
        pytest.approx((0 + 1) / 2),
        pytest.approx((1 + 0.25) / 2),
        pytest.approx((0.5 + 0.25) / 2),
        None,
    ]
    assert [o.job.trial for o in best(tried, 2)] == [1, 0], "the defaults, and one other"


def test_seeds_on_which_one_failed_are_not_paired() -> None:
    values = {1: (0.5, 0.6), 2: (None, 0.5), 3: (0.4, 0.6)}
    tried = [outcome(job(trial, seed), value) for seed, pair in values.items() for trial, value in zip((0, 4), pair)]
    confirmation = confirm(tried)
    assert confirmation.seeds == [1, 3] and confirmation.default == [0.5, 0.4] and confirmation.winner == [0.6, 0.6]
    assert confirmation.gain == pytest.approx(0.15) and confirmation.standard_error == pytest.approx(0.05)
    assert confirmation.failed == [] and judge(4, confirmation)[0] == "winner"
    verdict = judge(4, confirmation, without=defaults_failed(tried))[1]
    assert verdict.endswith("; the defaults failed on seed 2, where nothing is compared")


@pytest.mark.parametrize(("lost", "chosen"), [([0], "winner"), ([4], "default"), ([0, 4], "default")])
def test_a_verdict_says_whose_training_failed_on_which_seed(lost: list[int], chosen: str) -> None:
    values = {
        seed: [None if seed == 2 and trial in lost else 0.5 + trial / 10 for trial in (0, 4)] for seed in (1, 2, 3)
    }
    tried = [outcome(job(trial, seed), value) for seed, pair in values.items() for trial, value in zip((0, 4), pair)]
    found, verdict = judge(4, confirm(tried), without=defaults_failed(tried))
    assert found == chosen
    assert ("defaults failed on seed 2" in verdict) == (0 in lost) and ("trial 4 failed" in verdict) == (4 in lost)


def test_a_search_says_on_which_seed_its_defaults_failed() -> None:
    found, _ = run(rules(), score=lambda job: None if job.trial == 0 and job.seed == 2 else bowl(job))
    assert found.chosen == "winner" and "the defaults failed on seed 2" in found.verdict


def test_a_trial_that_fails_on_a_fresh_seed_replaces_nothing() -> None:
    """However far it is ahead on the others: the final run might be the next that fails."""
    values = {1: (0.5, 0.9), 2: (0.5, None), 3: (0.4, 0.8)}
    tried = [outcome(job(trial, seed), value) for seed, pair in values.items() for trial, value in zip((0, 4), pair)]
    confirmation = confirm(tried)
    assert confirmation.failed == [2] and confirmation.gain == pytest.approx(0.4)
    found, verdict = judge(4, confirmation)
    assert found == "default" and "trial 4 failed" in verdict and "seed 2" in verdict


@pytest.mark.parametrize(
    ("gain", "error", "chosen", "why"),
    [
        (0.02, 0.01, "winner", "trial 4 replaces the defaults"),
        (0.01, 0.01, "default", "no more than that"),
        (-0.01, 0.01, "default", "no more than that"),
        (-0.02, 0.001, "default", "it is behind"),
    ],
)
def test_a_gain_has_to_exceed_its_standard_error(gain: float, error: float, chosen: str, why: str) -> None:
    found, verdict = judge(4, Confirmation([1, 2], [0.5, 0.5], [0.6, 0.6], gain, error))
    assert found == chosen and why in verdict


def test_one_paired_seed_is_not_enough() -> None:
    assert judge(4, confirm([outcome(job(0, 1), 0.1), outcome(job(4, 1), 0.9)]))[0] == "default"
