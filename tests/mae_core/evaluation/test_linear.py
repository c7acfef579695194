"""The linear probe against scikit-learn, tuned on validation alone, saved and read again."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mae_core.evaluation.linear import GRID, fit_linear, fit_scaler, load_probe, save_probe


def blobs(n: int, classes: int = 3, width: int = 6, seed: int = 0, noise: float = 1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width))
    return (centres[y] + noise * rng.normal(size=(n, width))).astype("f4"), y * 2 + 1


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("n", [90, 12])
def test_equals_scikit_learn_at_the_chosen_strength(classes, n):
    width = 6 if n == 90 else 40  # fewer rows than columns go another way inside
    (x, y), (vx, vy) = blobs(n, classes, width), blobs(60, classes, width, seed=1)
    probe = fit_linear(x, y, vx, vy)
    scaler = fit_scaler(x)
    whole = LogisticRegression(C=probe.c, tol=1e-8, max_iter=5000).fit(scaler(x), y)
    np.testing.assert_array_equal(probe.predict(vx), whole.predict(scaler(vx)))
    margins = scaler(vx) @ probe.weight.T + probe.bias
    theirs = whole.decision_function(scaler(vx))
    ours = margins[:, 1] - margins[:, 0] if classes == 2 else margins - margins.mean(1, keepdims=True)
    scale = 2 if classes == 2 else 1  # two classes: one row against its negative
    np.testing.assert_allclose(ours / scale, theirs - (0 if classes == 2 else theirs.mean(1, keepdims=True)), atol=0.05)


def test_strength_is_the_best_of_the_grid_on_validation_and_the_strongest_of_equals():
    (x, y), (vx, vy) = blobs(60, noise=2.5), blobs(200, seed=1, noise=2.5)
    probe = fit_linear(x, y, vx, vy)
    each = {c: fit_linear(x, y, vx, vy, grid=[c]).validation for c in GRID}
    assert probe.validation == max(each.values()) == np.mean(probe.predict(vx) == vy)
    assert probe.c == min(c for c, score in each.items() if score == max(each.values()))


def test_validation_labels_choose_and_do_not_teach():
    (x, y), (vx, vy) = blobs(60), blobs(60, seed=1)
    first, second = fit_linear(x, y, vx, vy, grid=[0.1]), fit_linear(x, y, vx[:7], vy[::-1][:7], grid=[0.1])
    np.testing.assert_array_equal(first.weight, second.weight)


def test_an_almost_constant_feature_is_not_blown_up():
    x, _ = blobs(60)
    x = np.concatenate([x, np.full((60, 1), 3, "f4"), 1e-6 * np.arange(60, dtype="f4")[:, None]], 1)
    scaled = fit_scaler(x)(x)
    assert np.isfinite(scaled).all() and np.abs(scaled[:, 6:]).max() < 0.01
    assert np.isfinite(fit_scaler(np.ones((5, 3), "f4"))(np.ones((5, 3), "f4"))).all()


def test_one_class_and_no_validation_are_refused():
    x, y = blobs(9)
    with pytest.raises(ValueError, match="at least two classes"):
        fit_linear(x, np.ones(9, int), x, y)
    with pytest.raises(ValueError, match="validation samples"):
        fit_linear(x, y, x[:0], y[:0])


def test_saved_probe_predicts_the_same_and_other_folders_are_refused(tmp_path):
    (x, y), (vx, vy) = blobs(60), blobs(60, seed=1)
    probe = fit_linear(x, y, vx, vy)
    save_probe(probe, tmp_path / "head", ["a", "b", "c", "d"], {"recipe": "r"})
    again = load_probe(tmp_path / "head")
    np.testing.assert_array_equal(again.predict(vx), probe.predict(vx))
    assert (again.c, again.validation) == (probe.c, probe.validation)
    assert '"b"' in (tmp_path / "head" / "head.json").read_text()
    with pytest.raises(ValueError, match="no linear probe"):
        load_probe(tmp_path)
