"""Several objectives: fronts by hand, the pick, and when it replaces the defaults."""

import math

import numpy as np
import pytest

from experiments.pareto import Gain, crowding, dominates, front_of, fronts, knee, ranked, weigh

POINTS = [[0.9, -10.0], [0.8, -5.0], [0.7, -6.0], [0.5, -1.0], [0.4, -9.0]]
"""The third is dominated by the second, the last by the second and the third."""


def test_fronts_by_hand():
    assert fronts(POINTS).tolist() == [0, 0, 1, 0, 2]
    assert front_of(POINTS) == [0, 1, 3]
    assert dominates([1, 2], [1, 1]) and not dominates([1, 1], [1, 1]) and not dominates([2, 0], [1, 1])


def test_fronts_are_what_domination_says():
    points = np.random.default_rng(0).integers(0, 6, (40, 3))
    first = {i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)}
    assert set(front_of(points)) == first
    left = [i for i in range(40) if i not in first]
    second = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
    assert set(np.flatnonzero(fronts(points) == 1)) == second


def test_what_is_not_whole_is_worse_than_all():
    points = [[math.nan, -1.0], [0.1, -9.0], [0.2, math.nan]]
    assert front_of(points) == [1] and ranked(points)[0] == 1
    assert front_of([[math.nan, 1.0]]) == [] and knee([[math.nan, 1.0]], [False, True]) is None and ranked([]) == []


def test_ends_of_a_front_stand_apart_and_a_crowd_does_not():
    line = [[0.0, 1.0], [0.45, 0.55], [0.5, 0.5], [1.0, 0.0]]
    apart = crowding(line)
    assert np.isinf(apart[[0, 3]]).all() and apart[1] == pytest.approx(1.0) and apart[2] == pytest.approx(1.1)
    assert ranked(line) == [3, 0, 2, 1]


def test_an_objective_that_is_the_same_for_all_has_no_ends():
    points = np.array([[0.1, 0.9], [0.5, 0.5], [0.4, 0.6], [0.9, 0.1]])
    beside = np.c_[points, np.ones(4)]
    assert crowding(beside).tolist() == crowding(points).tolist()
    assert not crowding(np.ones((3, 2))).any()


def test_the_pick_is_near_the_best_of_both():
    points = [[1.0, -100.0], [0.95, -10.0], [0.1, -1.0], [0.0, -50.0]]
    assert knee(points, [False, True]) == 1
    assert knee([[1.0, -8.0]], [False, True]) == 0
    # by its logarithm a cost of 10 is half way between 1 and 100; as it is, it is next to 1
    spread = [[1.0, -100.0], [0.0, -1.0], [0.1, -10.0]]
    assert knee(spread, [False, True]) == 0 and knee(spread, [False, False]) == 2


def gains(score: float, error: float = 0.01, **others: float) -> dict[str, Gain]:
    return {"metric": Gain(3, score, error), **{name: Gain(3, gain, 0.0) for name, gain in others.items()}}


@pytest.mark.parametrize(
    ("given", "chosen", "words"),
    [
        (gains(0.02, flops=-5), "winner", "worse in flops"),
        (gains(0.005, flops=5), "winner", "better in flops"),
        (gains(0.0, 0.0, flops=5), "winner", "better in flops"),
        (gains(0.005, flops=5, parameters=-1), "default", "is within one standard error of them and elsewhere a trade"),
        (gains(0.005, flops=0), "default", "is within one standard error of them and better in nothing else"),
        (gains(-0.005, flops=0), "default", "is within one standard error of them and better in nothing else"),
        (gains(-0.001, flops=5), "default", "a trade, not a gain"),
        (gains(-0.02, flops=5), "default", "a trade, not a gain"),
        (gains(-0.02, flops=-5), "default", "is behind"),
    ],
)
def test_the_pick_replaces_the_defaults_by_score_or_by_cost_alone(given, chosen, words):
    assert weigh(4, given)[0] == chosen and words in weigh(4, given)[1]


def test_a_lower_score_is_seldom_taken_for_a_lower_cost():
    """The defaults are better by half of a seed's standard deviation: a cost, which has no error, must not win for that."""
    drawn = np.random.default_rng(0).normal(-0.5, 1.0, (2000, 3))
    taken = [
        weigh(1, gains(float(one.mean()), float(one.std(ddof=1)) / 3**0.5, flops=5))[0] == "winner" for one in drawn
    ]
    assert np.mean(taken) < 0.25


@pytest.mark.parametrize("lidar", [Gain(0, None, None), Gain(1, None, None), Gain(2, 1.0, 0.1)])
def test_what_could_not_be_measured_is_not_known_to_be_no_worse(lidar):
    found, verdict = weigh(4, {**gains(0.005, flops=5), "lidar": lidar})
    assert found == "default" and "may be worse in lidar" in verdict and "not measured on every seed: lidar" in verdict
    found, verdict = weigh(4, {**gains(0.02, flops=5), "lidar": lidar})
    assert found == "winner" and "not measured on every seed: lidar" in verdict, "the score alone is enough"


def test_seeds_that_the_defaults_lost_are_named():
    for given, failed in ((gains(0.02, flops=5), []), (gains(0.02, flops=5), [7]), (gains(-0.02, flops=5), [])):
        assert weigh(4, given, failed, [3, 5])[1].endswith(
            "the defaults failed on seed 3, 5, where nothing is compared"
        )
    assert "defaults failed" not in weigh(4, gains(0.02, flops=5))[1]


def test_a_pick_that_fails_on_a_fresh_seed_replaces_nothing():
    found, verdict = weigh(4, gains(0.02, flops=5), [7])
    assert found == "default" and "seed 7" in verdict


def test_too_few_seeds_decide_nothing():
    assert weigh(4, {"metric": Gain(1, None, None), "flops": Gain(1, None, None)}) == (
        "default", "the defaults stay: trial 4 could be compared with them on 1 seeds, 2 are needed",
    )  # fmt: skip
