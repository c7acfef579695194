"""What the train split says of the columns of a table, and how their values become numbers that a network can take.

A column holds numbers or categories. Numbers are seen twice: standardised, and as the normal score of their rank among the train
values, which long tails do not spread out. A category is a whole number, its place in the source's list of names; one that train never
holds, and the number of names itself (something else altogether), is unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.modalities.base import flat

QUANTILES = 33
"""Of train, the smallest and the largest among them: 32 intervals of equal share."""
RESOLUTION = 0.1
"""Numbers are told apart to a tenth of train's standard deviation: a value's probability is that of its interval."""
TAIL = 1e-2
"""Ranks are kept this far from 0 and 1, so that normal scores stay within ±2.33."""
MOST_INPUT = 10.0
"""Standardised inputs are cut here; nothing far outside of train can drown everything else."""
MOST_GAPS = 128
"""Patterns of missing values that are remembered, to be copied by maskers."""
PRIOR = 0.5
"""Added to the count of each category: none is impossible."""


class Interval(NamedTuple):
    """The interval of ``RESOLUTION`` that a standardised value lies in."""

    low: Tensor
    high: Tensor


def interval_of(z: Tensor) -> Interval:
    """Intervals are centred on the multiples of ``RESOLUTION``: the mean, and so a constant, lies in the middle of one."""
    centre = (z / RESOLUTION).round() * RESOLUTION
    return Interval(centre - RESOLUTION / 2, centre + RESOLUTION / 2)


class Columns(nn.Module):
    """The columns of a table as tensors, F of them, from the entries that ``describe`` makes."""

    def __init__(self, columns: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        if len(columns) < 2:
            raise ValueError(
                f"a table of {len(columns)} columns has nothing to predict one from another: give two or more"
            )
        self.names = [str(column["name"]) for column in columns]
        self.categories = [list(column.get("categories", ())) for column in columns]
        self.dates = [bool(column.get("date")) for column in columns]
        self.any_number = any(column["kind"] == "number" for column in columns)
        self.any_category = any(column["kind"] == "category" for column in columns)
        self.sizes = [
            len(names) + 1 if column["kind"] == "category" else 0 for names, column in zip(self.categories, columns)
        ]
        """Of each column: categories and the one for everything else; 0 for numbers."""
        counts = torch.zeros(len(columns), max(max(self.sizes), 1))
        for i, column in enumerate(columns):
            if column["kind"] == "category":
                counts[i, : len(column["counts"])] = torch.tensor(column["counts"]).float()
        inside = torch.arange(counts.shape[1]) < torch.tensor(self.sizes).unsqueeze(1)
        smooth = torch.where(inside, counts + PRIOR, 0)
        shares = smooth / smooth.sum(1, keepdim=True).clamp_min(PRIOR)
        points = [column.get("quantiles", [0.0] * QUANTILES) for column in columns]
        tables = {
            "size": torch.tensor(self.sizes),
            "number": torch.tensor([column["kind"] == "number" for column in columns]),
            "mean": torch.tensor([float(column.get("mean", 0)) for column in columns]),
            "std": torch.tensor([float(column.get("std", 1)) for column in columns]),
            "quantiles": torch.tensor(points, dtype=torch.float32),
            "seen": counts > 0,
            "shares": shares,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    size: Tensor
    """(F,) long: ``sizes``."""
    number: Tensor
    """(F,) bool; the others are categories."""
    mean: Tensor
    std: Tensor
    quantiles: Tensor
    """(F, QUANTILES), in units of the data."""
    seen: Tensor
    """(F, C) bool: categories that train holds."""
    shares: Tensor
    """(F, C): smoothed shares of the categories in train; 0 beyond the column's size."""

    def __len__(self) -> int:
        return len(self.names)

    def scale(self, raw: Tensor) -> Tensor:
        """(B, F) raw → standardised; of numbers alone, the rest is 0. Missing values stay NaN."""
        return torch.where(self.number, (raw - self.mean) / self.std, torch.where(raw.isnan(), raw, 0.0))

    def scores(self, raw: Tensor) -> Tensor:
        """(B, F) raw → normal scores, of values between two equal quantiles that of their middle."""
        x, points = raw.nan_to_num().T.contiguous(), self.quantiles
        rank = (share_below(points, x, right=False) + share_below(points, x, right=True)).T / 2
        return torch.where(self.number, torch.special.ndtri(rank.clamp(TAIL, 1 - TAIL)), 0.0)

    def middle(self) -> Tensor:
        """(F,) raw: the mean of numbers, the most frequent category: what knows nothing of the other columns."""
        return torch.where(self.number, self.mean, self.shares.argmax(1).float())

    def marginal(self, z: Tensor, code: Tensor, column: Tensor) -> Tensor:
        """Nats (B, M) of standardised values and categories of ``column`` (B, M) by their column's own distribution in train.

        For numbers a histogram of intervals of equal share, with ``1 / QUANTILES`` of a standard logistic added, so that nothing new is
        impossible.
        """
        cut = interval_of(z)
        points = (self.quantiles - self.mean.unsqueeze(1)) / self.std.unsqueeze(1)
        found = []
        for edge in (cut.low, cut.high):
            place = share_below(points[column], edge.unsqueeze(-1), right=False).squeeze(-1)
            found.append((1 - 1 / QUANTILES) * place + torch.sigmoid(edge) / QUANTILES)
        number = -(found[1] - found[0]).clamp_min(1e-12).log()
        share = self.shares[column].gather(-1, code.unsqueeze(-1)).squeeze(-1)
        return torch.where(self.number[column], number, -share.clamp_min(1e-12).log())


