"""How a policy of masks learns beside a model: draw plans, wait for what comes of them, reward, and take a step of its own.

Nothing here depends on how a batch is cut into passes and workers: draws are functions of (seed, step, sample), baselines and gradients
are sums over the global batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mae_core.cells import Context, Plan
from mae_core.draws import Draws
from mae_core.masking.coverage import agreed, agreement, evenness, hides
from mae_core.masking.ground import Ground
from mae_core.masking.gumbel import gumbel, order_log_prob
from mae_core.masking.making import context_for
from mae_core.masking.plan import plan_from_scores
from mae_core.masking.policy import PolicyMasker
from mae_core.masking.rewards import REWARDS, Seen
from mae_core.masking.updates import UPDATES
from mae_core.registry import resolve

CLIP = 1.0
"""Largest gradient norm of the policy."""
TINY = 1e-8
AT_RANDOM = 0
"""The arm of a policy's batches that are masked at random."""


class PolicyLearner:
    """Trains the ``PolicyMasker`` of a model; its moments are part of the training's state.

    Within a step: ``lead`` for each pass and look, ``saw`` after its forward pass, and ``learn`` once after the model's own step.
    """

    def __init__(self, masker: PolicyMasker, model: Any) -> None:
        self.masker, self.model, self.looks = masker, model, masker.plans
        self.held: bool | None = None
        """Whether batches are masked at random: one of ``cases``, while work is counted; None in a training."""
        self.reward = resolve(REWARDS, masker.reward, "reward")()
        self.rule = resolve(UPDATES, masker.update, "update")()
        assert masker.scorer is not None
        self.parameters: list[nn.Parameter] = list(masker.scorer.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=masker.rate)
        self.parts: dict[str, Tensor] = {}
        """What the last step that taught something showed, by name."""
        self.needs_labels = masker.needs_labels
        self._seen: list[Seen] = []

    def cases(self) -> list[tuple[float, bool]]:
        """(share of the steps, case) of the steps that cost differently: masked at random or not."""
        return [(share, case) for share, case in ((self.masker.random, True), (1 - self.masker.random, False)) if share]

    def prepare(self, ground: Ground) -> None:
        """For rewards that need labels. Raises ValueError where there are none."""
        if self.needs_labels:
            if ground.labels is None:
                raise ValueError(f"reward {self.masker.reward} needs the labels of train")
            self.reward.prepare(ground)

    @torch.no_grad()
    def lead(self, raw: Tensor, draws: Draws, context: Context, look: int) -> tuple[Context, Plan | None]:
        """The plan of one look at these samples, and ``context``, which says where other views are to be masked at random too."""
        plan = self._plan(raw, draws, context, look)
        return (context if plan.log_prob is not None else context._replace(arm=AT_RANDOM)), plan

    def _plan(self, raw: Tensor, draws: Draws, context: Context, look: int) -> Plan:
        """Drawn at random, and not learned from, in a share of the batches."""
        cells = self.model.modality.split(raw)
        ratio = self.model.ratio_at(draws, context)
        n = cells.coords.shape[-2]
        noise = gumbel(draws, f"mask {look}" if look else "mask", n)
        at_random = draws.shared("random batch") < self.masker.random if self.held is None else self.held
        if at_random:
            return plan_from_scores(noise, ratio, cells.valid)
        embedding = context_for(self.masker, self.model.modality, cells, context).embedding
        assert embedding is not None
        logits = self.masker.logits(cells, embedding)
        plan = plan_from_scores(logits + noise, ratio, cells.valid)
        picks = order_log_prob(logits, plan.hide, plan.hide_ok, cells.valid)
        plan = plan._replace(log_prob=picks.sum(1))
        another = plan_from_scores(logits + gumbel(draws, f"another mask {look}", n), ratio, cells.valid)
        hidden = hides(plan, n)
        alike = agreed(hidden, hides(another, n), cells.valid)
        seen = Seen(raw, draws, context, cells, embedding, plan, picks, hidden.sum(0), alike)
        self._seen.append(seen._replace(before=self.reward.before(self.model, seen)))
        return plan

    def saw(self, plan: Plan, per_cell: Tensor) -> None:
        """What the model made of a plan: the error of its hidden cells (B, M)."""
        if plan.log_prob is not None:
            self._seen[-1] = self._seen[-1]._replace(per_cell=per_cell)

    def learn(self, step: int, world: Any, moved: bool) -> None:
        """A step of the policy after one of the model, if that ``moved`` it; every rank calls it."""
        seen, self._seen = self._seen, []
        if not seen or not moved:
            return
        with torch.no_grad():
            rewards = [self.masker.sign * self.reward.of(self.model, one) for one in seen]
        advantages = advantages_of(rewards, self.looks, world)
        total = world.sum(rewards[0].new_tensor(float(sum(len(reward) for reward in rewards))))
        for _ in range(self.rule.epochs):
            entropy = self._descend(seen, advantages, total, world)
        self._tell(seen, rewards, entropy, total, world)

    def _descend(self, seen: list[Seen], advantages: list[Tensor], total: Tensor, world: Any) -> Tensor:
        """One step of the optimiser; returns the mean entropy over the global batch, as a share of the uniform one's."""
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        loss, entropies = torch.zeros((), device=total.device), torch.zeros((), device=total.device)
        for one, advantage in zip(seen, advantages):
            logits = self.masker.logits(one.cells, one.embedding)
            picks = order_log_prob(logits, one.plan.hide, one.plan.hide_ok, one.cells.valid)
            each = self.rule.loss(picks, one.picks, advantage.unsqueeze(1))
            share = entropy_share(logits, one.cells.valid)
            short = (self.masker.floor - share).clamp_min(0)
            loss = loss + (_mean_of_picks(each, one.plan.hide_ok) + short).sum() / total
            entropies = entropies + share.detach().sum() / total
        gradients = torch.autograd.grad(loss, self.parameters)
        flat = world.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        flat = flat * (CLIP / flat.norm().clamp_min(CLIP))
        for parameter, gradient in zip(self.parameters, flat.split([p.numel() for p in self.parameters])):
            parameter.requires_grad_(False)
            parameter.grad = gradient.view_as(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return world.sum(entropies)

    @torch.no_grad()
    def _tell(self, seen: list[Seen], rewards: list[Tensor], entropy: Tensor, total: Tensor, world: Any) -> None:
        coverage = world.sum(torch.stack([one.hidden for one in seen]).sum(0)) / total
        whole = torch.cat(rewards)
        rewarded = world.sum(torch.stack([whole.nansum(), known(whole)]))
        self.parts = {
            "mask/reward": rewarded[0] / rewarded[1].clamp_min(1) * self.masker.sign,
            "mask/entropy": entropy,
            "mask/agreement": agreement(world.sum(torch.stack([one.agreed for one in seen]).sum(0))),
            "mask/hidden_most": coverage.max(),
            "mask/hidden_least": coverage.min(),
            "mask/evenness": evenness(coverage),
        }


def advantages_of(rewards: list[Tensor], looks: int, world: Any) -> list[Tensor]:
    """(B,) each: a reward less the mean of its fellows, over the root mean square of all.

    Fellows are the other looks at the same sample, whose ``looks`` entries follow one another, or where there is one look the other
    samples of the global batch. A sample without a reward (NaN) is nobody's fellow. Its advantage is 0, as is that of one without fellows.
    """
    if looks > 1:
        found = []
        for start in range(0, len(rewards), looks):
            mine = torch.stack(rewards[start : start + looks])
            found += list((mine - mine.mean(0)) * (looks / (looks - 1)))
    else:
        whole = torch.cat(rewards)
        sums = world.sum(torch.stack([whole.nansum(), known(whole)]))
        found = [(reward - (sums[0] - reward) / (sums[1] - 1).clamp_min(1)) * (sums[1] > 1) for reward in rewards]
    flat = torch.cat(found)
    sums = world.sum(torch.stack([flat.square().nansum(), known(flat)]))
    size = (sums[0] / sums[1].clamp_min(1)).sqrt().clamp_min(TINY)
    return [torch.where(one.isnan(), 0.0, one / size) for one in found]


def known(rewards: Tensor) -> Tensor:
    """Scalar: how many of (B,) there are, without NaN."""
    return (~rewards.isnan()).sum().to(rewards.dtype)


def entropy_share(logits: Tensor, valid: Tensor | None) -> Tensor:
    """(B,): the entropy of the first pick over that of a uniform one; 1 where there is but one cell."""
    if valid is not None:
        logits = logits.masked_fill(~valid, -1e9)  # not the least float, whose gradient overflows
    log_p = logits.log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    n = torch.full_like(entropy, logits.shape[1]) if valid is None else valid.sum(1).to(entropy.dtype)
    return torch.where(n > 1, entropy / n.clamp_min(2).log(), 1.0)


def _mean_of_picks(each: Tensor, ok: Tensor | None) -> Tensor:
    """(B, M) → (B,)."""
    return each.mean(1) if ok is None else torch.where(ok, each, 0.0).sum(1) / ok.sum(1).clamp_min(1)
