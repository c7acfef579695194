"""N-grams that look to both sides: what a masked text model has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

LEFT, RIGHT = (-1, -2, -3, -4), (1, 2, 3, 4)
"""Neighbours of a 5-gram, the nearest first."""
BOTH = (-1, 1, -2, 2)
"""Neighbours of a 5-gram whose middle is hidden."""
REACH = 4


class Table(NamedTuple):
    """How often tokens stand in contexts of one length."""

    keys: np.ndarray
    """Sorted, each context · V + token."""
    counts: np.ndarray


class Ngram:
    """An interpolated n-gram with Witten-Bell smoothing (Witten & Bell 1991, method C), over neighbours at any places.

    Args:
        ids: (n,) token ids of the training text.
        size: V.
        offsets: places of the neighbours, the first to be left out by back-off last.
    """

    def __init__(self, ids: np.ndarray, size: int, offsets: Sequence[int]) -> None:
        self.size, self.offsets = size, offsets
        self.tables = []
        inside = slice(REACH, len(ids) - REACH)
        code = np.zeros(len(ids) - 2 * REACH, np.int64)
        for length in range(len(offsets) + 1):
            if length:
                code = code * size + ids[REACH + offsets[length - 1] :][: len(code)]
            self.tables.append(Table(*np.unique(code * size + ids[inside], return_counts=True)))

    def probabilities(self, around: np.ndarray) -> np.ndarray:
        """(n, V) of what lies ``around`` each token, (n, 2 · REACH + 1) ids; from the first neighbour that is negative on, none counts."""
        n = len(around)
        p = np.full((n, self.size), 1 / self.size)
        code, known = np.zeros(n, np.int64), np.ones(n, bool)
        for length, table in enumerate(self.tables):
            if length:
                neighbour = around[:, REACH + self.offsets[length - 1]]
                known &= neighbour >= 0
                code = code * self.size + np.maximum(neighbour, 0)
            first = np.searchsorted(table.keys, code * self.size)
            types = np.where(known, np.searchsorted(table.keys, (code + 1) * self.size) - first, 0)
            counts = np.zeros((n, self.size))
            rows = np.repeat(np.arange(n), types)
            at = np.arange(len(rows)) - np.repeat(np.cumsum(types) - types, types) + np.repeat(first, types)
            counts[rows, table.keys[at] % self.size] = table.counts[at]
            seen = types > 0
            total = (counts.sum(1) + types)[seen, None]
            p[seen] = (counts[seen] + types[seen, None] * p[seen]) / total
        return p


class Weights(NamedTuple):
    """Exponents of a product of experts."""

    sides: float
    """Of the 5-grams that look left and right."""
    middle: float
    """Of the 5-gram that looks both ways."""
    alone: float
    """Of the frequency of tokens, which the others count several times."""


class Experts(NamedTuple):
    """Log-probabilities, each (m, V)."""

    sides: np.ndarray
    """Summed over left and right."""
    middle: np.ndarray


class TwoSided:
    """5-grams that look left, right and both ways, multiplied."""

    def __init__(self, ids: np.ndarray, size: int) -> None:
        self.left, self.right, self.both = (Ngram(ids, size, offsets) for offsets in (LEFT, RIGHT, BOTH))
        self.log_shares = np.log(self.left.probabilities(np.full((1, 2 * REACH + 1), -1)))

    def experts(self, ids: np.ndarray, hidden: np.ndarray) -> Experts:
        """For every hidden token of (n, L) texts, in row order."""
        seen = np.pad(np.where(hidden, -1, ids), ((0, 0), (REACH, REACH)), constant_values=-1).astype(np.int64)
        row, column = np.nonzero(hidden)
        around = seen[row[:, None], column[:, None] + np.arange(2 * REACH + 1)]
        left, right, both = (np.log(one.probabilities(around)) for one in (self.left, self.right, self.both))
        return Experts(left + right, both)

    def log_prob(self, experts: Experts, weights: Weights) -> np.ndarray:
        """(m, V) nats."""
        logits = weights.sides * experts.sides + weights.middle * experts.middle + weights.alone * self.log_shares
        logits -= logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def tuned(self, ids: np.ndarray, hidden: np.ndarray) -> Weights:
        """The weights of the least bits on (n, L) validation texts."""
        experts, true = self.experts(ids, hidden), ids[hidden]
        tried = {w: -self.log_prob(experts, w)[np.arange(len(true)), true].mean() for w in _grid()}
        return min(tried, key=lambda w: tried[w])


def _grid() -> Iterator[Weights]:
    for sides in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        for middle in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            for alone in (-0.8, -0.6, -0.4, -0.2, 0.0):
                yield Weights(sides, middle, alone)
