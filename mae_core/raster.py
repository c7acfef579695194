"""Cells that tile a map of any number of axes, and what convolutions need of them: sites, and how they are merged and parted.

Legend, beside that of ``cells``: a site is a place of a feature map; a cell holds ``sub`` sites along each axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Raster(NamedTuple):
    """How the cells of a modality tile its samples: without gaps or overlap, row by row, the channel last within a cell."""

    channels: int
    grid: tuple[int, ...]
    """Cells along each axis."""
    patch: tuple[int, ...]
    """Values of a cell along each axis, for each channel."""

    def sites(self, values: Tensor) -> Tensor:
        """(B, V, P) → (B, V, *patch, channels), 0 where a value is not known."""
        return torch.where(values.isnan(), 0.0, values).unflatten(-1, (*self.patch, self.channels))


def to_map(sites: Tensor, grid: Sequence[int]) -> Tensor:
    """(B, N, *sub, C) → the map (B, C, *(grid · sub)), whose memory has the channel last."""
    k = len(grid)
    whole = sites.unflatten(1, tuple(grid))
    order = [0, *(axis for pair in zip(range(1, k + 1), range(k + 1, 2 * k + 1)) for axis in pair), 2 * k + 1]
    sides = [cells * sub for cells, sub in zip(grid, sites.shape[2:-1])]
    return whole.permute(order).reshape(len(sites), *sides, sites.shape[-1]).movedim(-1, 1)


def to_sites(image: Tensor, grid: Sequence[int]) -> Tensor:
    """The inverse of ``to_map``."""
    k = len(grid)
    sides = [side for cells, whole in zip(grid, image.shape[2:]) for side in (cells, whole // cells)]
    parted = image.movedim(1, -1).reshape(len(image), *sides, image.shape[1])
    return parted.permute(0, *range(1, 2 * k, 2), *range(2, 2 * k + 1, 2), 2 * k + 1).flatten(1, k)


def fold(sites: Tensor, factors: Sequence[int]) -> Tensor:
    """(B, V, *sub, C) → (B, V, *(sub / factors), prod(factors) · C): neighbouring sites of a cell are put into one."""
    k = len(factors)
    sides = [side for sub, f in zip(sites.shape[2:-1], factors) for side in (sub // f, f)]
    parted = sites.reshape(*sites.shape[:2], *sides, sites.shape[-1])
    return parted.permute(0, 1, *range(2, 2 * k + 2, 2), *range(3, 2 * k + 2, 2), 2 * k + 2).flatten(2 + k)


def unfold(sites: Tensor, factors: Sequence[int]) -> Tensor:
    """The inverse of ``fold``."""
    k = len(factors)
    parted = sites.unflatten(-1, (*factors, -1))
    order = [0, 1, *(axis for pair in zip(range(2, k + 2), range(k + 2, 2 * k + 2)) for axis in pair), 2 * k + 2]
    sides = [sub * f for sub, f in zip(sites.shape[2:-1], factors)]
    return parted.permute(order).reshape(*sites.shape[:2], *sides, -1)


def strides(patch: Sequence[int], stages: int) -> list[tuple[int, ...]]:
    """How many sites each stage merges along each axis, the stem first; the product over the stages is the patch.

    Every stage behind the stem halves what is even and thirds what three divides, as long as two values or more are left to the stem;
    else it merges nothing along that axis.
    """
    found: list[list[int]] = [[] for _ in range(stages)]
    for side in patch:
        for stage in reversed(found[1:]):
            factor = next((f for f in (2, 3) if side % f == 0 and side > f), 1)
            stage.append(factor)
            side //= factor
        found[0].append(side)
    return [tuple(stage) for stage in found]
