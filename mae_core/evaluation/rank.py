"""Has the representation collapsed? Effective rank and spread of features; comparable between runs of one method alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_ROWS = 25_600
"""As in the paper: more change nothing."""


class Rank(NamedTuple):
    """How many directions features use."""

    effective_rank: float
    """RankMe: exp of the entropy of the singular values over their sum; 1 = collapsed, D = every direction alike."""
    effective_rank_share: float
    """Over the width D."""
    feature_std: float
    """Mean over features of their standard deviation; 0 = every sample alike."""
    dead_features: float
    """Share of features that never change."""


def measure_rank(features: np.ndarray) -> Rank:
    """RankMe (Garrido et al. 2023, Eq. 1) of the first 25,600 of (n, D) features, which are not centred, as there.

    Raises ValueError for fewer than two samples.
    """
    if len(features) < 2:
        raise ValueError(f"a rank needs at least two samples, there are {len(features)}")
    singular = np.linalg.svd(features[:MOST_ROWS].astype(np.float64), compute_uv=False)
    share = singular / max(singular.sum(), 1e-12)
    share = share[share > 0]
    rank = float(np.exp(-(share * np.log(share)).sum()))
    std = features.std(0, dtype=np.float64)
    return Rank(rank, rank / features.shape[1], float(std.mean()), float(np.mean(std < 1e-6)))
