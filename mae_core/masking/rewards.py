"""What a learned mask is rewarded for. The one table of rewards.

A reward is a number for each sample and mask, taken of the model as it is when the mask is drawn (``before``) and after the step that
learned from it (``of``). Whether a policy seeks high or low ones is its own choice. None is safe by itself: masks of high error hide what
nobody can predict, such as noise, and masks of low error hide what is empty (docs/masks.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.cells import Cells, Context, Plan, pool_mean
from mae_core.draws import Draws, permutation
from mae_core.masking.ground import Ground, in_passes

REWARDS = {
    "error": "mae_core.masking.rewards:ErrorReward",
    "progress": "mae_core.masking.rewards:ProgressReward",
    "probe": "mae_core.masking.rewards:ProbeReward",
}
BANK = 256
"""Labelled samples that a k-NN probe compares with."""
TEMPERATURE = 0.07


class Needs(NamedTuple):
    """What a reward computes beside the training's own passes, all without backward."""

    passes: int = 0
    """Of the model, for each sample."""
    views: int = 0
    """Of the encoder over what is visible, for each mask."""
    bank: int = 0
    """Whole samples that are encoded once a step."""


class Seen(NamedTuple):
    """One mask of some samples, and what came of it."""

    raw: Tensor
    draws: Draws
    context: Context
    cells: Cells
    embedding: Tensor
    """(B, N, D)."""
    plan: Plan
    picks: Tensor
    """(B, M): the log-probability of each pick when it was drawn."""
    hidden: Tensor
    """(N,): in how many of the samples each cell is hidden."""
    agreed: Tensor
    """(2,): what this mask shares with another one that the policy draws of the same samples, as ``coverage.agreed`` sums it."""
    before: Tensor | None = None
    """Whatever the reward measured before the step."""
    per_cell: Tensor | None = None
    """(B, M): the error of hidden cells."""


class ErrorReward:
    """The mean reconstruction error of the hidden cells, before the step."""

    needs = Needs()

    def before(self, model: Any, seen: Seen) -> Tensor | None:
        """Nothing."""
        return None

    def of(self, model: Any, seen: Seen) -> Tensor:
        """(B,)."""
        assert seen.per_cell is not None
        return mean_ok(seen.per_cell.float(), seen.plan.hide_ok)


class ProgressReward:
    """How far the step lowered the error of the same samples under a probe mask, which is random, at the same ratio, and always the same.

    Learning progress (Oudeyer et al. 2007) is 0 where nothing can be learned, noise included, and where all is known. All masks of a
    sample are in one step, so there is one number for them.
    """

    same_for_all_plans = True
    needs = Needs(passes=2)

    def before(self, model: Any, seen: Seen) -> Tensor | None:
        """(B,): the error under the probe mask."""
        from mae_core.masking.plan import plan_from_scores

        scores = seen.draws._replace(seed=0, step=0, clock=None).uniform("probe mask", seen.cells.coords.shape[-2])
        hidden = seen.plan.hide.shape[1] / (seen.plan.hide.shape[1] + seen.plan.keep.shape[1])
        plan = plan_from_scores(scores, hidden, seen.cells.valid)
        return mean_ok(model(seen.raw, seen.draws, plan, seen.context).per_cell.float(), plan.hide_ok)

    def of(self, model: Any, seen: Seen) -> Tensor:
        """(B,)."""
        after = self.before(model, seen)
        assert seen.before is not None and after is not None
        return seen.before - after


class ProbeReward:
    """The log-probability that a k-NN probe gives to a sample's class from what the mask leaves visible. It needs labels.

    The probe compares with the pooled features of 256 whole labelled samples, drawn anew at each step. A model so trained has seen the
    labels of train, if only through its masks.
    """

    needs_labels = True
    needs = Needs(views=1, bank=BANK)

    def __init__(self) -> None:
        self.ground: Ground | None = None
        self.labels = torch.zeros(0, dtype=torch.long)
        self.known = np.zeros(0, np.int64)
        self._bank: tuple[int, Tensor, Tensor] | None = None

    def prepare(self, ground: Ground) -> None:
        """The train split. Raises ValueError where labels are too few."""
        labels = np.array(ground.labels, np.int64)
        self.ground, self.labels, self.known = ground, torch.from_numpy(labels), np.flatnonzero(labels >= 0)
        if len(set(labels[self.known].tolist())) < 2:
            raise ValueError("reward probe needs labelled samples of two classes in train: choose error or progress")

    def before(self, model: Any, seen: Seen) -> Tensor | None:
        """(B,): the reward itself, NaN without a label; features are those that the mask was drawn for."""
        ids, bank = self._bank_of(model, seen)
        tokens = model.encoder(model.modality, seen.cells, seen.plan).tokens
        view = pool_mean(tokens[:, -seen.plan.keep.shape[1] :], seen.plan.keep_ok).float()
        own = self.labels.to(view.device)
        mine = seen.draws.ids % len(own)  # copies of a sample have names of their own
        truth, labels = own[mine], own[ids]
        likeness = F.normalize(view, dim=-1) @ F.normalize(bank, dim=-1).T / TEMPERATURE
        likeness = likeness.masked_fill(ids == mine[:, None], -torch.inf)  # a sample does not vouch for itself
        right = likeness.masked_fill(labels != truth[:, None], -torch.inf).logsumexp(1)
        found = (right - likeness.logsumexp(1)).clamp_min(-20)  # a class that the bank lacks
        return torch.where(truth >= 0, found, torch.nan)

    def _bank_of(self, model: Any, seen: Seen) -> tuple[Tensor, Tensor]:
        """(K,) ids and (K, D) features of the step's bank, found once for all passes and looks."""
        assert self.ground is not None
        seed, step = seen.draws.seed, seen.draws.step
        if self._bank is None or self._bank[0] != step:
            picks = permutation(len(self.known), seed, step, "probe bank")[:BANK].numpy()
            rows = np.sort(self.known[picks])
            device = seen.raw.device
            raw = torch.from_numpy(self.ground.samples[rows]).to(device)
            passes = in_passes(len(rows), self.ground.rows)
            bank = torch.cat([model.encode(raw[part], "mean").float() for part in passes])
            self._bank = step, torch.from_numpy(rows).to(device), bank
        return self._bank[1:]

    def of(self, model: Any, seen: Seen) -> Tensor:
        """(B,)."""
        assert seen.before is not None
        return seen.before


def mean_ok(per_cell: Tensor, ok: Tensor | None) -> Tensor:
    """(B, M) → (B,): the mean over entries that are ok."""
    if ok is None:
        return per_cell.mean(1)
    return torch.where(ok, per_cell, 0.0).sum(1) / ok.sum(1).clamp_min(1)
