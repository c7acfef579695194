"""k-NN against a plain loop, and the edges a search can run into."""

import numpy as np
import pytest

from mae_core.evaluation import knn


def by_hand(train_x, train_y, test_x, k):
    answers = []
    for row in test_x:
        similarity = train_x @ row / (np.linalg.norm(train_x, axis=1) * np.linalg.norm(row))
        votes = {}
        for i in np.argsort(-similarity)[:k]:
            votes[train_y[i]] = votes.get(train_y[i], 0.0) + np.exp(similarity[i] / knn.TEMPERATURE)
        answers.append(max(votes, key=votes.__getitem__))
    return np.array(answers)


def test_agrees_with_a_loop_over_samples_across_blocks(monkeypatch):
    monkeypatch.setattr(knn, "BLOCK", 7)
    rng = np.random.default_rng(0)
    train_x, test_x = rng.normal(size=(60, 5)).astype("f4"), rng.normal(size=(23, 5)).astype("f4")
    train_y = rng.integers(0, 4, 60) * 3  # labels need not be 0..n-1
    np.testing.assert_array_equal(knn.knn_predict(train_x, train_y, test_x, 9), by_hand(train_x, train_y, test_x, 9))


def test_length_of_a_vector_does_not_matter():
    train_x = np.array([[1, 0], [0, 1]], "f4")
    assert knn.knn_accuracy(train_x * [[100], [0.1]], np.array([4, 7]), train_x * 3, np.array([4, 7]), k=1) == 1.0


def test_more_neighbours_than_samples_and_none_at_all():
    x, y = np.eye(3, dtype="f4"), np.arange(3)
    assert knn.knn_accuracy(x, y, x, y, k=20) == 1.0
    with pytest.raises(ValueError, match="at least one labelled"):
        knn.knn_accuracy(x[:0], y[:0], x, y)
