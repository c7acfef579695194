"""The solver of the linear probe: scikit-learn's solutions, at every strength, and from any start."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mae_core.evaluation import logistic
from mae_core.evaluation.logistic import Logistic


def blobs(n: int, classes: int, width: int, noise: float = 2.0):
    rng = np.random.default_rng(classes)
    y = np.arange(n) % classes
    return (rng.normal(size=(classes, width))[y] + noise * rng.normal(size=(n, width))).astype("f4"), y


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-5)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("c", [1e-3, 0.1, 10.0])
def test_the_solution_is_scikit_learns(exact, classes, c):
    x, y = blobs(300, classes, 8)
    theirs = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(x, y)
    found = Logistic(x, y, classes).solve(c)
    if classes == 2:
        weight, bias = (
            np.concatenate([-theirs.coef_, theirs.coef_]),
            np.concatenate([-theirs.intercept_, theirs.intercept_]),
        )
    else:
        weight, bias = theirs.coef_, theirs.intercept_ - theirs.intercept_.mean()
    np.testing.assert_allclose(found.weight, weight, atol=5e-3 * np.abs(weight).max())
    np.testing.assert_allclose(found.bias - found.bias.mean(), bias, atol=5e-3 * np.abs(weight).max())


def test_where_it_starts_changes_the_way_and_not_the_end(exact):
    x, y = blobs(200, 4, 6)
    path = Logistic(x, y, 4)
    for c in (1e-3, 1e-2, 0.1):
        warm = path.solve(c)
    cold = Logistic(x, y, 4).solve(0.1)
    np.testing.assert_allclose(warm.weight, cold.weight, atol=5e-3)


def test_classes_that_can_be_told_apart_end_too():
    """Without a penalty to speak of, the weights of separable classes grow without end; the search stops all the same."""
    x, y = blobs(60, 3, 10, noise=0.01)
    found = Logistic(x, y, 3).solve(1e6)
    assert np.isfinite(found.weight).all()
    assert ((x @ found.weight.T + found.bias).argmax(1) == y).all()


def test_the_bound_of_some_rows_guides_as_well(exact, monkeypatch):
    x, y = blobs(400, 3, 5)
    whole = Logistic(x, y, 3).solve(0.1)
    monkeypatch.setattr(logistic, "MOST_ROWS", 40)
    part = Logistic(x, y, 3).solve(0.1)
    np.testing.assert_allclose(part.weight, whole.weight, atol=5e-3)
