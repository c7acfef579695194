"""Learned masks: a small network scores cells, Gumbel noise draws masks by the scores (after Bandara et al. 2023, AdaMAE, §3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.layers import Positions, init_linear
from mae_core.masking.cost import Learning
from mae_core.masking.gumbel import gumbel
from mae_core.masking.options import choice, number, whole
from mae_core.masking.random import RandomMasker
from mae_core.masking.rewards import REWARDS
from mae_core.masking.updates import UPDATES
from mae_core.registry import resolve


class Scorer(nn.Module):
    """(B, N, D) embedding of all cells and their coordinates → (B, N) logits: two layers, between which cells see their sample's mean.

    The last layer starts at 0, so an untrained policy is the random mask.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.positions = Positions(hidden)
        self.read, self.mix = nn.Linear(width, hidden), nn.Linear(2 * hidden, hidden)
        self.out = nn.Linear(hidden, 1, bias=False)  # one number added to all logits changes nothing
        init_linear(self)
        nn.init.zeros_(self.out.weight)

    def forward(self, embedding: Tensor, coords: Tensor, valid: Tensor | None) -> Tensor:
        """(B, N)."""
        x = F.gelu(self.read(F.layer_norm(embedding, embedding.shape[-1:])) + self.positions(coords))
        there = torch.ones_like(x[..., :1]) if valid is None else valid.unsqueeze(-1).to(x.dtype)
        mean = (x * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)
        return self.out(F.gelu(self.mix(torch.cat([x, mean.expand_as(x)], -1)))).squeeze(-1)

    @staticmethod
    def flops(cells: int, width: int, hidden: int) -> float:
        """Of a forward pass of one sample."""
        return 2.0 * cells * (width * hidden + 2 * hidden * hidden + hidden)


class PolicyMasker(nn.Module):
    """Cells are hidden in the order that a policy draws; training makes masks of high reward likelier.

    Its weights are saved with the model. No gradient of the model reaches them, nor theirs the model: a ``PolicyLearner`` trains them.

    Args:
        update: a row of ``UPDATES``.
        reward: a row of ``REWARDS``.
        seek: ``high`` or ``low`` rewards.
        plans: masks of each sample at each step, rewarded beside one another; 1 compares with the other samples of the batch.
        rate: learning rate.
        floor: of the entropy of the policy, as a share of the uniform one's; below it the policy is pushed back.
        random: share of batches of which every view is masked at random, and which teach the policy nothing.
        hidden: width of the network.
        width: D of the embedding; 0 for no network, which is random masking.
    """

    learned = True

    def __init__(
        self,
        update: str = "reinforce",
        reward: str = "error",
        seek: str = "high",
        plans: int = 2,
        rate: float = 3e-3,
        floor: float = 0.7,
        random: float = 0.3,
        hidden: int = 64,
        width: int = 0,
    ) -> None:
        super().__init__()
        self.update, self.reward = choice("update", update, UPDATES), choice("reward", reward, REWARDS)
        self.sign = 1.0 if choice("seek", seek, ("high", "low")) == "high" else -1.0
        self.plans, self.rate = whole("plans", plans), number("rate", rate, 0)
        self.floor, self.random = number("floor", floor, 0, 1), number("random", random, 0, 1)
        whole("hidden", hidden, 16)
        needs_one = getattr(resolve(REWARDS, reward, "reward"), "same_for_all_plans", False)
        if needs_one and plans > 1:
            raise ValueError(f"reward {reward} is one for all masks of a sample: set option plans to 1")
        with torch.random.fork_rng(devices=[]):  # the model's own weights are the same with and without a policy
            self.scorer = Scorer(width, hidden) if width else None
        self.requires_grad_(False)

    def logits(self, cells: Cells, embedding: Tensor | None) -> Tensor:
        """(B, N)."""
        if self.scorer is None or embedding is None:
            raise ValueError("a policy scores the embedding of cells, which only a model can give")
        return self.scorer(embedding, cells.coords, cells.valid)

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): logits plus Gumbel noise; noise alone where there is no network."""
        noise = gumbel(draws, "mask", cells.coords.shape[-2])
        if self.scorer is None:
            return Scored(noise)
        logits = self.logits(cells, None if context is None else context.embedding)
        return Scored(logits + noise, logits)

    @property
    def needs_labels(self) -> bool:
        """Whether the reward asks for labelled samples of two classes in train."""
        return getattr(resolve(REWARDS, self.reward, "reward"), "needs_labels", False)

    def family(self, arm: int) -> Any:
        """The masker of a batch that is masked at random."""
        return RandomMasker()

    def ratio(self, arm: int) -> float | None:
        """None: that of the training."""
        return None

    @staticmethod
    def learning(options: Mapping[str, Any], cells: int, width: int, batch: int) -> Learning:
        """What the policy's network, its training and its rewards cost."""
        needs = resolve(REWARDS, options["reward"], "reward").needs
        passes = 1 + 3 * resolve(UPDATES, options["update"], "update").epochs
        learned = 1 - options["random"]  # batches that are masked at random teach nothing
        drawn = learned * options["plans"]
        scorer = drawn * passes * Scorer.flops(cells, width, options["hidden"])
        return Learning(learned * needs.passes, drawn * needs.views, learned * needs.bank / batch, scorer=scorer)

    def learner(self, model: Any) -> Any:
        """What trains this policy beside ``model``."""
        from mae_core.masking.learning import PolicyLearner

        return PolicyLearner(self, model)
