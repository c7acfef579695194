"""How good a model is when nothing is labelled: by what changes with the sample and not with the mask, and by what it can fill in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_core.modalities.base import mean_error
from mae_core.model import MaskedAutoencoder

VIEWS = 8
VIEW_RATIO = 0.5
BATCH = 512
DELTA = 1e-4
"""Added to the within-sample covariance, as in the paper."""


@torch.no_grad()
def masked_views(model: MaskedAutoencoder, samples: np.ndarray, views: int = VIEWS) -> np.ndarray:
    """(n, …) raw → (n, views, D) float32: pooled features of each sample under ``views`` fixed random masks."""
    blocks = []
    for first, raw in _batches(model, samples):
        ids = torch.arange(first, first + len(raw), device=raw.device)
        cells = model.modality.split(raw)
        seen = [
            model.encoder(model.modality, cells, model.plan(raw, VIEW_RATIO, "random", seed, ids)).pooled
            for seed in range(views)
        ]
        blocks.append(torch.stack(seen, 1).float().cpu().numpy())
    return np.concatenate(blocks)


def lidar(views: np.ndarray, delta: float = DELTA) -> float:
    """Effective rank of between-sample over within-sample variation (Thilak et al. 2023, LiDAR, §3), of (n, q, D) features.

    Other than there, without what masks alone give: the mean of q views still varies with its masks, in every direction alike once it is
    whitened, so that a model that sees nothing would have the highest rank of all. Of the paper's 50 views that is a fiftieth, of eight an
    eighth. 1 where samples differ by their masks alone, or are too few to tell, at most min(n - 1, D). Raises ValueError for fewer than 2
    samples or views.
    """
    n, q, width = views.shape
    if n < 2 or q < 2:
        raise ValueError(f"LiDAR needs 2 samples of 2 views each, got {n} of {q}")
    x = views.astype(np.float64)
    centre = x.mean(1, keepdims=True)
    between = np.cov(centre[:, 0].T, bias=True).reshape(width, width)
    spread = (x - centre).reshape(n * q, width)
    within = spread.T @ spread / (n * (q - 1)) + delta * np.eye(width)
    values, vectors = np.linalg.eigh(within)
    whiten = vectors * values**-0.5 @ vectors.T
    share = np.clip(np.linalg.eigvalsh(whiten @ between @ whiten) - by_masks(n, q, width), 0, None)
    share = share / max(share.sum(), np.finfo(float).tiny)
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def by_masks(n: int, q: int, width: int) -> float:
    """The largest variance between n samples of q views each, whitened by that within them, of which all are alike but for their masks.

    The upper edge of the eigenvalues of a ratio of two sample covariances of ``width`` features (Wachter 1980); infinite where the second
    is of fewer views than features.
    """
    above, below = width / (n - 1), width / (n * (q - 1))
    if below >= 1:
        return math.inf
    return ((1 + math.sqrt(above + below - above * below)) / (1 - below)) ** 2 / q


def explains(target: Any) -> bool:
    """Whether predictions of a target, or of its class, are samples by themselves: not where hidden cells lend their own mean and spread.

    What is lent would count as explained, the more of it the smaller the patch.
    """
    return getattr(target, "shown", True) and not getattr(target, "helped", False)


@torch.no_grad()
def explained(model: MaskedAutoencoder, samples: np.ndarray) -> float:
    """Share of the error of the train split's best constant that the model removes in hidden entries, averaged over the mask bank.

    1 is perfect, 0 is no better than that constant (the mean colour of pictures), less is worse. In raw units, so runs of any patch,
    ratio or target compare. Of joint samples it is the mean over the parts of which a mask hides anything, so that no part's unit outweighs
    another's. Raises ValueError where ``explains`` says no.
    """
    if not explains(model.target):
        name = model.config["objective"]["target"]
        raise ValueError(f"target {name!r} has no variance explained: alone, its predictions are no samples")
    modality = model.modality
    totals = np.zeros((len(modality.bank), modality.kinds, 3))
    for first, raw in _batches(model, samples):
        ids = torch.arange(first, first + len(raw), device=raw.device)
        for row, mask in enumerate(modality.bank):
            made = model.reconstruct(raw, mask.ratio, mask.strategy, mask.seed, ids)
            ours, theirs = (modality.error(x, raw) for x in (made.filled, modality.trivial(raw, made.hidden)))
            pieces = map(modality.by_kind, (ours, theirs, made.hidden))
            for kind, (own, constant, hidden) in enumerate(zip(*pieces)):
                entries = hidden.flatten(1).sum(1)
                error = float((mean_error(own, hidden) * entries).sum())
                totals[row, kind] += error, float(constant[hidden].sum()), int(entries.sum())
    shares = 1 - totals[..., 0] / np.maximum(totals[..., 1], 1e-12)
    return float(np.mean([share[entries > 0].mean() for share, entries in zip(shares, totals[..., 2])]))


def _batches(model: MaskedAutoencoder, samples: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """Position of the first sample, and the samples on the model's device."""
    device = next(model.parameters()).device
    for first in range(0, len(samples), BATCH):
        yield first, torch.from_numpy(np.array(samples[first : first + BATCH])).to(device)
