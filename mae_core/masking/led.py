"""Masks that a teacher leads, which has seen the whole sample."""

from __future__ import annotations

import torch
from torch import Tensor

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.order import ranks

HINTS = 0.1
"""Of the most attended half, the share of cells that is shown after all."""
FIRST, LAST = 0.0, 0.5
"""Share of the cells that the ranking hides, at the start and at the end of training."""


class AttentionMasker:
    """The most attended cells are hidden first; a few of them, drawn at random, are shown as hints.

    Kakogeorgiou et al. 2022 (AttMask, §3.2, AttMask-Hint): attention of the global token in the teacher's last block.
    """

    taught = "attention"

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): the place by attention, in (0, 1]; of hints the same less 1. Raises ValueError without a teacher."""
        attention = _said(self.taught, context)
        place = _place(attention, cells.valid)
        hint = (place > 0.5) & (draws.uniform("hints", attention.shape[1]) < HINTS)
        return Scored(place - hint.to(place.dtype))


class LossRankedMasker:
    """From easy to hard: the cells that the teacher expects to be reconstructed worst are hidden first, the others at random.

    Wang et al. 2023 (HPM, §3.3). The share of cells that the ranking decides grows along a line with training; it counts cells of the
    sample, not hidden ones as there, so that it means the same at every mask ratio. Of joint samples it is that share of each part, since
    no ranking compares cells of different parts.
    """

    taught = "difficulty"

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): noise, and 1 more for the hardest cells. Raises ValueError without a teacher."""
        difficulty = _said(self.taught, context)
        share = FIRST + (LAST - FIRST) * (0.0 if context is None else context.progress)
        hard = _place(difficulty, cells.valid, cells.kind) > 1 - share
        return Scored(draws.uniform("mask", difficulty.shape[1]) + hard)


def _said(what: str, context: Context | None) -> Tensor:
    said = None if context is None or context.teacher is None else getattr(context.teacher, what)
    if said is None:
        raise ValueError(f"this mask is led by a teacher's {what}: draw it with a model that has one")
    return said


def _place(values: Tensor, valid: Tensor | None, kind: Tensor | None = None) -> Tensor:
    """(B, N): the place of each cell among its sample's valid ones by value, the largest 1; cells that are not valid lie at 0 or below.

    Where a ``kind`` (N,), not decreasing, is given: among those of its kind.
    """
    known = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    order = ranks(values.masked_fill(~known, float("-inf")))
    if kind is None:
        missing, count = (~known).sum(1, keepdim=True), known.sum(1, keepdim=True)
    else:
        order = ranks(order + len(kind) * kind) - torch.searchsorted(kind, kind)
        missing, count = (_of_kind(cells, kind) for cells in (~known, known))
    return (order + 1 - missing) / count.clamp_min(1)


def _of_kind(cells: Tensor, kind: Tensor) -> Tensor:
    """(B, N) long: how many of ``cells`` (B, N) bool are of the same kind as each."""
    own = kind.expand_as(cells)
    return torch.zeros_like(own).scatter_add_(1, own, cells.long()).gather(1, own)
