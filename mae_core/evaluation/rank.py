"""Has the representation collapsed? Effective rank, spread and spectrum of features; comparable between runs of one method alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MOST_ROWS = 25_600
"""As in the paper: more change nothing."""
EDGE, LAST = 4, 100
"""Eigenvalues that the power law leaves out at its head, and where it ends: both ends bend away from the line."""
FEWEST = 4
"""Eigenvalues through which a line is laid."""
NOTHING = 1e-10
"""Eigenvalues below this share of the largest are rounding."""


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


def spectrum_slope(features: np.ndarray) -> float:
    """α of the power law j^-α that the eigenvalues of the features' covariance follow (Agrawal et al. 2022, α-ReQ, §3).

    Near 1 features are spread as those that transfer best; larger: a few directions hold all, smaller: noise fills all alike. The
    line is laid through the logarithms of (n, D) features' eigenvalues 5 to 100; where fewer than 16 are left, through all of them.
    Raises ValueError where fewer than four are not zero.
    """
    x = features[:MOST_ROWS].astype(np.float64)
    values = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    values = values[values > NOTHING * max(float(values[0]), np.finfo(float).tiny)]
    if len(values) < FEWEST:
        raise ValueError(f"a power law needs at least {FEWEST} directions, the features have {len(values)}")
    place = np.arange(1, len(values) + 1)
    kept = slice(EDGE, LAST) if len(values) >= 4 * EDGE else slice(None)
    return -float(np.polyfit(np.log(place[kept]), np.log(values[kept]), 1)[0])
