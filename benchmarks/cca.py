"""Finds a picture's words without learning features: canonical correlations of hand-made ones (Hotelling 1936), with a ridge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mae_core.evaluation.parts import ranks

DIMENSIONS = (20, 60, 150, 400)
"""Principal components that are kept of either side."""
RIDGES = (0.01, 0.1, 1.0, 10.0)
"""Added to the covariances, over their mean eigenvalue."""
POWERS = (0.5, 1.0, 4.0)
"""Directions are weighted by their correlation to this power, so that doubtful ones count less."""
MOST_RUNS = 5000
"""Most frequent runs of one to four letters that are counted."""
CELL, BINS, SOLID = 6, 8, 4
"""Pixels of a cell of HOG, bins of a channel's histogram, and bins a channel of the histogram over all three."""


def picture_features(pixels: np.ndarray) -> np.ndarray:
    """(n, 3, H, W) uint8 → (n, D): histograms of oriented gradients (Dalal & Triggs 2005) beside histograms of colour."""
    from skimage.feature import hog

    rows = []
    for picture in pixels.transpose(0, 2, 3, 1):
        edges = hog(picture, pixels_per_cell=(CELL, CELL), cells_per_block=(2, 2), channel_axis=-1)
        channels = [np.histogram(picture[..., c], BINS, (0, 256), density=True)[0] * 256 / BINS for c in range(3)]
        solid = np.histogramdd(picture.reshape(-1, 3).astype(float), SOLID, [(0, 256)] * 3)[0].ravel()
        rows.append(np.concatenate([edges, *channels, np.sqrt(solid / solid.sum())]))
    return np.array(rows)


class Canonical(NamedTuple):
    """Directions in which two sides agree."""

    means: tuple[np.ndarray, np.ndarray]
    maps: tuple[np.ndarray, np.ndarray]
    """(D, components) of either side."""

    def __call__(self, x: np.ndarray, side: int) -> np.ndarray:
        """(n, D) → (n, components)."""
        return (x - self.means[side]) @ self.maps[side]


class Side(NamedTuple):
    """Rows of one side as principal components."""

    mean: np.ndarray
    u: np.ndarray
    """(n, r)."""
    s: np.ndarray
    """(r,)."""
    v: np.ndarray
    """(r, D)."""


def side(x: np.ndarray, most: int = max(DIMENSIONS)) -> Side:
    """The first ``most`` components of (n, D)."""
    mean = x.mean(0)
    values, vectors = np.linalg.eigh((x - mean) @ (x - mean).T)  # (n, n): both sides have more features than rows
    s = np.sqrt(np.maximum(values[::-1][:most], 0))
    keep = s > 1e-6 * s[0]
    u = vectors[:, ::-1][:, :most][:, keep]
    return Side(mean, u, s[keep], (u / s[keep]).T @ (x - mean))


def fit(first: Side, second: Side, dimensions: int, ridge: float, power: float) -> Canonical:
    """Of paired rows, from so many components of either side."""
    bases, scaled = [], []
    for one in (first, second):
        s = one.s[:dimensions]
        root = np.sqrt(s**2 + ridge * np.mean(s**2))
        bases.append(one.v[:dimensions].T / root)
        scaled.append(one.u[:, :dimensions] * (s / root))
    left, correlation, right = np.linalg.svd(scaled[0].T @ scaled[1], full_matrices=False)
    weight = correlation ** (power / 2)
    return Canonical((first.mean, second.mean), (bases[0] @ left * weight, bases[1] @ right.T * weight))


class Found(NamedTuple):
    """Ranks of the right one on test, and what was tried for them."""

    words_by_picture: np.ndarray
    picture_by_words: np.ndarray
    tried: int
    chosen: str


def search(pictures: Sequence[np.ndarray], texts: Sequence[Sequence[str]], k: int = 10) -> Found:
    """Fits on train, chooses on validation by recall at ``k`` of both directions together, and ranks on test.

    ``pictures`` and ``texts`` are those of (train, validation, test).
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    seen = [picture_features(part) for part in pictures]
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(1, 4), min_df=2, max_features=MOST_RUNS, sublinear_tf=True
    )
    said = [vectorizer.fit_transform(texts[0]).toarray(), *(vectorizer.transform(part).toarray() for part in texts[1:])]
    left, right = side(seen[0]), side(said[0])
    settings = [(d, r, p) for d in DIMENSIONS for r in RIDGES for p in POWERS]

    def both(made: Canonical, part: int) -> tuple[np.ndarray, np.ndarray]:
        a, b = made(seen[part], 0), made(said[part], 1)
        return ranks(a, b), ranks(b, a)

    def score(setting: tuple[int, float, float]) -> float:
        return float(np.mean([(found < k).mean() for found in both(fit(left, right, *setting), 1)]))

    best = max(settings, key=score)
    there, back = both(fit(left, right, *best), 2)
    return Found(there, back, len(settings), f"{best[0]} components, ridge {best[1]}, power {best[2]:g}")