def share_below(points: Tensor, x: Tensor, right: bool) -> Tensor:
    """The share of a distribution with the quantiles ``points`` (…, Q) that lies below ``x`` (…, n), or at most there (``right``)."""
    last = points.shape[-1] - 1
    above = torch.searchsorted(points.contiguous(), x.contiguous(), right=right)
    low = points.gather(-1, (above - 1).clamp(0, last))
    high = points.gather(-1, above.clamp(0, last))
    within = ((x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)).clamp(0, 1)
    return torch.where(above == 0, 0.0, torch.where(above > last, 1.0, (above - 1 + within) / last))


class Described(NamedTuple):
    """What ``dataset.json`` knows of the columns."""

    columns: list[dict[str, Any]]
    gaps: list[list[int]]
    """For some samples that lack values: the columns they lack."""
    notes: list[str]


def describe(samples: np.ndarray, indices: np.ndarray, columns: Sequence[Mapping[str, Any]]) -> Described:
    """Statistics of the train split, ``samples[indices]`` of (n, F) float32, for columns of known name and kind."""
    found, constant, unknown = [], [], []
    for i, column in enumerate(columns):
        values = np.asarray(samples[indices, i], np.float64)
        known = values[~np.isnan(values)]
        entry = {**column, "missing": round(1 - len(known) / max(len(values), 1), 6)}
        if column["kind"] == "category":
            entry["counts"] = np.bincount(known.astype(int), minlength=len(column["categories"])).tolist()
        else:
            entry |= _number(known)
            if len(known) and known.min() == known.max():
                constant.append(column["name"])
        if not len(known):
            unknown.append(column["name"])
        found.append(entry)
    notes = [f"constant in train: {', '.join(constant)}"] if constant else []
    notes += [f"no known value in train: {', '.join(unknown)}"] if unknown else []
    absent = np.isnan(np.asarray(samples[indices]))
    lacking = np.flatnonzero(absent.any(1) & ~absent.all(1))
    some = lacking[np.unique(np.linspace(0, len(lacking) - 1, min(len(lacking), MOST_GAPS)).round().astype(int))]
    return Described(found, [np.flatnonzero(absent[row]).tolist() for row in some], notes)


def _number(known: np.ndarray) -> dict[str, Any]:
    """A constant is divided by 1, and so is a column of which nothing is known."""
    if not len(known):
        return {"mean": 0.0, "std": 1.0, "quantiles": [0.0] * QUANTILES}
    std = float(known.std())
    std = 1.0 if flat(std, np.abs(known).max()) else std
    points = np.quantile(known, np.linspace(0, 1, QUANTILES))
    # the samples are float32, and so have to be the quantiles that they are compared with
    return {"mean": float(known.mean()), "std": std, "quantiles": [float(p) for p in points.astype(np.float32)]}


def plain_features(samples: np.ndarray, columns: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(n, D) float32: standardised numbers, 0 where missing, and one column of 0 and 1 for each category seen in train and for each
    column that lacks values in train."""
    raw = np.asarray(samples, np.float32)
    parts = []
    for i, column in enumerate(columns):
        values = raw[:, i]
        absent = np.isnan(values)
        if column["kind"] == "category":
            codes = np.flatnonzero(np.array(column["counts"]) > 0)
            parts.append((values[:, None] == codes[None]).astype(np.float32))
        else:
            parts.append(np.where(absent, 0, (values - column["mean"]) / column["std"])[:, None])
        if 0 < column["missing"] < 1:
            parts.append(absent[:, None].astype(np.float32))
    return np.concatenate(parts, 1, dtype=np.float32)
