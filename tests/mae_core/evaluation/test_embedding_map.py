"""Maps: shapes, the same every time, groups stay groups."""

import numpy as np
import pytest

from mae_core.evaluation.embedding_map import LEAST, MOST, embedding_map


def test_groups_stay_apart_and_the_map_repeats():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = (10 * np.eye(3, 8)[labels] + rng.normal(size=(60, 8))).astype("f4")
    found, again = embedding_map(x), embedding_map(x)
    np.testing.assert_array_equal(found.tsne, again.tsne)
    assert found.tsne.shape == found.pca.shape == (60, 2) and found.tsne.dtype == np.float32
    for places in found:
        distance = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(60)
        assert (labels[distance.argmin(1)] == labels).mean() > 0.95


def test_few_samples_and_alike_samples_are_mapped_and_fewer_refused():
    x = np.random.default_rng(0).normal(size=(LEAST, 4)).astype("f4")
    assert np.isfinite(embedding_map(x).tsne).all()
    alike = embedding_map(np.ones((36, 16), "f4"))
    assert alike.tsne.shape == alike.pca.shape == (36, 2) and not np.any(alike), "of a model that collapsed"
    with pytest.raises(ValueError, match="5 to 2000"):
        embedding_map(x[:4])
    with pytest.raises(ValueError, match="2001 were given"):
        embedding_map(np.zeros((MOST + 1, 2), "f4"))
