"""Which kind of mask, at which ratio: a bandit over arms, paid by what a round of training taught (Auer et al. 2002)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.cells import Cells, Context, Plan, Scored
from mae_core.draws import Draws
from mae_core.masking import MASKERS
from mae_core.masking.cost import BATCH, Learning
from mae_core.masking.making import context_for
from mae_core.masking.options import choice, number, whole
from mae_core.masking.plan import count_kept, plan_from_scores
from mae_core.modalities.base import OWN
from mae_core.registry import resolve

PROBE = 256
"""Samples of train that a round is measured on."""
PROBE_RATIO = 0.5
MEMORY = 0.8
"""Decay of the mean and the mean square that payments are compared with."""


class BanditMasker(nn.Module):
    """One arm, a strategy at a ratio, masks all batches of a round; arms that taught more are drawn more often.

    Its state is saved with the model and the training; a ``BanditLearner`` changes it after each round.

    Args:
        families: strategies, with their defaults.
        ratios: mask ratios; None leaves those of the recipe.
        rule: ``exp3`` (which forgets, since what teaches changes as the model learns) or ``ucb``.
        every: steps of a round.
        rate: share of rounds whose arm is drawn evenly (exp3), or the weight of what is not known yet (ucb).
    """

    def __init__(
        self,
        families: Sequence[str] = ("random",),
        ratios: Sequence[float] | None = None,
        rule: str = "exp3",
        every: int = 50,
        rate: float = 0.2,
    ) -> None:
        super().__init__()
        self.families = [choice("families", name, set(MASKERS) - set(OWN)) for name in families]
        self.maskers = [resolve(MASKERS, name, "masking strategy")() for name in self.families]
        if not self.families or len(set(self.families)) < len(self.families):
            raise ValueError(f"option families is {list(families)!r}: one or more strategies, each once, are wanted")
        self.ratios = [number("ratios", one, 0.01, 0.99) for one in ratios or ()]
        self.rule, self.every = choice("rule", rule, ("exp3", "ucb")), whole("every", every)
        self.rate = number("rate", rate, 0.0 if rule == "ucb" else 0.01, 10.0 if rule == "ucb" else 1.0)
        self.details = tuple(dict.fromkeys(d for one in self.maskers for d in getattr(one, "details", ())))
        arms = len(self.families) * max(len(self.ratios), 1)
        self.value = nn.Parameter(torch.zeros(arms), requires_grad=False)
        """(A,): log-weights of exp3; sums of payments of ucb."""
        self.count = nn.Parameter(torch.zeros(arms), requires_grad=False)
        """(A,): rounds of each arm."""
        self.memory = nn.Parameter(torch.zeros(5), requires_grad=False)
        """What the model scored when the round began; mean and mean square of payments, and their weight; the last of them."""

    def probabilities(self) -> list[float]:
        """(A,) of each arm to mask the next round; families one after another, within one its ratios."""
        value, count = self.value.double().cpu(), self.count.double().cpu()
        if self.rule == "exp3":
            return ((1 - self.rate) * value.softmax(0) + self.rate / len(value)).tolist()
        bonus = self.rate * (2 * count.sum().clamp_min(1).log() / count.clamp_min(1)).sqrt()
        best = torch.where(count == 0, math.inf, value / count.clamp_min(1) + bonus).argmax()
        return nn.functional.one_hot(best, len(value)).double().tolist()

    def arm(self, draws: Draws, round_: int) -> int:
        """The arm of a round, the same on every worker."""
        ends = np.cumsum(self.probabilities())
        return min(int(np.searchsorted(ends, draws._replace(step=round_).shared("arm"), "right")), len(ends) - 1)

    def family(self, arm: int) -> Any:
        """The masker of an arm."""
        return self.maskers[arm // max(len(self.ratios), 1)]

    def names(self) -> list[str]:
        """Of the arms, as people call them."""
        return [f"{name} {ratio:g}".strip() for name in self.families for ratio in self.ratios] or self.families

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """What the family of a drawn arm says."""
        return self.family(self.arm(draws, draws.step)).score(cells, draws, context)

    @staticmethod
    def learning(options: Mapping[str, Any], cells: int, width: int) -> Learning:
        """What measuring the model once a round costs."""
        return Learning(masked=PROBE / BATCH / options["every"])

    def learner(self, model: Any) -> BanditLearner:
        """What pays the arms beside ``model``."""
        return BanditLearner(self, model)


class BanditLearner:
    """Holds one arm for a round of steps, then pays it: the fall of the error of a fixed probe, over what a step of the arm costs.

    Payments are told in standard deviations above what is usual, squashed to 0..1, because learning slows down whatever the masks.
    """

    looks = 1
    needs_labels = False
    optimizer = None
    parameters: tuple[nn.Parameter, ...] = ()

    def __init__(self, masker: BanditMasker, model: Any) -> None:
        if len(masker.value) < 2:
            raise ValueError("a bandit with one arm has nothing to choose: give masking.options families or ratios")
        self.masker, self.model = masker, model
        self._samples: np.ndarray | None = None
        self._arm: tuple[int, int] | None = None

    def prepare(self, samples: np.ndarray, labels: np.ndarray | None) -> None:
        """The train split: its first samples are the probe."""
        self._samples = samples[:PROBE]

    @torch.no_grad()
    def plan(self, raw: Tensor, draws: Draws, context: Context, look: int) -> Plan:
        """The plan of the round's arm."""
        arm = self._arm_of(draws)
        cells = self.model.modality.split(raw)
        family = self.masker.family(arm)
        scored = family.score(cells, draws, context_for(family, self.model.modality, cells, context))
        return plan_from_scores(scored.scores, self._ratio(arm, draws, context.progress), cells.valid)

    def saw(self, plan: Plan, per_cell: Tensor) -> None:
        """Nothing: rounds are paid, not masks."""

    def forget(self) -> None:
        """Nothing was kept."""

    @torch.no_grad()
    def learn(self, step: int, steps: int, world: Any) -> None:
        """Pays the arm where a round ends. ``step`` counts from 0; the last round may be shorter and is not paid."""
        masker = self.masker
        if (step + 1) % masker.every or self._arm is None:
            return
        (_, arm), after = self._arm, self._probe()
        before, mean, square, weight, _ = masker.memory.unbind()
        gain = (before.clamp_min(1e-12) / after.clamp_min(1e-12)).log() / self._cost(arm)
        deviation = (square - mean.square()).clamp_min(1e-12).sqrt()
        paid = torch.where(weight > 0.3, ((gain - mean) / deviation).sigmoid(), 0.5)
        self._pay(arm, paid)
        kept = MEMORY * weight
        fresh = 1 - MEMORY
        mean, square = ((kept * old + fresh * new) / (kept + fresh) for old, new in ((mean, gain), (square, gain**2)))
        masker.memory.copy_(torch.stack([after, mean, square, kept + fresh, gain]))

    @property
    def parts(self) -> dict[str, Tensor]:
        """The last payment, and how likely each arm is in the next round: of the state, so that a resumed training tells it too."""
        masker = self.masker
        if not masker.count.any():
            return {}
        chances = masker.count.new_tensor(masker.probabilities())
        return {"mask/reward": masker.memory[4]} | dict(zip((f"mask/{name}" for name in masker.names()), chances))

    def _pay(self, arm: int, paid: Tensor) -> None:
        masker = self.masker
        masker.count[arm] += 1
        if masker.rule == "ucb":
            masker.value[arm] += paid
            return
        chance = masker.probabilities()[arm]
        masker.value[arm] += masker.rate * (paid - 0.5) / chance
        masker.value.sub_(masker.value.max())

    def _arm_of(self, draws: Draws) -> int:
        """The round's; found, and the model measured, once a round. A resumed round finds the same from the saved state."""
        round_ = draws.step // self.masker.every
        if self._arm is None or self._arm[0] != round_:
            self._arm = round_, self.masker.arm(draws, round_)
            if draws.step == 0:
                self.masker.memory[0] = self._probe()
        return self._arm[1]

    def _ratio(self, arm: int, draws: Draws, progress: float) -> float:
        ratios = self.masker.ratios
        return ratios[arm % len(ratios)] if ratios else self.model.ratios.at(draws, progress)

    def _cost(self, arm: int) -> float:
        """Visible cells of a step of the arm, relative to all."""
        n = self.model.modality.coords.shape[-2]
        ratio = self.masker.ratios[arm % len(self.masker.ratios)] if self.masker.ratios else self.model.ratio
        return count_kept(n, ratio) / n

    def _probe(self) -> Tensor:
        """Scalar: the error of the probe samples under masks that are always the same."""
        assert self._samples is not None
        device = self.masker.value.device
        raw = torch.from_numpy(np.ascontiguousarray(self._samples)).to(device)
        draws = Draws(0, 0, torch.arange(len(raw), device=device))
        cells = self.model.modality.split(raw)
        scores = draws.uniform("bandit probe", cells.coords.shape[-2])
        return self.model(raw, draws, plan_from_scores(scores, PROBE_RATIO, cells.valid)).parts["reconstruction"]
