"""A population with scores from a formula: who copies whom, what is recorded, and that order and resume change nothing."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from playing import play

from experiments.halving import Found, Job, Outcome, SearchError, identity
from experiments.population import ancestors, most_members, most_population, moved, only_tuned, population
from experiments.recipe import SearchSection
from experiments.space import Space

RATIOS = FloatDistribution(0.3, 0.9, step=0.05)
SPACE = Space(
    {"masking.ratio": RATIOS, "pretrain.lr": FloatDistribution(5e-4, 6e-3, log=True)},
    {"masking.ratio": 0.75, "pretrain.lr": 0.002},
    [],
)
RULES = SearchSection(method="population", population=8, rounds=5, confirm_seeds=2, budget=0.5)


def outcome(job: Job, score: float | None) -> Outcome:
    if score is None:
        return Outcome(job, {}, None, 0, 10, 1.0, "it diverged")
    return Outcome(job, {"knn": score}, 0.1, 5, 10, 1.0)


def low_is_good(job: Job) -> float:
    """Better the less is hidden, and with every round."""
    return 0.5 + 0.05 * job.rung - 0.3 * job.chosen["masking.ratio"] + 0.01 * (job.trial == 0)


def run(score=low_is_good, known=None, shuffle: int = 0, cores: int = 1) -> tuple[Found, list[Job]]:
    return play(population(SPACE, RULES), lambda job: outcome(job, score(job)), known, cores, shuffle)


def test_neither_cores_nor_the_order_of_ending_change_it():
    alone, jobs = run()
    for shuffle in range(3):
        found, others = run(cores=3, shuffle=shuffle)
        assert found == alone and sorted(map(identity, others)) == sorted(map(identity, jobs))


def test_known_outcomes_are_not_run_again():
    whole, jobs = run()
    known = {identity(job): outcome(job, low_is_good(job)) for job in jobs[:21]}
    found, rest = run(known=known)
    assert found == whole and [identity(job) for job in rest] == [identity(job) for job in jobs[21:]]


def test_the_defaults_stay_as_they_are_and_every_round_is_whole():
    found, jobs = run()
    assert [len(outcomes) for outcomes in found.rungs] == [8] * 5
    for outcomes in found.rungs:
        assert outcomes[0].job.chosen == SPACE.defaults and outcomes[0].job.parent in (None, 0)
    assert {round(job.share, 9) for job in jobs if job.origin != "confirm"} == {0.1}
    assert len(jobs) == most_members(RULES) and most_population(RULES) == pytest.approx(0.5 * 8 + 4)


def test_the_worst_go_on_from_the_best_with_other_settings_and_the_rest_as_they_were():
    found, _ = run()
    for before, after in zip(found.rungs, found.rungs[1:]):
        order = sorted(before, key=lambda o: -low_is_good(o.job))
        best = {o.job.trial for o in order[:2]}
        worst = {o.job.trial for o in [one for one in order if one.job.trial not in best | {0}][-2:]}
        for one in after:
            if one.job.trial in worst:
                assert one.job.parent in best
                source = before[one.job.parent].job.chosen
                for key in source:
                    assert one.job.chosen[key] in [moved(key, source[key], SPACE.keys[key], up) for up in (0, 1)]
            else:
                assert one.job.parent == one.job.trial and one.job.chosen == before[one.job.trial].job.chosen


@pytest.mark.parametrize("size", [4, 6, 7, 8])
def test_members_copy_whoever_is_worst(size):
    """Defaults that rank last copy nobody and keep nobody else from copying."""
    rules = RULES.model_copy(update={"population": size})
    for defaults in (-1.0, 1.0):

        def score(job: Job, defaults: float = defaults) -> float:
            return low_is_good(job) + 1e-6 * job.trial + defaults * (job.trial == 0)

        found, _ = play(population(SPACE, rules), lambda job: outcome(job, score(job)), None, 1, 0)
        for before, after in zip(found.rungs, found.rungs[1:]):
            order = sorted((o.job.trial for o in before if o.job.trial), key=lambda trial: score(before[trial].job))
            copied = {o.job.trial for o in after if o.job.parent not in (None, o.job.trial)}
            assert copied == set(order[: max(size // 4, 1)])


def test_the_schedule_is_the_way_of_the_best_members_ancestors():
    found, jobs = run()
    schedule = found.schedule
    assert schedule and schedule["line"] == ancestors(found.rungs, schedule["member"]) and len(schedule["pieces"]) == 5
    for number, (member, piece) in enumerate(zip(schedule["line"], schedule["pieces"])):
        assert piece["chosen"] == found.rungs[number][member].job.chosen
        assert piece["until"] == pytest.approx((number + 1) / 5)
    confirming = [job for job in jobs if job.origin == "confirm"]
    assert [job.pieces is None for job in confirming] == [True, False] * 2
    assert {job.share for job in confirming} == {1.0}, "as long as the final run, though the members trained half of it"
    assert confirming[1].pieces == schedule["pieces"] and {job.seed for job in confirming} == {1, 2}
    assert found.chosen == "winner" and found.winner == schedule["member"]
    assert "has a schedule that beats the defaults (best.yaml keeps them" in found.verdict


def test_the_verdict_names_a_seed_that_the_defaults_lost():
    found, _ = run(lambda job: None if job.trial == 0 and job.seed == 2 else low_is_good(job))
    assert found.chosen == "default" and "1 seeds, 2 are needed; the defaults failed on seed 2" in found.verdict


def test_a_failed_member_goes_on_from_a_good_one():
    def fails(job: Job) -> float | None:
        return None if job.trial == 3 and job.rung == 1 else low_is_good(job)

    found, _ = run(fails)
    again = found.rungs[2][3].job
    assert again.parent not in (None, 3) and not found.rungs[2][3].failure


def test_defaults_that_lead_or_fail_end_it():
    found, jobs = run(lambda job: 0.9 if job.trial == 0 else 0.5)
    assert found.chosen == "default" and not any(job.origin == "confirm" for job in jobs)
    assert "nothing to confirm" in found.verdict and found.schedule, "the schedule is kept to be looked at"
    with pytest.raises(SearchError, match=r"defaults could not be trained.*diverged"):
        run(lambda job: None if job.trial == 0 else 0.5)
    alone, _ = run(lambda job: 0.5 if job.trial == 0 else None)
    assert (alone.chosen, alone.winner) == ("default", None)


@pytest.mark.parametrize(
    ("key", "value", "up", "expected"),
    [
        ("masking.ratio", 0.5, 1, 0.6), ("masking.ratio", 0.5, 0, 0.4), ("masking.ratio", 0.85, 1, 0.9),
        ("masking.ratio", 0.3, 0, 0.4), ("pretrain.lr", 0.002, 1, 0.0025), ("pretrain.lr", 0.002, 0, 0.0016),
        ("pretrain.lr", 0.006, 1, 0.0048), ("pretrain.lr", 0.0059, 1, 0.006),
    ],
)  # fmt: skip
def test_a_step_stays_in_the_space(key, value, up, expected):
    assert moved(key, value, SPACE.keys[key], up) == pytest.approx(expected)
    coarse = FloatDistribution(0.25, 0.75, step=0.25)
    assert [moved("masking.ratio", 0.5, coarse, up) for up in (0, 1)] == [0.25, 0.75], "less would be rounded away"


@pytest.mark.parametrize("key", ["masking.ratio", "pretrain.lr"])
def test_a_step_on_a_list_goes_to_the_next_listed_value(key):
    listed = CategoricalDistribution((0.75, 0.1, 0.5))
    assert [moved(key, value, listed, 1) for value in (0.1, 0.5, 0.75)] == [0.5, 0.75, 0.5]
    assert [moved(key, value, listed, 0) for value in (0.1, 0.5, 0.75)] == [0.5, 0.1, 0.5]


@pytest.mark.parametrize("better", [-1, 1])
def test_no_member_trains_with_a_ratio_that_is_not_listed(better):
    choices = (0.75, 0.1, 0.5)
    space = Space({"masking.ratio": CategoricalDistribution(choices)}, {"masking.ratio": 0.75}, [])
    _, jobs = play(population(space, RULES), lambda job: outcome(job, better * job.chosen["masking.ratio"]), None, 1, 0)
    assert {job.chosen["masking.ratio"] for job in jobs} <= set(choices)


def test_a_rate_on_a_coarse_grid_moves_by_a_step_of_it():
    coarse = FloatDistribution(0.001, 0.006, step=0.001)
    assert [moved("pretrain.lr", 0.001, coarse, up) for up in (0, 1)] == [0.002, 0.002]
    assert [moved("pretrain.lr", 0.002, coarse, up) for up in (0, 1)] == [0.001, 0.003]
    assert [moved("pretrain.lr", 0.006, coarse, up) for up in (0, 1)] == [0.005, 0.005]


def test_who_copies_steps_away_from_whom_it_copies():
    alone = Space({"masking.ratio": RATIOS}, {"masking.ratio": 0.75}, [])
    _, jobs = play(population(alone, RULES), lambda job: outcome(job, low_is_good(job)), None, 1, 0)
    at = {(job.rung, job.trial): job for job in jobs}
    copies = [job for job in jobs if job.parent is not None and job.parent != job.trial]
    assert len(copies) >= 4
    for job in copies:
        assert job.chosen != at[job.rung - 1, job.parent].chosen, "at the end of the range it turns round"


def test_what_cannot_change_on_the_way_is_left_out_with_a_note():
    space = Space(
        {**SPACE.keys, "model.patch": CategoricalDistribution((4, 7))}, {**SPACE.defaults, "model.patch": 7}, []
    )
    tuned = only_tuned(space)
    assert list(tuned.keys) == list(tuned.defaults) == ["masking.ratio", "pretrain.lr"]
    assert any(note.startswith("model.patch is not searched") for note in tuned.notes)
