"""Intervals: what they cover, how often, and when there is none."""

import math

import numpy as np
import pytest

from mae_core.evaluation.statistics import (
    Interval,
    over_items,
    over_seeds,
    paired_over_items,
    rank_correlation,
    wider,
)


def test_t_interval_by_hand():
    found = over_seeds(np.array([0.80, 0.82, 0.87]), "pretraining seeds")
    half = 4.302653 * np.std([0.80, 0.82, 0.87], ddof=1) / math.sqrt(3)  # t of 2 degrees of freedom, from a table
    assert found.mean == pytest.approx(0.83) and found.n == 3 and found.covers == "pretraining seeds"
    assert (found.low, found.high) == pytest.approx((0.83 - half, 0.83 + half), abs=1e-6)


@pytest.mark.parametrize("values", [[0.8], [0.8, 0.9]])
def test_too_few_seeds_give_a_mean_and_no_interval(values):
    found = over_seeds(np.array(values), "seeds")
    assert found.mean == pytest.approx(np.mean(values)) and math.isnan(found.low) and math.isnan(found.high)
    assert found.covers == ""


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(400):
        found = over_items(rng.random(200) < 0.7, seed=i)
        hits += found.low <= 0.7 <= found.high
    assert 0.91 <= hits / 400 <= 0.98


def test_bootstrap_has_the_width_of_a_binomial_whatever_the_order():
    right = np.arange(1000) < 900
    found = over_items(right)
    assert found.mean == 0.9 and found.low < 0.9 < found.high
    assert found.width == pytest.approx(2 * 1.96 * math.sqrt(0.9 * 0.1 / 1000), rel=0.1)
    assert over_items(right[::-1]) == found


def test_all_right_is_not_certain_and_one_item_says_nothing():
    found = over_items(np.ones(100))
    assert found.mean == found.high == 1 and found.low == pytest.approx(0.9630, abs=1e-4), "Wilson's, from a table"
    assert over_items(np.zeros(100)).high == pytest.approx(1 - found.low)
    assert over_items(np.full(9, 0.3))[:3] == pytest.approx((0.3, 0.3, 0.3)), "numbers that are no hits are as they are"
    assert math.isnan(over_items(np.ones(1)).low)


def test_near_all_right_the_interval_still_covers():
    rng = np.random.default_rng(0)
    for n, share in ((100, 0.99), (300, 0.995), (105, 0.98)):
        hits = [(found := over_items(rng.random(n) < share)).low <= share <= found.high for _ in range(400)]
        assert np.mean(hits) >= 0.9, (n, share)


def test_two_models_that_differ_in_few_items_are_not_told_apart():
    """Whatever the share: of 105 items two more right is no finding, and none is no proof of equality."""
    theirs = np.arange(105) < 100
    ours = theirs | (np.arange(105) >= 103)
    few, same = paired_over_items(ours, theirs), paired_over_items(theirs, theirs)
    assert few.mean == pytest.approx(2 / 105) and few.low < 0 < few.high
    assert same.mean == 0 and same.low == -same.high and 0.01 < same.high < 0.03
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        both, ours, theirs = rng.random(105) < 0.95, rng.random(105) < 0.3, rng.random(105) < 0.3
        found = paired_over_items(np.where(both, 1, ours), np.where(both, 1, theirs))
        hits += found.low <= 0 <= found.high
    assert hits / 400 >= 0.93


def test_pairing_takes_away_what_both_get_wrong():
    rng = np.random.default_rng(1)
    theirs = rng.random(1000) < 0.8
    ours = theirs | (np.arange(1000) % 50 == 0)
    gain = paired_over_items(ours, theirs)
    assert gain.mean == pytest.approx(ours.mean() - theirs.mean()) and gain.low > 0
    assert gain.width < 0.3 * over_items(theirs).width
    opposite = paired_over_items(theirs, ours)
    assert (opposite.mean, opposite.n) == pytest.approx((-gain.mean, 1000))


def test_pairs_must_be_of_the_same_items():
    with pytest.raises(ValueError, match="same ones"):
        paired_over_items(np.ones(3), np.ones(4))


def test_wider_prefers_one_that_exists():
    none, narrow, wide = (Interval(0.5, low, high, 9, "") for low, high in ((math.nan, math.nan), (0.4, 0.6), (0, 1)))
    assert wider(none, narrow) is narrow and wider(narrow, none) is narrow
    assert wider(narrow, wide) is wide and wider(wide, narrow) is wide


def test_rank_correlation_is_spearmans_and_sees_order_alone():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(3)
    ours = rng.integers(0, 12, 30).astype(float)  # with ties
    theirs = ours + rng.normal(0, 4, 30)
    found = rank_correlation(ours, theirs)
    assert found.mean == pytest.approx(spearmanr(ours, theirs).statistic) and found.n == 30
    assert found.low < found.mean < found.high and "bootstrap" in found.covers
    assert rank_correlation(np.exp(ours), theirs**3) == found
    assert rank_correlation(-ours, theirs).mean == pytest.approx(-found.mean)


def test_rank_correlation_covers_the_truth_about_as_often_as_it_says():
    """Spearman's ρ of normal pairs is 6/π · asin(r/2)."""
    rng, truth, hits = np.random.default_rng(0), 6 / math.pi * math.asin(0.3), 0
    for i in range(100):
        pairs = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 40)
        found = rank_correlation(*pairs.T, draws=200, seed=i)
        hits += found.low <= truth <= found.high
    assert 0.86 <= hits / 100 <= 0.99


def test_rank_correlation_of_too_little_is_not_invented():
    assert math.isnan(rank_correlation(np.arange(2), np.arange(2)).mean)
    for n in (4, 5, 8):
        few = rank_correlation(np.arange(n), np.arange(n))
        assert few.mean == pytest.approx(1) and math.isnan(few.low) and few.n == n, "[1, 1] would be no interval"
    assert math.isnan(rank_correlation(np.ones(9), np.arange(9)).mean)
    gone = rank_correlation(np.array([1, 2, 3, np.nan, 5]), np.array([1, 2, np.inf, 4, 5]))
    assert gone.n == 3 and gone.mean == pytest.approx(1)
    with pytest.raises(ValueError, match="same units"):
        rank_correlation(np.ones(3), np.ones(4))
