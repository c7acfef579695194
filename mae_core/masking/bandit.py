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
from mae_core.flops import costs
from mae_core.masking import MASKERS
from mae_core.masking.cost import Learning
from mae_core.masking.ground import Ground, in_passes
from mae_core.masking.options import choice, number, several, whole
from mae_core.masking.plan import plan_from_scores
from mae_core.modalities.base import OWN
from mae_core.registry import resolve

FAMILIES = [name for name in MASKERS if name not in (*OWN, "weight_map")]
"""What arms may be: strategies that need nothing but the cells."""
PROBE = 256
"""Samples of train that a round is measured on."""
PROBE_RATIO = 0.5
MEMORY = 0.8
"""Decay of the mean and the mean square that payments are compared with."""


class BanditMasker(nn.Module):
    """One arm, a strategy at a ratio, masks all batches of a round; arms that taught more are drawn more often.

    Its state is saved with the model and the training; a ``BanditLearner`` changes it after each round. The step of ``exp3`` is ``rate``,
    where Auer et al. (2002, Fig. 1) have ``rate`` over the number of arms: a training has few rounds, in which larger steps find a better
    arm sooner. They also lean more towards one of several arms that are equally good.

    Args:
        families: strategies, with their defaults.
        ratios: mask ratios; None leaves those of the recipe.
        rule: ``exp3`` (payments of all rounds add up: an arm that led for long is left as slowly) or ``ucb``.
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
        self.families = [choice("families", name, FAMILIES) for name in several("families", families)]
        self.maskers = [resolve(MASKERS, name, "masking strategy")() for name in self.families]
        self.ratios = [number("ratios", one, 0.01, 0.99) for one in several("ratios", ratios)] if ratios else []
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

    def ratio(self, arm: int) -> float | None:
        """The mask ratio of an arm; None where arms leave it to the training."""
        return self.ratios[arm % len(self.ratios)] if self.ratios else None

    def names(self) -> list[str]:
        """Of the arms, as people call them."""
        return [f"{name} {ratio:g}".strip() for name in self.families for ratio in self.ratios] or self.families

    def shares(self) -> dict[str, float]:
        """Strategy → how likely it is to mask the next round, at whichever ratio."""
        each = np.reshape(self.probabilities(), (len(self.families), -1)).sum(1)
        return dict(zip(self.families, each.tolist()))

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """What the family of a drawn arm says."""
        return self.family(self.arm(draws, draws.step)).score(cells, draws, context)

    @staticmethod
    def learning(options: Mapping[str, Any], cells: int, width: int, batch: int) -> Learning:
        """What measuring the model once a round costs."""
        once = PROBE / batch / options["every"]
        return Learning(masked=once, taught=once)

    def check_training(self) -> None:
        """Raises ValueError where there is nothing to choose."""
        if len(self.value) < 2:
            raise ValueError("a bandit with one arm has nothing to choose: give masking.options families or ratios")

    def learner(self, model: Any) -> BanditLearner:
        """What pays the arms beside ``model``."""
        return BanditLearner(self, model)


class BanditLearner:
    """Holds one arm for a round of steps, then pays it: the fall of the error of a fixed probe, over the FLOPs of a pass at its ratio.

    Payments are told in standard deviations above what is usual, squashed to 0..1, because learning slows down whatever the masks.
    """

    needs_labels = False
    optimizer = None
    parameters: tuple[nn.Parameter, ...] = ()

    def __init__(self, masker: BanditMasker, model: Any) -> None:
        masker.check_training()
        self.masker, self.model = masker, model
        passes = {ratio: costs(model.config, ratio).total for ratio in masker.ratios}
        self._share = {ratio: flops / max(passes.values()) for ratio, flops in passes.items()}
        """What a pass at a ratio costs, over the dearest."""
        self.held: tuple[int, bool] | None = None
        """An arm, and whether the round ends with every step: one of ``cases``, while work is counted; None in a training."""
        self._ground: Ground | None = None
        self._arm: tuple[int, int] | None = None

    def cases(self) -> list[tuple[float, tuple[int, bool]]]:
        """(share of the steps, case) of the steps that cost differently, before anything is learned; all rounds end alike."""
        arms, ends = len(self.masker.value), 1 / self.masker.every
        return [((1 - ends) / arms, (arm, False)) for arm in range(arms)] + [(ends, (0, True))]

    def prepare(self, ground: Ground) -> None:
        """The first samples of the train split are the probe."""
        self._ground = ground._replace(samples=ground.samples[:PROBE])

    @torch.no_grad()
    def lead(self, raw: Tensor, draws: Draws, context: Context, look: int) -> tuple[Context, Plan | None]:
        """The round's arm, and no plan: the model draws its masks itself."""
        return context._replace(arm=self._arm_of(draws)), None

    @torch.no_grad()
    def learn(self, step: int, world: Any, moved: bool) -> None:
        """Pays the arm where a round ends, whether or not its last step moved the model; a shorter last round is not paid.

        ``step`` counts from 0.
        """
        masker = self.masker
        ends = (step + 1) % masker.every == 0 if self.held is None else self.held[1]
        if not ends or self._arm is None:
            return
        (_, arm), after = self._arm, self._probe()
        before, mean, square, weight, _ = masker.memory.unbind()
        gain = (before.clamp_min(1e-12) / after.clamp_min(1e-12)).log()
        if (ratio := masker.ratio(arm)) is not None:  # arms that leave it to the training cost alike
            gain = gain / self._share[ratio]
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
        if self.held is not None:
            self._arm = round_, self.held[0]
        elif self._arm is None or self._arm[0] != round_:
            self._arm = round_, self.masker.arm(draws, round_)
            if draws.step == 0:
                self.masker.memory[0] = self._probe()
        return self._arm[1]

    def _probe(self) -> Tensor:
        """Scalar: the error of the probe samples under masks that are always the same."""
        ground, device = self._ground, self.masker.value.device
        assert ground is not None
        samples = np.array(ground.samples)  # which lie in a mapped file, where nobody may write
        total = hidden = torch.zeros((), device=device)
        for part in in_passes(len(samples), ground.rows):
            raw = torch.from_numpy(samples[part]).to(device)
            draws = Draws(0, 0, torch.arange(part.start, part.stop, device=device))
            cells = self.model.modality.split(raw)
            plan = plan_from_scores(draws.uniform("bandit probe", cells.coords.shape[-2]), PROBE_RATIO, cells.valid)
            terms = self.model(raw, draws, plan, Context(teacher=ground.taught(raw)))
            total, hidden = total + terms.parts["reconstruction"] * terms.hidden, hidden + terms.hidden
        return total / hidden
