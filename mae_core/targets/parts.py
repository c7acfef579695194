"""The target of joint samples: of each part what its own modality predicts (Bachmann et al. 2022, MultiMAE, §3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import Belief, Cells, Plan
from mae_core.modalities.joint_layout import Layout
from mae_core.registry import resolve
from mae_core.targets import TARGETS
from mae_core.targets.pixels import Decoded


class PartsHead(nn.Module):
    """A head for each part; every hidden cell is given to all of them, and its own part's outputs count."""

    def __init__(self, heads: list[nn.Module], layout: Layout) -> None:
        super().__init__()
        self.heads, self.layout = nn.ModuleList(heads), layout

    def forward(self, x: Tensor, plan: Plan) -> Tensor:
        """(B, M, D_dec) → (B, M, outputs of all parts behind one another)."""
        return torch.cat([head(x, self.layout.plan_of(plan, i)) for i, head in enumerate(self.heads)], -1)


class Parts:
    """Each part's default target; in the loss of a sample its parts count as their weights say, however many cells they hide.

    Args:
        modality: a joint one.
        weights: of parts, by name; 1 where not named.
    """

    takes = ("weights",)

    def __init__(self, modality: Any, weights: Mapping[str, float] | None = None) -> None:
        if not isinstance(getattr(modality, "layout", None), Layout):
            raise ValueError(f"target 'parts' is for joint samples, not for {type(modality).__name__}")
        self.layout: Layout = modality.layout
        names = self.layout.names
        unknown = set(weights or {}) - set(names)
        if unknown or not all(weight > 0 for weight in (weights or {}).values()):
            raise ValueError(f"weights {dict(weights or {})}: give positive ones of {', '.join(names)}")
        self.values_per_cell: int = modality.values_per_cell
        self.targets = [resolve(TARGETS, part.default_target, "target")(part) for part in modality.parts]
        self.weights = [float((weights or {}).get(name, 1.0)) for name in names]
        self.sizes: list[int] = []
        """Outputs of each part, known once the heads are made."""

    def head(self, width: int) -> nn.Module:
        """D_dec → the outputs of all parts."""
        heads = [target.head(width) for target in self.targets]
        one = torch.zeros(1, 1, dtype=torch.long)
        with torch.no_grad():
            self.sizes = [head(torch.zeros(1, 1, width), Plan(one, one)).shape[-1] for head in heads]
        return PartsHead(heads, self.layout)

    def target(self, cells: Cells, plan: Plan) -> list[Any]:
        """What each part's target makes of its own cells."""
        return [
            target.target(part, self.layout.plan_of(plan, i))
            for i, (target, part) in enumerate(zip(self.targets, cells.values))
        ]

    def cell_loss(self, prediction: Tensor, target: list[Any], plan: Plan) -> Tensor:
        """(B, M): each hidden cell's error times ``_scale``, so that the mean over a sample's hidden cells is that over its parts."""
        kind = self.layout.kind[plan.hide]
        error = torch.zeros_like(kind, dtype=torch.float32)
        for i, (part, said) in enumerate(zip(self.targets, prediction.split(self.sizes, -1))):
            error = torch.where(kind == i, part.cell_loss(said, target[i], self.layout.plan_of(plan, i)), error)
        return error * self._scale(plan)

    def parts(self, per_cell: Tensor, plan: Plan) -> dict[str, tuple[Tensor, Tensor]]:
        """By name: the summed error of a part's hidden cells in the batch, without weights, and how many they are."""
        kind, error = self.layout.kind[plan.hide], per_cell / self._scale(plan)
        found = {}
        for i, name in enumerate(self.layout.names):
            where = kind == i if plan.hide_ok is None else (kind == i) & plan.hide_ok
            found[name] = torch.where(where, error, 0.0).sum(), where.sum()
        return found

    def _scale(self, plan: Plan) -> Tensor:
        """(B, M): a part's weight over the sum of those that hide cells, times all hidden cells over the part's, sample by sample.

        Nothing of it depends on other samples, so workers and micro-batches change nothing.
        """
        kind = self.layout.kind[plan.hide]
        member = F.one_hot(kind, len(self.weights)).float()
        if plan.hide_ok is not None:
            member = member * plan.hide_ok.unsqueeze(-1)
        counts = member.sum(1)
        weight = torch.stack([counts.new_full((), weight) for weight in self.weights]) * (counts > 0)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
        each = weight * counts.sum(1, keepdim=True) / counts.clamp_min(1)
        return torch.where(counts > 0, each, 1.0).gather(1, kind)

    def decode(self, prediction: Tensor, cells: Cells, plan: Plan) -> Decoded:
        """(B, M, P): each cell's values as its own part pastes them, the rest 0; and how sure that part is."""
        kind = self.layout.kind[plan.hide].unsqueeze(-1)
        values = prediction.new_zeros(*kind.shape[:2], self.values_per_cell, dtype=torch.float32)
        unsaid = torch.full_like(values[..., 0], math.nan)
        hints, belief = False, Belief(unsaid, unsaid, unsaid)
        for i, (target, said) in enumerate(zip(self.targets, prediction.split(self.sizes, -1))):
            decoded = target.decode(said, cells.values[i], self.layout.plan_of(plan, i))
            padded = F.pad(decoded.values.float(), (0, values.shape[-1] - decoded.values.shape[-1]))
            values, hints = torch.where(kind == i, padded, values), hints or decoded.used_true_statistics
            if decoded.belief is not None:
                mine = kind.squeeze(-1) == i
                belief = Belief(*(torch.where(mine, own, all_) for own, all_ in zip(decoded.belief, belief)))
        return Decoded(values, hints, belief)
