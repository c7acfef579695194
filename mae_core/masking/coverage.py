"""Where masks lie: how often each cell is hidden. A learned mask that has found a trick shows it here."""

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
    """How often a model's masks hide each cell of (B, …) ``raw``, one mask each; ratio and strategy default to the training's."""
    ratio = (model.ratio or model.modality.default_ratio) if ratio is None else ratio
    strategy = strategy or model.config["masking"]["strategy"]
    n = model.modality.coords.shape[-2]
    hidden, there = torch.zeros(n, device=raw.device), torch.zeros(n, device=raw.device)
    for ids in torch.arange(len(raw), device=raw.device).split(BATCH):
        hidden += times_hidden(model.plan(raw[ids], ratio, strategy, seed, ids), n)
        valid = model.modality.split(raw[ids]).valid
        there += len(ids) if valid is None else valid.sum(0)
    return Coverage(hidden / there, model.modality.coords, float(evenness(hidden / there.clamp_min(1))), len(raw))


def times_hidden(plan: Plan, n: int) -> Tensor:
    """(n,): in how many samples a plan hides each cell."""
    ok = torch.ones_like(plan.hide) if plan.hide_ok is None else plan.hide_ok
    return torch.zeros(n, device=plan.hide.device).scatter_add_(0, plan.hide.flatten(), ok.flatten().float())


def evenness(often: Tensor) -> Tensor:
    """Scalar: of (N,) how often cells are hidden, how many of them alike would have the same entropy, over N."""
    share = often / often.sum().clamp_min(TINY)
    return (-(share * share.clamp_min(TINY).log()).sum()).exp() / len(often)
