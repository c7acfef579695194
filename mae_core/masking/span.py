"""Masks of sequences: runs (Joshi et al. 2020, SpanBERT, §3.1, here of fixed length), the tail, and whole lines."""

from __future__ import annotations

import torch

from mae_core.cells import Cells, Scored
from mae_core.draws import Draws

LENGTH = 4
"""Cells of a run."""


class SpanMasker:
    """Runs of four cells are hidden one after another, shared by all lines of the other axes; where runs begin is drawn per sample."""

    def score(self, cells: Cells, draws: Draws, context: None = None) -> Scored:
        """Scores (B, N): the drawn rank of a cell's run, plus its place in the run, so that the last run is cut at one end or the other."""
        place = _last_axis(cells, len(draws.ids))
        start = (draws.uniform("span start") * LENGTH).floor().view(-1, 1)
        run = ((place + start) // LENGTH).long()
        rank = draws.uniform("span", int(place.shape[1]) // LENGTH + 2)
        within = (place + start) % LENGTH / LENGTH
        backwards = draws.uniform("span side").view(-1, 1) < 0.5
        within = torch.where(backwards, 1 - 1 / LENGTH - within, within)
        noise = draws.uniform("mask", place.shape[1])
        order = rank.argsort(1).argsort(1).float()
        return Scored(order.gather(1, run.clamp_max(order.shape[1] - 1)) + 0.9 * within + 0.05 * noise)


class TailMasker:
    """The last cells along the last axis are hidden, of all lines alike: forecasting. Nothing is drawn but the order of equals."""

    def score(self, cells: Cells, draws: Draws, context: None = None) -> Scored:
        """Scores (B, N): the place of a cell."""
        place = _last_axis(cells, len(draws.ids))
        return Scored(place + 0.5 * draws.uniform("mask", place.shape[1]))


class LineMasker:
    """Whole lines along the first axis are hidden one after another: channels of a series, rows of a picture, moments of sound."""

    axis = 0
    """Of the coordinates, along which lines are told apart."""

    def score(self, cells: Cells, draws: Draws, context: None = None) -> Scored:
        """Scores (B, N): the drawn rank of a cell's line plus noise that orders cells within it."""
        coords = cells.coords if cells.coords.dim() == 3 else cells.coords.unsqueeze(0)
        line = coords[..., self.axis].long().expand(len(draws.ids), -1)
        rank = draws.uniform("line", line.shape[1]).argsort(1).argsort(1).float()
        return Scored(rank.gather(1, line) + 0.9 * draws.uniform("mask", line.shape[1]))


class StripeMasker(LineMasker):
    """Whole lines along the last axis are hidden one after another: columns of a picture, frequencies of sound."""

    axis = -1


def _last_axis(cells: Cells, batch: int) -> torch.Tensor:
    """(B, N) float: where each cell lies along the last axis."""
    coords = cells.coords if cells.coords.dim() == 3 else cells.coords.unsqueeze(0)
    return coords[..., -1].expand(batch, -1)
