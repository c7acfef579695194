"""Features of different samples should not point the same way (Zhang et al. 2022, U-MAE, Eq. 8): against dimensional collapse."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mae_core.cells import Summary, Terms
from mae_core.objectives.comparing import Comparing, of_samples


class Uniformity(Comparing):
    """The mean squared cosine between the pooled features of every two different samples of one forward pass of all workers."""

    opposes = True

    def forward(self, views: tuple[Summary, ...]) -> Terms:
        """In [0, 1]; about 1 over the rank of features that are spread evenly. 0 where there are fewer than two samples."""
        (view,) = views
        unit = F.normalize(view.features, dim=-1) * view.ok.unsqueeze(-1)
        with torch.autocast(unit.device.type, enabled=False):
            cosines = unit @ unit.T
        count, copies = view.ok.sum(), view.copies & view.ok & view.ok.unsqueeze(1)
        apart = cosines.square().sum() - cosines.diagonal().square().sum()
        apart = apart - torch.where(copies, cosines, 0.0).square().sum()
        return of_samples("uniformity", apart / (count * (count - 1) - copies.sum()).clamp_min(1))
