"""The target of tables: for each hidden value a probability distribution of its own column's kind.

Numbers are a mixture of logistic distributions read at a fixed resolution (Salimans et al. 2017, PixelCNN++, §2.1, here in units of the
standard deviation): unlike a density it cannot grow without bounds where a column repeats one value, unlike free bins it knows which
values are neighbours and so learns from few rows. Categories are a softmax. Either way the loss is in nats a cell, and so is that of the
column's own histogram.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import SHARE, Belief, Cells, Plan, gather_cells
from mae_core.modalities.columns import Columns as Known
from mae_core.modalities.columns import interval_of
from mae_core.targets.pixels import Decoded

PARTS = 4
"""Logistic distributions of a mixture."""
LOG_SCALE = (-5.0, 2.0)
"""Bounds of the logarithm of a logistic's scale, in standard deviations."""
FIRST_SPREAD = (-1.5, -0.5, 0.5, 1.5)
"""Where the parts lie before training."""


class Distribution(NamedTuple):
    """What is predicted of hidden cells (B, M)."""

    weight: Tensor
    """(B, M, PARTS), sums to 1; of numbers."""
    centre: Tensor
    """(B, M, PARTS), standardised."""
    log_scale: Tensor
    """(B, M, PARTS)."""
    category: Tensor
    """(B, M, C) log-probabilities; −inf beyond the column's size. Of categories."""

    def below(self, z: Tensor) -> Tensor:
        """(B, M): the probability that a number is below the standardised ``z`` (B, M)."""
        return (self.weight * torch.sigmoid((z.unsqueeze(-1) - self.centre) / self.log_scale.exp())).sum(-1)

    def quantile(self, share: float, steps: int = 40) -> Tensor:
        """(B, M) standardised: below which a number lies with probability ``share``, by bisection."""
        reach = 20 * self.log_scale.exp()
        low, high = (self.centre - reach).amin(-1), (self.centre + reach).amax(-1)
        for _ in range(steps):
            middle = (low + high) / 2
            short = self.below(middle) < share
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return (low + high) / 2


class ColumnHead(nn.Linear):
    """D_dec → the outputs of all columns, of which each cell takes its own: the weights of a column are its own, the product is one."""

    def __init__(self, width: int, known: Known) -> None:
        sizes = [size or 3 * PARTS for size in known.sizes]
        super().__init__(width, sum(sizes))
        self.outputs = max(*sizes, 3 * PARTS)
        first = list(accumulate(sizes[:-1], initial=0))
        self.register_buffer("first", torch.tensor(first), persistent=False)
        nn.init.xavier_uniform_(self.weight)
        with torch.no_grad():
            for at, size, shares in zip(first, known.sizes, known.shares):
                if size:  # training starts at what the columns are by themselves
                    self.bias[at : at + size] = shares[:size].log()
                else:
                    self.bias[at : at + 3 * PARTS] = torch.tensor([*[0.0] * PARTS, *FIRST_SPREAD, *[-0.5] * PARTS])

    first: Tensor

    def forward(self, x: Tensor, plan: Plan) -> Tensor:  # type: ignore[override]
        """(B, M, D_dec) → (B, M, outputs): those of each cell's column; what lies beyond the column's number of them means nothing."""
        everything = super().forward(x)
        index = self.first[plan.hide].unsqueeze(-1) + torch.arange(self.outputs, device=x.device)
        return everything.gather(-1, index.clamp_max(self.out_features - 1))


class Columns:
    """Values of a table's hidden cells, by column."""

    likelihood = True

    def __init__(self, modality: Any) -> None:
        if not isinstance(getattr(modality, "columns", None), Known):
            raise ValueError(f"target 'columns' is for tables, not for {type(modality).__name__}")
        self.known: Known = modality.columns

    def head(self, width: int) -> nn.Module:
        """D_dec → parameters of distributions."""
        return ColumnHead(width, self.known)

    def target(self, cells: Cells, plan: Plan) -> Tensor:
        """(B, N, 3): standardised value, normal score, category."""
        return cells.values

    def distribution(self, prediction: Tensor, plan: Plan) -> Distribution:
        """What ``prediction`` (B, M, outputs) says of the hidden cells of ``plan``, in float32."""
        x = prediction.float()
        weight, centre, log_scale = x[..., : 3 * PARTS].unflatten(-1, (3, PARTS)).unbind(-2)
        widest = self.known.shares.shape[1]
        inside = torch.arange(widest, device=x.device) < self.known.size[plan.hide].unsqueeze(-1)
        logits = F.pad(x, (0, max(widest - x.shape[-1], 0)))[..., :widest]
        # of a column of numbers no logit counts; one is left, so that nothing is divided by zero
        inside[..., 0] |= ~inside.any(-1)
        category = logits.masked_fill(~inside, float("-inf")).log_softmax(-1)
        return Distribution(weight.softmax(-1), centre, log_scale.clamp(*LOG_SCALE), category)

    def cell_loss(self, prediction: Tensor, target: Tensor, plan: Plan) -> Tensor:
        """(B, M): nats of each hidden cell."""
        said, true = self.distribution(prediction, plan), gather_cells(target, plan.hide)
        number = -_log_between(said, *interval_of(true[..., 0])).logsumexp(-1)
        code = torch.where(self.known.number[plan.hide], 0, true[..., 2].long())
        category = -said.category.gather(-1, code.unsqueeze(-1)).squeeze(-1)
        return torch.where(self.known.number[plan.hide], number, category)

    def marginal_loss(self, target: Tensor, plan: Plan) -> Tensor:
        """(B, M): nats of each hidden cell by the train split's histogram of its column."""
        true = gather_cells(target, plan.hide)
        return self.known.marginal(true[..., 0], true[..., 2].long(), plan.hide)

    def decode(self, prediction: Tensor, cells: Cells, plan: Plan) -> Decoded:
        """(B, M, 1): the mean of numbers, standardised and within train's range; the most probable category that train holds.

        Beside them the interval of numbers and the probability of categories.
        """
        said = self.distribution(prediction, plan)
        points = self.known.scale(self.known.quantiles.T)
        mean = (said.weight * said.centre).sum(-1)
        mean = mean.maximum(points[0][plan.hide]).minimum(points[-1][plan.hide])
        best = said.category.masked_fill(~self.known.seen[plan.hide], float("-inf")).argmax(-1)
        number = self.known.number[plan.hide]
        probability = said.category.gather(-1, best.unsqueeze(-1)).squeeze(-1).exp()
        low, high = (
            torch.where(number, said.quantile(share), math.nan) for share in ((1 - SHARE) / 2, (1 + SHARE) / 2)
        )
        belief = Belief(torch.where(number, math.nan, probability), low, high)
        return Decoded(torch.where(number, mean, best.float()).unsqueeze(-1), False, belief)


def _log_between(said: Distribution, low: Tensor, high: Tensor) -> Tensor:
    """(B, M, PARTS): the log-weight of each part plus that of its probability between ``low`` and ``high`` (B, M).

    σ(b) − σ(a) = σ(b) σ(−a) (1 − e^(a−b)): no difference of two almost equal numbers is taken, so far tails keep their gradient.
    """
    scale = said.log_scale.exp()
    a, b = (low.unsqueeze(-1) - said.centre) / scale, (high.unsqueeze(-1) - said.centre) / scale
    inside = F.logsigmoid(b) + F.logsigmoid(-a) + torch.log(-torch.expm1(a - b))
    return said.weight.clamp_min(1e-12).log() + inside
