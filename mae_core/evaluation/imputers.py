"""Imputations of tables that learn from the train split: the nearest rows, and ridge regression of what is hidden on all that is seen.

Both see numbers standardised and categories as columns of 0 and 1; of these the largest is the category that is filled in.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mae_core.modalities.columns import Columns

MOST_ROWS = 2_000
"""Of train, evenly spread over it, among which the nearest are looked for: seconds, and minutes among all of a large table."""
MOST_FITTED = 50_000
"""Of train, evenly spread over it, from which ridge regression learns: without gaps seconds, where every row has one minutes."""
NEIGHBOURS = 10
RIDGES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Added to the variances; the one that fills a fifth of train best is taken."""
ROUNDS = 5
"""In which what train itself lacks is filled, and the covariance taken again."""
BLOCK = 256


def knn_fill(raw: Tensor, hidden: Tensor, train: np.ndarray, columns: Columns) -> Tensor:
    """Hidden values of (B, F) become the mean, or the most frequent category, of the ten nearest train rows that have the value.

    They are looked for among ``MOST_ROWS`` of train.
    """
    from sklearn.impute import KNNImputer

    imputer = KNNImputer(n_neighbors=NEIGHBOURS, keep_empty_features=True)
    imputer.fit(_spread(_some(train, MOST_ROWS), columns).numpy())
    said = imputer.transform(_spread(torch.where(hidden, torch.nan, raw), columns).numpy())
    return torch.where(hidden, _gather(torch.from_numpy(said), columns).to(raw), raw)


def ridge_fill(raw: Tensor, hidden: Tensor, train: np.ndarray, columns: Columns) -> Tensor:
    """Hidden values of (B, F) become what a ridge regression on everything seen in their row says.

    All regressions come at once from train's covariance: their joint solution, to which regressions of one column after the other
    (MICE, scikit-learn's IterativeImputer) converge, slowly or not at all where columns of 0 and 1 determine each other. All of train
    counts, up to ``MOST_FITTED`` rows, as for a model.
    """
    known = _spread(_some(train, MOST_FITTED), columns)
    absent = known.isnan()
    mean = torch.where(absent, 0, known).sum(0) / (~absent).sum(0).clamp_min(1)
    x = torch.where(absent, 0, known - mean)
    holes = _spread_flags(hidden.cpu(), columns)
    held = len(x) // 5
    pattern = holes[torch.arange(held) % len(holes)] if held else holes[:0]
    errors = []
    for ridge in RIDGES:
        covariance = _covariance(x[held:], absent[held:], ridge)
        filled = _condition(x[:held], ~(pattern | absent[:held]), covariance)
        errors.append(float((filled - x[:held])[pattern & ~absent[:held]].square().sum()))
    covariance = _covariance(x, absent, RIDGES[int(np.argmin(errors))])
    z = _spread(torch.where(hidden, torch.nan, raw), columns)
    said = _condition((z - mean).nan_to_num(), ~z.isnan(), covariance) + mean
    return torch.where(hidden, _gather(said, columns).to(raw), raw)


def _covariance(x: Tensor, absent: Tensor, ridge: float) -> Tensor:
    """(D, D) of centred (n, D), what is absent filled in turns."""
    for _ in range(ROUNDS if absent.any() else 1):
        covariance = x.T @ x / max(len(x), 1) + ridge * torch.eye(x.shape[1], dtype=x.dtype)
        if absent.any():
            x = _condition(x, ~absent, covariance)
    return covariance


def _condition(x: Tensor, seen: Tensor, covariance: Tensor) -> Tensor:
    """(n, D) centred values whose entries that are not ``seen`` become their mean given the seen ones, by a joint normal distribution."""
    found = x.clone()
    eye = torch.eye(x.shape[1], dtype=x.dtype)
    for rows in torch.nonzero(~seen.all(1)).view(-1).split(BLOCK):
        some, flags = x[rows], seen[rows]
        # unseen rows and columns become those of the identity, so that all patterns are solved at one size
        both = flags.unsqueeze(1) & flags.unsqueeze(2)
        weights = torch.linalg.solve(torch.where(both, covariance, eye), torch.where(flags, some, 0.0))
        found[rows] = torch.where(flags, some, weights @ covariance)
    return found


def _some(train: np.ndarray, most: int) -> Tensor:
    rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), most)).round().astype(int))
    return torch.from_numpy(np.array(train[rows]))


def _spread(raw: Tensor, columns: Columns) -> Tensor:
    """(n, F) → (n, D) float64 on the CPU, NaN where missing: a column for each number and each category that train holds."""
    raw, z, parts = raw.cpu().double(), columns.scale(raw.to(columns.mean.device)).cpu().double(), []
    for i, size in enumerate(columns.sizes):
        one = raw[:, i : i + 1]
        parts.append(
            torch.where(one.isnan(), torch.nan, (one == _codes(columns, i)).double()) if size else z[:, i : i + 1]
        )
    return torch.cat(parts, 1)


def _spread_flags(flags: Tensor, columns: Columns) -> Tensor:
    """(n, F) bool → (n, D): those of the columns that ``_spread`` makes."""
    times = [len(_codes(columns, i)) if size else 1 for i, size in enumerate(columns.sizes)]
    return flags.repeat_interleave(torch.tensor(times), 1)


def _gather(said: Tensor, columns: Columns) -> Tensor:
    """The inverse of ``_spread``."""
    filled, at = [], 0
    for i, size in enumerate(columns.sizes):
        if size:
            codes = _codes(columns, i)
            filled.append(codes[said[:, at : at + len(codes)].argmax(1)])
            at += len(codes)
        else:
            filled.append(said[:, at] * float(columns.std[i]) + float(columns.mean[i]))
            at += 1
    return torch.stack(filled, 1)


def _codes(columns: Columns, i: int) -> Tensor:
    """The categories of a column that train holds; the first where it holds none."""
    codes = torch.nonzero(columns.seen[i].cpu()).view(-1).double()
    return codes if len(codes) else torch.zeros(1, dtype=torch.float64)
