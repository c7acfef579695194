"""Principal components of plain features."""

import numpy as np
import pytest

from mae_core.evaluation.baselines import fit_components, fit_pca


def test_components_equal_scikit_learn_up_to_sign():
    from sklearn.decomposition import PCA

    x = np.random.default_rng(0).normal(size=(50, 6)).astype("f4") * np.arange(1, 7)
    found, theirs = fit_components(x, 3), PCA(3).fit(x)
    assert found.axes.shape == (6, 3)
    np.testing.assert_allclose(np.abs(found(x)), np.abs(theirs.transform(x)), atol=1e-3)
    assert fit_components(x[:4], 10).axes.shape == (6, 4)


def test_pca_probe_chooses_its_components_on_validation():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = rng.normal(size=(200, 20)) * np.linspace(3, 0.1, 20)
    x[:, 4] += 6 * y  # a component of its own
    x = x.astype("f4")
    probe = fit_pca(x[:100], y[:100], x[100:], y[100:], counts=(1, 4, 64))
    assert probe.probe.weight.shape[1] in (1, 4, 20)
    assert np.mean(probe.predict(x[100:]) == y[100:]) == pytest.approx(probe.probe.validation)
    assert probe.probe.validation > 0.9
