"""The closed-form probe against the same ridge solved directly, one sample left out at a time."""

import numpy as np
import pytest

from mae_core.evaluation.linear import fit_scaler
from mae_core.evaluation.ridge import STRENGTHS, fit_ridge, ridge_accuracy


def blobs(n: int, width: int, classes: int = 3, noise: float = 1.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width))
    return (2 * centres[labels] + noise * rng.normal(size=(n, width))).astype("f4"), labels


def direct(x: np.ndarray, targets: np.ndarray, strength: float):
    """Weights and bias of ridge regression, by the normal equations."""
    middle, mean = x.mean(0), targets.mean(0)
    centred = x - middle
    weight = np.linalg.solve(centred.T @ centred + strength * np.eye(x.shape[1]), centred.T @ (targets - mean))
    return weight, mean - middle @ weight


@pytest.mark.parametrize(("n", "width"), [(60, 7), (20, 40)])
def test_it_is_ridge_regression_whichever_side_is_smaller(n, width):
    x, y = blobs(n, width)
    probe = fit_ridge(x, y)
    weight, bias = direct(fit_scaler(x)(x).astype(float), np.eye(3)[y], probe.strength * n)
    np.testing.assert_allclose(probe.weight, weight, atol=1e-6)
    np.testing.assert_allclose(probe.bias, bias, atol=1e-6)


def test_the_strength_is_the_one_that_leaving_out_each_sample_chooses():
    x, y = blobs(24, 30, noise=3.0)
    rows, targets = fit_scaler(x)(x).astype(float), np.eye(3)[y]
    errors = {}
    for strength in STRENGTHS:
        missed = []
        for out in range(24):
            rest = np.arange(24) != out
            weight, bias = direct(rows[rest], targets[rest], strength * 24)
            missed.append(targets[out] - rows[out] @ weight - bias)
        errors[strength] = float(np.mean(np.square(missed)))
    assert fit_ridge(x, y).strength == min(errors, key=errors.__getitem__)


def test_it_learns_what_can_be_learnt_and_keeps_the_labels_it_was_given():
    train, validation = blobs(90, 6), blobs(60, 6, seed=1)
    assert ridge_accuracy(*train, *validation) > 0.9
    assert set(fit_ridge(train[0], 10 * train[1] + 5).predict(validation[0])) <= {5, 15, 25}
    rng = np.random.default_rng(0)
    assert ridge_accuracy(train[0], rng.permutation(train[1]), *validation) < 0.7


def test_dead_features_and_one_class():
    x, y = blobs(30, 5)
    x[:, 2] = 7
    assert np.isfinite(fit_ridge(x, y).weight).all()
    with pytest.raises(ValueError, match="at least two classes"):
        fit_ridge(x, np.zeros(30, int))
