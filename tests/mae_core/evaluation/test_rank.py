"""RankMe by hand."""

import numpy as np
import pytest

from mae_core.evaluation.rank import measure_rank


def test_orthogonal_directions_count_and_one_direction_is_collapse():
    assert measure_rank(np.eye(8, dtype="f4")).effective_rank == pytest.approx(8)
    collapsed = measure_rank(np.outer(np.arange(1, 9), np.ones(4)).astype("f4"))
    assert collapsed.effective_rank == pytest.approx(1) and collapsed.effective_rank_share == pytest.approx(0.25)


def test_singular_values_by_hand():
    values = np.array([4.0, 2.0, 1.0, 1.0])
    share = values / values.sum()
    found = measure_rank(np.concatenate([np.diag(values), np.zeros((3, 4))]).astype("f4"))
    assert found.effective_rank == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_rotation_and_scale_change_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)) * np.arange(1, 7)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert measure_rank(100 * x @ turn).effective_rank == pytest.approx(measure_rank(x).effective_rank)


def test_spread_dead_features_and_too_few_samples():
    x = np.zeros((4, 4), "f4")
    x[:, 0] = [1, -1, 1, -1]
    found = measure_rank(x)
    assert found.feature_std == pytest.approx(0.25) and found.dead_features == pytest.approx(0.75)
    assert measure_rank(np.zeros((3, 2), "f4")).effective_rank == pytest.approx(1)
    with pytest.raises(ValueError, match="at least two samples"):
        measure_rank(x[:1])
