"""Gradient boosting on plain features: on tables the one to beat, so it stands beside the linear probe."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

GRID = tuple(
    {"learning_rate": rate, "max_leaf_nodes": leaves} for rate in (0.02, 0.05, 0.1, 0.2, 0.3) for leaves in (7, 31)
)
"""As many settings as the linear probe tries."""
ROUNDS = 150


class BoostingProbe(NamedTuple):
    """Fitted trees."""

    trees: Any
    validation: float
    """Accuracy on validation, on which the setting was chosen."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, D) plain features → (n,) labels."""
        return self.trees.predict(x)


def fit_boosting(
    train_x: np.ndarray, train_y: np.ndarray, validation_x: np.ndarray, validation_y: np.ndarray
) -> BoostingProbe:
    """scikit-learn's histogram gradient boosting of the setting that is best on validation; of equal ones, the first."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    tried = []
    for setting in GRID:
        trees = HistGradientBoostingClassifier(**setting, max_iter=ROUNDS, early_stopping=False, random_state=0)
        trees.fit(train_x, train_y)
        tried.append(BoostingProbe(trees, float(np.mean(trees.predict(validation_x) == validation_y))))
    return max(tried, key=lambda one: one.validation)
