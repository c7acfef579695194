"""The parts of a sample find each other among those of other samples (InfoNCE; Gong et al. 2023, CAV-MAE, §2.3)."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.cells import Terms, View

TEMPERATURE = 0.05
"""As in CAV-MAE."""


class Contrastive:
    """Compares the pooled features of the parts of joint samples, each encoded by itself, within a forward pass.

    The wrong answers are the other samples of the pass, so ``micro_batch`` and the number of workers change how many there are.
    """

    views = ("parts",)

    def __init__(self, target: Any) -> None:
        pass

    def forward(self, views: tuple[View, ...]) -> Terms:
        """Nats a sample, the mean over both directions and every pair of parts; samples that lack a part of a pair are left out of it."""
        features = [F.normalize(view.latent.pooled.float(), dim=-1) for view in views]
        there = [_there(view) for view in views]
        pairs = [info_nce(features[a], features[b], there[a] & there[b]) for a, b in combinations(range(len(views)), 2)]
        total = torch.stack(pairs).mean()
        nothing = total.detach().new_zeros(len(features[0]), 0)
        return Terms(total, {"contrastive": total.detach()}, nothing, 0)


def info_nce(first: Tensor, second: Tensor, ok: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Scalar: the cross-entropy of finding each row's partner, both ways, of unit features (B, D).

    Rows that are not ``ok`` (B,) are left out; 0 where fewer than two rows are ok.
    """
    with torch.autocast(first.device.type, enabled=False):
        likeness = first.float() @ second.float().T / temperature
    likeness = likeness.masked_fill(~(ok[:, None] & ok[None, :]), torch.finfo(torch.float32).min)
    right = likeness.diagonal()
    nats = (likeness.logsumexp(0) + likeness.logsumexp(1)) / 2 - right
    return torch.where(ok, nats, 0.0).sum() / ok.sum().clamp_min(1)


def _there(view: View) -> Tensor:
    """(B,) bool: which samples have the part at all."""
    ok = view.plan.keep_ok
    return ok.any(1) if ok is not None else torch.ones_like(view.plan.keep[:, 0], dtype=torch.bool)
