"""The three terms of VICReg (Bardes et al. 2022, §4.1), each an objective, on pooled features of one forward pass of all workers.

A sample that is in a batch twice counts twice, as in every mean; none of them asks that it differ from its copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mae_core.cells import Summary, Terms
from mae_core.objectives.comparing import Comparing, of_samples

SPREAD = 1.0
"""Standard deviation that every feature should have at least."""
EPS = 1e-4
"""Inside the root of the variance."""


class Invariance(Comparing):
    """Two views of a sample have like features. Alone it is met by features that never change; the other two forbid that."""

    paired = True

    def forward(self, views: tuple[Summary, ...]) -> Terms:
        """The squared difference of features, the mean over features and samples (Eq. 5, over features as well)."""
        first, second = views
        ok = (first.ok & second.ok).unsqueeze(-1)
        apart = (first.features - second.features).square() * ok
        return of_samples("invariance", apart.sum() / (ok.sum() * apart.shape[1]).clamp_min(1))


class Variance(Comparing):
    """No feature is the same for all samples."""

    def forward(self, views: tuple[Summary, ...]) -> Terms:
        """How much the features' standard deviations fall short of ``SPREAD``, the mean over features (Eq. 1)."""
        (view,) = views
        away, count = _centred(view)
        variance = away.square().sum(0) / (count - 1).clamp_min(1)
        return of_samples("variance", (SPREAD - (variance + EPS).sqrt()).clamp_min(0).mean())


class Covariance(Comparing):
    """No two features say the same."""

    def forward(self, views: tuple[Summary, ...]) -> Terms:
        """The squared covariances of every two features, summed, over the number of features (Eq. 4)."""
        (view,) = views
        away, count = _centred(view)
        with torch.autocast(away.device.type, enabled=False):
            covariance = away.T @ away / (count - 1).clamp_min(1)
        apart = covariance.square().sum() - covariance.diagonal().square().sum()
        return of_samples("covariance", apart / len(covariance))


def _centred(view: Summary) -> tuple[Tensor, Tensor]:
    """(B, F) features less their mean, 0 for rows that are not ok, and how many rows are."""
    ok, count = view.ok.unsqueeze(-1), view.ok.sum()
    features = view.features * ok
    return (features - features.sum(0) / count.clamp_min(1)) * ok, count
