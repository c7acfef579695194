"""Masks of sequences: runs (Joshi et al. 2020, SpanBERT, §3.1, here of fixed length), the tail, whole lines, and tubes."""

from __future__ import annotations

import torch
from torch import Tensor

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.order import ranks

LENGTH = 4
"""Cells of a run."""


class SpanMasker:
    """Runs of four cells along the axis of time are hidden one after another, in all lines alike; where runs begin is drawn per sample."""

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): the drawn rank of a cell's run, plus its place in the run, so that the last run is cut at one end or the other."""
        place = _moment(cells, len(draws.ids))
        start = (draws.uniform("span start") * LENGTH).floor().view(-1, 1)
        runs = (place + start) / LENGTH
        run = runs.floor()
        rank = draws.uniform("span", int(place.shape[1]) // LENGTH + 2)
        within = runs - run
        backwards = draws.uniform("span side").view(-1, 1) < 0.5
        within = torch.where(backwards, 1 - 1 / LENGTH - within, within)
        noise = draws.uniform("mask", place.shape[1])
        order = ranks(rank).float()
        return Scored(order.gather(1, run.long().clamp_max(order.shape[1] - 1)) + 0.9 * within + 0.05 * noise)


class TailMasker:
    """The last cells along the axis of time are hidden, of all lines alike: forecasting. Nothing is drawn but the order of equals."""

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): the place of a cell."""
        place = _moment(cells, len(draws.ids))
        return Scored(place + 0.5 * draws.uniform("mask", place.shape[1]))


class LineMasker:
    """Whole lines along the first axis are hidden one after another: channels of a series, moments of sound, frames of a video."""

    axis = 0
    """Of the coordinates, along which lines are told apart."""

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): the drawn rank of a cell's line plus noise that orders cells within it."""
        line = _coords(cells)[..., self.axis].long().expand(len(draws.ids), -1)
        rank = ranks(draws.uniform("line", line.shape[1])).float()
        return Scored(rank.gather(1, line) + 0.9 * draws.uniform("mask", line.shape[1]))


class StripeMasker(LineMasker):
    """Whole lines along the last axis are hidden one after another: columns of a picture, frequencies of sound."""

    axis = -1


class TubeMasker:
    """Cells of one place are hidden at all times: what stands still cannot be copied (Tong et al. 2022, VideoMAE, §3.3).

    Tubes are hidden one after another, the last cut at random to the exact count.
    """

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): the drawn rank of a cell's place on the axes that are not time, plus noise that orders cells within a tube."""
        coords = _coords(cells)
        n, axes = coords.shape[1:]
        place = torch.zeros_like(coords[..., 0])
        for axis in range(axes):
            if axis != cells.time % axes:
                place = place * (coords[..., axis].amax() + 1) + coords[..., axis]
        place = place.long().expand(len(draws.ids), -1)
        rank = ranks(draws.uniform("tube", n)).float()
        return Scored(rank.gather(1, place) + 0.9 * draws.uniform("mask", n))


def _coords(cells: Cells) -> Tensor:
    """(B or 1, N, K)."""
    return cells.coords if cells.coords.dim() == 3 else cells.coords.unsqueeze(0)


def _moment(cells: Cells, batch: int) -> Tensor:
    """(B, N) float: where each cell lies along the axis of time."""
    return _coords(cells)[..., cells.time].expand(batch, -1)
