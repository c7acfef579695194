"""Two looks at a sample find each other among those of other samples (InfoNCE, van den Oord et al. 2018)."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.cells import Summary, Terms
from mae_core.objectives.comparing import Comparing, of_samples
from mae_core.objectives.options import DEFAULTS, Options

TEMPERATURE = 0.05
"""As in CAV-MAE."""


class Contrastive(Comparing):
    """Compares the parts of joint samples, each encoded by itself (Gong et al. 2023, CAV-MAE, §2.3).

    The wrong answers are the other samples of one forward pass of all workers, so ``micro_batch`` changes how many there are. A copy of
    the sample itself is none.
    """

    opposes = True
    temperature = TEMPERATURE
    name = "contrastive"

    def __init__(self, target: Any = None, options: Options = DEFAULTS) -> None:
        self.views = ("parts",)

    def forward(self, views: tuple[Summary, ...]) -> Terms:
        """Nats a sample, the mean over both directions and every pair of looks; samples that lack one of a pair are left out of it."""
        features = [F.normalize(view.features, dim=-1) for view in views]
        pairs = [
            info_nce(features[a], features[b], views[a].ok & views[b].ok, views[a].copies, self.temperature)
            for a, b in combinations(range(len(views)), 2)
        ]
        return of_samples(self.name, torch.stack(pairs).mean())


class MaskContrastive(Contrastive):
    """Compares two masks of one sample: free positives; of two augmentations where the pair is so (Mishra et al. 2022, CAN)."""

    name = "mask_contrastive"

    def __init__(self, target: Any = None, options: Options = DEFAULTS) -> None:
        self.views, self.temperature = ("masked", options.pair), options.temperature


def info_nce(
    first: Tensor, second: Tensor, ok: Tensor, copies: Tensor | None = None, temperature: float = TEMPERATURE
) -> Tensor:
    """Scalar: the cross-entropy of finding each row's partner, both ways, of unit features (B, D).

    Rows that are not ``ok`` (B,) are left out, and so are pairs of rows that are ``copies`` (B, B); 0 where fewer than two rows are ok.
    """
    with torch.autocast(first.device.type, enabled=False):
        likeness = first.float() @ second.float().T / temperature
    pair = ok[:, None] & ok[None, :]
    pair = pair if copies is None else pair & ~copies
    likeness = likeness.masked_fill(~pair, torch.finfo(torch.float32).min)
    right = likeness.diagonal()
    nats = (likeness.logsumexp(0) + likeness.logsumexp(1)) / 2 - right
    return torch.where(ok, nats, 0.0).sum() / ok.sum().clamp_min(1)
