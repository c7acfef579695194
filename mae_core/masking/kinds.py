"""Masks of joint samples: how the visible cells are shared out between the kinds. Cells without a kind are all of one."""

from __future__ import annotations

import torch
from torch import Tensor

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.order import ranks

LEAST = 1e-6
"""Of a drawn share: nothing is divided by zero."""


class DirichletMasker:
    """The visible cells are shared out over the kinds by Dirichlet(1, …, 1), anew for each sample; at random within a kind.

    Bachmann et al. 2022 (MultiMAE, §3.2). Whatever the ratio, as many cells stay visible as it says: the cell of place r among those
    of its kind, drawn at random, has the score (r − ½) / share, so the lowest V scores are Webster's apportionment of V seats. What a
    small kind has no cells for goes to the others.
    """

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N). Negative logarithms of uniform numbers, brought to a sum of 1, are a draw; the order is the same without that."""
        kind = _kind(cells)
        share = -torch.log1p(-draws.uniform("shares", len(kind)))
        place = _place_in_kind(kind, draws.uniform("mask", len(kind)), cells.valid)
        return Scored((place + 0.5) / share.clamp_min(LEAST)[:, kind])


class WholeKindMasker:
    """All cells of one kind, drawn for each sample, are hidden first, then cells of the others at random up to the ratio.

    A ratio that is less than the kind's share of the cells hides part of the kind, and nothing else. What a sample lacks is not drawn.
    """

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): noise, and 1 more for the drawn kind."""
        kind = _kind(cells)
        noise = draws.uniform("mask", len(kind))
        valid = torch.ones_like(noise) if cells.valid is None else cells.valid.to(noise.dtype)
        counts = torch.zeros_like(noise).scatter_add_(1, kind.expand(len(noise), -1), valid)
        wish = torch.where(counts > 0, draws.uniform("kind", len(kind)), -1.0)
        return Scored(noise + (kind == wish.argmax(1, keepdim=True)))


def _kind(cells: Cells) -> Tensor:
    """(N,) long, not decreasing."""
    if cells.kind is not None:
        return cells.kind
    return torch.zeros(cells.coords.shape[-2], dtype=torch.long, device=cells.coords.device)


def _place_in_kind(kind: Tensor, noise: Tensor, valid: Tensor | None) -> Tensor:
    """(B, N): 0, 1, … by ``noise`` (B, N) among the cells of one's kind; cells that are not valid come last."""
    late = 0.0 if valid is None else (~valid).float()
    place = ranks(2 * kind + late + noise)
    return place - torch.searchsorted(kind, kind)
