"""Batch augmentation on the device, drawn per sample: crops, flips and colours of pictures, excerpts of sounds and series, shifts."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.draws import Draws

JITTERED, GREY = 0.8, 0.2
"""Shares of the samples whose colours are changed, and that lose them."""
CONTRAST, HUE = 0.8, 0.2
"""Of full strength: how far brightness, contrast and saturation stray from 1, and hue, in turns, from where it was."""


class Augmentation(NamedTuple):
    """How a sample is changed at random whenever a training sees it; as it is, by default."""

    crop: float = 1.0
    """The smallest share that is kept: of a picture's area, of a series' time; 1 = all."""
    flip: bool = False
    """Mirror half of the samples left to right."""
    color_jitter: float = 0.0
    """Strength of random colours, in [0, 1]; 0 = none."""

    @property
    def asked(self) -> list[str]:
        """The names of what changes anything."""
        return [name for name in self._fields if getattr(self, name) != self._field_defaults[name]]

    def only(self, names: Sequence[str]) -> Augmentation:
        """Those of ``names``."""
        return Augmentation(**{name: getattr(self, name) for name in names})


def change_pictures(raw: Tensor, draws: Draws, how: Augmentation) -> Tensor:
    """uint8 (B, C, …, H, W) → uint8 of the same shape; all frames of a clip alike."""
    cropped = crop_and_flip(raw.flatten(1, -3), draws, how.crop, how.flip).view_as(raw)
    return color_jitter(cropped, draws, how.color_jitter)


def crop_and_flip(raw: Tensor, draws: Draws, crop: float, flip: bool) -> Tensor:
    """uint8 (B, C, H, W) → uint8 of the same shape.

    Args:
        crop: the smallest share of the area a crop may have (1 = none); its aspect stays that of the image.
        flip: mirror half of the samples left to right.
    """
    if crop >= 1 and not flip:
        return raw
    u = draws.uniform("augment", 4)
    side = (crop + (1 - crop) * u[:, 0]).sqrt()
    mirror = torch.where(u[:, 3] < 0.5, -1.0, 1.0) if flip else torch.ones_like(side)
    theta = raw.new_zeros(len(raw), 2, 3, dtype=torch.float32)
    theta[:, 0, 0], theta[:, 1, 1] = side * mirror, side
    theta[:, 0, 2], theta[:, 1, 2] = (2 * u[:, 1] - 1) * (1 - side), (2 * u[:, 2] - 1) * (1 - side)
    grid = F.affine_grid(theta, list(raw.shape), align_corners=False)
    moved = F.grid_sample(raw.float(), grid, padding_mode="border", align_corners=False)
    return moved.round_().clamp_(0, 255).to(torch.uint8)


def color_jitter(raw: Tensor, draws: Draws, strength: float) -> Tensor:
    """uint8 (B, C, …) with another brightness, contrast, saturation and hue, or grey → uint8 of the same shape.

    The chances and ranges of SimCLR (Chen et al. 2020, appendix A), where ``strength`` is 1 on ImageNet and 0.5 on CIFAR. Hue turns
    about the grey axis, and values are clipped once, at the end. What has not three channels changes in brightness and contrast alone.
    """
    if strength <= 0:
        return raw
    each = [-1] + [1] * (raw.dim() - 1)
    u = draws.uniform("color", 6)
    far = torch.where(u[:, 0] < JITTERED, strength, 0.0)
    bright, contrast, saturation = (1 + CONTRAST * far[:, None] * (2 * u[:, 1:4] - 1)).T.reshape(3, *each)
    turn = (2 * pi * HUE * far * (2 * u[:, 4] - 1)).view(each)
    saturation = torch.where(u[:, 5].view(each) < GREY, 0.0, saturation)
    x = raw.float()
    if raw.shape[1] == 3:
        grey = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]  # brightness as ITU-R BT.601 weighs it
        across = (x.roll(1, 1) - x.roll(-1, 1)) / 3**0.5  # by Rodrigues' formula
        turned = turn.cos() * x + (1 - turn.cos()) * x.mean(1, keepdim=True) + turn.sin() * across
        x = torch.lerp(grey, turned, saturation)
    else:
        grey = x
    level = grey.flatten(1).mean(1).view(each)
    return (bright * torch.lerp(level, x, contrast)).round_().clamp_(0, 255).to(torch.uint8)


def excerpt(raw: Tensor, draws: Draws, share: float, axes: Sequence[int] = (1, 2)) -> Tensor:
    """float (B, …) → a part of each along ``axes``, stretched to the same size by straight lines.

    The sides are drawn apart, each at least so long that the part is ``share`` of the whole. NaN at the ends of an axis is no part of the
    whole and stays where it is. What is next to NaN becomes NaN; a sample of which nothing would be left stays as it is.
    """
    least = share ** (1 / len(axes))
    side = least + (1 - least) * draws.uniform("excerpt", len(axes))
    start = draws.uniform("excerpt start", len(axes)) * (1 - side)
    given = raw
    for i, axis in enumerate(axes):
        size = raw.shape[axis]
        places = torch.arange(size, device=raw.device)
        first, last = _extent(given, axis)
        long = last - first + 1
        at = (start[:, i, None] + side[:, i, None] * ((places - first + 0.5) / long)) * long - 0.5
        at = torch.where((places < first) | (places > last), places, (at + first).clamp(first, last))
        low = at.floor().long()
        high = (low + 1).minimum(last).maximum(low)
        part = (at - low).to(raw.dtype)
        along = [len(raw)] + [size if other == axis else 1 for other in range(1, raw.dim())]
        low, high, part = (x.view(along).expand_as(raw) for x in (low, high, part))
        raw = torch.lerp(raw.gather(axis, low), raw.gather(axis, high), part)
    empty = raw.isnan().flatten(1).all(1)
    return torch.where(empty.view(-1, *[1] * (raw.dim() - 1)), given, raw)


def _extent(raw: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """(B, 1) and (B, 1): the first and the last place along ``axis`` of (B, …) where anything is there; all of it where nothing is."""
    there = ~raw.isnan().movedim(axis, 1).flatten(2).all(2)
    there |= ~there.any(1, keepdim=True)
    last = there.shape[1] - 1 - there.flip(1).int().argmax(1, keepdim=True)
    return there.int().argmax(1, keepdim=True), last


def shift(raw: Tensor, draws: Draws, most: int) -> Tensor:
    """(B, …, H, W) moved by up to ``most`` places along each of the last two axes; what is uncovered repeats the edge."""
    if most == 0:
        return raw
    height, width = raw.shape[-2:]
    moves = (draws.uniform("shift", 2) * (2 * most + 1)).long() - most
    rows = (torch.arange(height, device=raw.device) + moves[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=raw.device) + moves[:, 1:]).clamp(0, width - 1)
    between = (1,) * (raw.dim() - 3)
    rows = rows.view(-1, *between, height, 1).expand_as(raw)
    columns = columns.view(-1, *between, 1, width).expand_as(raw)
    return raw.gather(-2, rows).gather(-1, columns)
