"""Where masks lie: how often each cell is hidden, and how alike two masks of a sample are.

A learned mask that has found a trick shows it here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mae_core.cells import Plan

BATCH = 64
TINY = 1e-8


class Coverage(NamedTuple):
    """Of the masks of some samples."""

    often: Tensor
    """(N,): the share of samples with this cell in which it was hidden; NaN where no sample has it."""
    coords: Tensor
    """(N, K): the place of each cell on its grid."""
    evenness: float
    """1 where all cells are hidden alike, 1 / N where it is always the same one."""
    agreement: float
    """Of two masks of a sample: 0 as two random ones, 1 where they are always the same."""
    samples: int

    def grid(self) -> np.ndarray:
        """(rows, columns) of ``often`` as cells lie, NaN in between: one row of one axis; of three, such as video, moments side by side."""
        places = self.coords.long().cpu()
        if places.shape[1] < 2 or len(places.unique(dim=0)) < len(places):
            return self.often.cpu().numpy()[None]
        *before, rows, columns = (places.amax(0) + 1).tolist()
        moment = torch.zeros(len(places), dtype=torch.long)
        for axis, size in enumerate(before):
            moment = moment * size + places[:, axis]
        laid = np.full((rows, int(moment.max() + 1) * (columns + 1) - 1), np.nan)
        laid[places[:, -2], moment * (columns + 1) + places[:, -1]] = self.often.cpu()
        return laid


@torch.no_grad()
def coverage(
    model: Any, raw: Tensor, ratio: float | None = None, strategy: str | None = None, seed: int = 0
) -> Coverage:
    """How often a model's masks hide each cell of (B, …) ``raw``, two masks each; ratio and strategy default to the training's.

    A bandit's are all of its strategies, each as often as it would draw it, all at ``ratio``; two masks of a sample are of one of them.
    """
    ratio = (model.ratio or model.modality.default_ratio) if ratio is None else ratio
    strategy = strategy or model.config["masking"]["strategy"]
    own = strategy == model.config["masking"]["strategy"] and hasattr(model.masker, "shares")
    shares = model.masker.shares() if own else {strategy: 1.0}
    n = model.modality.coords.shape[-2]
    hidden, there, shared = (torch.zeros(size, device=raw.device) for size in (n, n, 2))
    for ids in torch.arange(len(raw), device=raw.device).split(BATCH):
        valid = model.modality.split(raw[ids]).valid
        there += len(ids) if valid is None else valid.sum(0)
        for name, share in shares.items():
            one, other = (hides(model.plan(raw[ids], ratio, name, seed + again, ids), n) for again in (0, 1))
            hidden += share * one.sum(0)
            shared += share * agreed(one, other, valid)
    often = hidden / there
    even = evenness(hidden / there.clamp_min(1))
    return Coverage(often, model.modality.coords, float(even), float(agreement(shared)), len(raw))


def hides(plan: Plan, n: int) -> Tensor:
    """(B, n) float: 1 where a plan hides a cell."""
    ok = torch.ones_like(plan.hide) if plan.hide_ok is None else plan.hide_ok
    return plan.hide.new_zeros(len(plan.hide), n, dtype=torch.float).scatter_add_(1, plan.hide, ok.float())


def agreed(one: Tensor, other: Tensor, valid: Tensor | None) -> Tensor:
    """(2,): cells that two masks of a sample both hide beyond what two random ones would, and the most that could be; sums over samples.

    Args:
        one, other: (B, n), of ``hides``, as many of each sample.
        valid: (B, n) bool: cells that are there.
    """
    cells = one.shape[1] if valid is None else valid.sum(1).clamp_min(1)
    by_chance = one.sum(1).square() / cells
    return torch.stack([((one * other).sum(1) - by_chance).sum(), (one.sum(1) - by_chance).sum()])


def agreement(sums: Tensor) -> Tensor:
    """Scalar: of the sums of ``agreed``, 0 where masks agree by chance and 1 where they are the same; 0 where they cannot differ."""
    return sums[0] / sums[1].clamp_min(TINY)


def evenness(often: Tensor) -> Tensor:
    """Scalar: of (N,) how often cells are hidden, how many of them alike would have the same entropy, over N."""
    share = often / often.sum().clamp_min(TINY)
    return (-(share * share.clamp_min(TINY).log()).sum()).exp() / len(often)
