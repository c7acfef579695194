"""RankMe by hand, and the slope of spectra that are power laws."""

import numpy as np
import pytest

from mae_core.evaluation.rank import measure_rank, spectrum_slope


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


def with_spectrum(values: np.ndarray, n: int = 300) -> np.ndarray:
    """(n, D) centred features whose covariance has these eigenvalues, up to a factor."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(n, len(values)))
    directions = np.linalg.qr(raw - raw.mean(0))[0]
    turn = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    return directions * np.sqrt(values) @ turn


@pytest.mark.parametrize("slope", [0.0, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("width", [6, 40, 150])
def test_a_power_law_has_its_own_slope(slope, width):
    features = with_spectrum(np.arange(1, width + 1) ** -slope)
    assert spectrum_slope(features) == pytest.approx(slope, abs=1e-6)
    assert spectrum_slope(3 * features + 5) == pytest.approx(slope, abs=1e-6), "neither scale nor place matter"


def test_the_bent_ends_of_a_spectrum_are_left_out():
    values = np.arange(1, 151) ** -1.0
    values[:4], values[100:] = 50.0, 1e-6
    assert spectrum_slope(with_spectrum(values)) == pytest.approx(1.0, abs=1e-6)


def test_a_collapsed_representation_has_no_slope():
    with pytest.raises(ValueError, match="at least 4 directions, the features have 1"):
        spectrum_slope(np.outer(np.arange(20), np.ones(8)))
