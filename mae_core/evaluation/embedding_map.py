"""A picture of the features: t-SNE and the first two principal components."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LEAST, MOST = 5, 2000
PERPLEXITY = 30.0
SEED = 0


class EmbeddingMap(NamedTuple):
    """Two 2-D maps of the same n samples."""

    tsne: np.ndarray
    """(n, 2)."""
    pca: np.ndarray
    """(n, 2), in standard deviations of the standardised features."""


def embedding_map(features: np.ndarray) -> EmbeddingMap:
    """Maps (n, D) features, n in 5..2,000: t-SNE (van der Maaten & Hinton 2008) started from the principal components.

    Distances between far groups mean nothing in a t-SNE. Features that are all the same lie at one place. Raises ValueError outside
    that range.
    """
    if not LEAST <= len(features) <= MOST:
        raise ValueError(f"a map takes {LEAST} to {MOST} samples, {len(features)} were given")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    from mae_core.evaluation.linear import fit_scaler

    if not np.ptp(features, axis=0).any():  # t-SNE begins with components over their spread, and dies of 0 / 0
        return EmbeddingMap(*np.zeros((2, len(features), 2), np.float32))
    standard = fit_scaler(features)(features)
    pca = PCA(2, svd_solver="full").fit_transform(standard)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=SEED, max_iter=500)
    return EmbeddingMap(tsne.fit_transform(standard).astype(np.float32), pca.astype(np.float32))
