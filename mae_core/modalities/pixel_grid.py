"""Pixels on a grid of any number of axes: what images and videos share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import Cells, Plan, gather_cells
from mae_core.modalities.base import TAUGHT, Facts, Geometry, Modality
from mae_core.raster import Raster

STD_FLOOR = 1e-3
"""Of pixels in 0..1: a constant channel is not divided by zero."""
BLOCK = 1 << 23
"""Pixels that are counted at once."""
MOST_PIXELS = 4096
"""Larger samples are averaged down until they have no more values: a linear model of more learns nothing but noise, and slowly."""
AT_ONCE = 512
"""Samples that are averaged down together."""


class PixelGrid(Modality):
    """Raw uint8 (B, C, *size) ↔ cells of P = prod(patch) · C values, the channel last within a cell; the first axis is the slowest.

    Args:
        width: D of the embedding; None = none is made.
        channels: C.
        size: pixels along each of ``sides``.
        patch: pixels of a cell along each axis, or one number for all. Must divide ``size``.
        mean, std: per channel, of pixels scaled to 0..1.
    """

    default_target = "pixels"
    targets: ClassVar[tuple[str, ...]] = ("pixels", "norm_pixels", "fourier", "hog", *TAUGHT)
    encoders = ("vit", "conv", "hybrid")
    details: ClassVar[tuple[str, ...]] = ("variance", "edges")
    dtype = torch.uint8
    blank = 128.0
    unit = "of pixels in 0..1"
    sides: ClassVar[tuple[str, ...]]
    """What the axes of ``size`` are called."""
    sample: ClassVar[str]
    """What errors call a raw sample."""
    time: ClassVar[int] = -1
    """As in ``Cells``."""

    def __init__(
        self,
        width: int | None,
        channels: int,
        size: Sequence[int],
        patch: int | Sequence[int],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.size, self.patch = channels, tuple(size), sides_of(patch, len(self.sides))
        self._check()
        self.shape = (channels, *self.size)
        self.grid = tuple(side // p for side, p in zip(self.size, self.patch))
        self.values_per_cell = prod(self.patch) * channels
        for name, value, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            row = [default] * channels if value is None else [float(v) for v in value]
            if len(row) != channels:
                raise ValueError(f"{name} has {len(row)} entries for {channels} channels")
            if name == "std" and not all(value > 0 for value in row):
                raise ValueError(
                    f"std is {row}: every channel needs a positive one; use 1 for a channel that is constant"
                )
            self.register_buffer(name, torch.tensor(row).view(1, channels, *(1 for _ in self.sides)), persistent=False)
        places = torch.meshgrid(*(torch.arange(side) for side in self.grid), indexing="ij")
        coords = torch.stack(places, -1).view(-1, len(self.sides)).float()
        self.register_buffer("coords", coords, persistent=False)
        self.raster = Raster(channels, self.grid, self.patch)
        self.project = None if width is None else nn.Linear(self.values_per_cell, width)

    mean: Tensor
    std: Tensor
    coords: Tensor

    def _check(self) -> None:
        """Raises ValueError for patches that do not cut a sample into two cells or more."""
        patch, size = by(self.patch), by(self.size)
        if len(self.patch) != len(self.sides):
            raise ValueError(f"patch {patch} has {len(self.patch)} sides: {', '.join(self.sides)} are wanted")
        if any(p > side for p, side in zip(self.patch, self.size)):
            raise ValueError(f"patch {patch} is larger than the {self.sample} {size}: choose a smaller patch")
        for axis, side, p in zip(self.sides, self.size, self.patch):
            if side % p:
                fits = ", ".join(str(d) for d in range(2, side + 1) if side % d == 0)
                raise ValueError(f"patch {p} does not divide the {self.sample} {axis} {side}: choose one of {fits}")
        if self.patch == self.size:
            raise ValueError(f"patch {patch} covers the whole {self.sample} {size}: at least two cells are needed")

    @staticmethod
    def facts(samples: np.ndarray, indices: np.ndarray, described: Mapping[str, Any]) -> Facts:
        """Mean and standard deviation of each channel, of pixels in 0..1, in exact integer sums."""
        counts = np.zeros((samples.shape[1], 256), np.int64)
        rows = max(BLOCK // prod(samples.shape[1:]), 1)
        for start in range(0, len(indices), rows):
            block = samples[indices[start : start + rows]]
            for channel in range(counts.shape[0]):
                counts[channel] += np.bincount(block[:, channel].ravel(), minlength=256)
        values = np.arange(256) / 255
        shares = counts / counts.sum(1, keepdims=True)
        mean = shares @ values
        std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0))
        entries = {
            "mean": [round(float(m), 6) for m in mean],
            "std": [round(float(max(s, STD_FLOOR)), 6) for s in std],
        }
        return Facts(entries, [])

    @staticmethod
    def configure(info: dict[str, Any], patch: int | list[int]) -> dict[str, Any]:
        """Channels, size, patch and the train split's statistics."""
        channels, *size = info["sample"]["shape"]
        return {"channels": channels, "size": size, "patch": patch, "mean": info["mean"], "std": info["std"]}

    @staticmethod
    def geometry(config: dict[str, Any]) -> Geometry:
        """Of a grid of patches."""
        patch = sides_of(config["patch"], len(config["size"]))
        values = prod(patch) * config["channels"]
        return Geometry(prod(side // p for side, p in zip(config["size"], patch)), values, values)

    @staticmethod
    def raster_of(config: dict[str, Any]) -> Raster:
        """Of a grid of patches."""
        patch = sides_of(config["patch"], len(config["size"]))
        return Raster(config["channels"], tuple(side // p for side, p in zip(config["size"], patch)), patch)

    @property
    def cells(self) -> int:
        """N."""
        return prod(self.grid)

    def init_weights(self) -> None:
        """As the official code: the projection like a Linear, its bias as torch leaves a convolution's."""
        if self.project is None:
            return
        nn.init.xavier_uniform_(self.project.weight)
        bound = 1 / math.sqrt(self.values_per_cell)
        nn.init.uniform_(self.project.bias, -bound, bound)

    def scale(self, raw: Tensor) -> Tensor:
        """uint8 (B, C, *size) → float32, normalised with the dataset's mean and standard deviation."""
        if raw.dtype != torch.uint8:
            raise TypeError(f"raw {self.sample}s are uint8 in 0..255, these are {raw.dtype}")
        return (raw.float() / 255 - self.mean) / self.std

    def unscale(self, scaled: Tensor) -> Tensor:
        """The inverse of ``scale``: float → uint8, clamped to 0..255."""
        return ((scaled * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def split(self, raw: Tensor) -> Cells:
        """Raw or scaled (B, C, *size) → cells; differentiable."""
        if raw.dim() != len(self.sides) + 2 or tuple(raw.shape[1:]) != self.shape:
            expected = f"(B, {', '.join(map(str, self.shape))})"
            raise ValueError(f"{self.sample}s of shape {tuple(raw.shape)} given, this model takes {expected}")
        if raw.dtype == torch.uint8:
            raw = self.scale(raw)
        k = len(self.sides)
        sides = [side for pair in zip(self.grid, self.patch) for side in pair]
        values = raw.reshape(-1, self.channels, *sides).permute(0, *range(2, 2 * k + 2, 2), *range(3, 2 * k + 2, 2), 1)
        return Cells(values.reshape(-1, self.cells, self.values_per_cell), self.coords, time=self.time)

    def embed(self, cells: Cells, keep: Tensor | None = None, ok: Tensor | None = None) -> Tensor:
        """(B, N, D), or (B, V, D) of the kept cells alone."""
        assert self.project is not None
        return self.project(cells.values if keep is None else gather_cells(cells.values, keep))

    def detail(self, cells: Cells, name: str) -> Tensor:
        """Of normalised pixels: ``variance`` within a cell, or ``edges``: the mean size of the gradient over rows and columns."""
        if name == "variance":
            return cells.values.var(-1, correction=0)
        if name == "edges":
            whole = self.to_map(cells.values)
            down, across = _slope(whole, -2), _slope(whole, -1)
            return self.split((down.square() + across.square()).sqrt()).values.mean(-1)
        return super().detail(cells, name)

    def to_map(self, values: Tensor) -> Tensor:
        """(B, N, P) → (B, C, *size), in the units of ``values``."""
        k = len(self.sides)
        pairs = [place for axis in range(1, k + 1) for place in (axis, axis + k)]
        whole = values.view(-1, *self.grid, *self.patch, self.channels).permute(0, 2 * k + 1, *pairs)
        return whole.reshape(-1, *self.shape)

    def join(self, values: Tensor) -> Tensor:
        """Normalised cell values (B, N, P) → raw uint8 (B, C, *size)."""
        return self.unscale(self.to_map(values))

    def covers(self, raw: Tensor, index: Tensor, ok: Tensor | None = None) -> Tensor:
        """Bool (B, C, *size): the pixels of the cells ``index`` (B, M)."""
        flags = torch.zeros(len(raw), self.cells, dtype=torch.bool, device=raw.device)
        flags.scatter_(1, index, True if ok is None else ok)
        return self.to_map(flags.unsqueeze(-1).expand(-1, -1, self.values_per_cell).contiguous())

    def paste(self, raw: Tensor, values: Tensor, plan: Plan) -> Tensor:
        """uint8 samples whose hidden cells hold ``values`` (B, M, P), normalised."""
        cells = self.split(raw).values
        index = plan.hide.unsqueeze(-1).expand_as(values)
        filled = self.join(cells.scatter(1, index, values.to(cells.dtype)))
        return torch.where(self.covers(raw, plan.hide, plan.hide_ok), filled, raw)

    def error(self, filled: Tensor, raw: Tensor) -> Tensor:
        """Squared, of pixels in 0..1."""
        return ((filled.float() - raw.float()) / 255).square()

    def trivial(self, raw: Tensor, hidden: Tensor) -> Tensor:
        """Hidden pixels become the mean colour of the train split."""
        colour = (self.mean * 255).round().to(torch.uint8)
        return torch.where(hidden, colour, raw)


def _slope(values: Tensor, axis: int) -> Tensor:
    """Like ``values``: the difference to the next along ``axis``, the last that of the one before; 0 where there is but one."""
    if values.shape[axis] == 1:
        return torch.zeros_like(values)
    apart = values.diff(dim=axis)
    return torch.cat([apart, apart.narrow(axis, -1, 1)], axis)


def sides_of(patch: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """A patch as one number for each axis."""
    return (patch,) * axes if isinstance(patch, int) else tuple(patch)


def by(sides: Sequence[int]) -> str:
    """``4x8x8``."""
    return "x".join(map(str, sides))


def rgb(raw: Tensor) -> Tensor:
    """(…, C, H, W) → (…, H, W, 3): grey repeated, the first three channels of many, two padded with black."""
    shown = raw[..., :3, :, :]
    if shown.shape[-3] == 1:
        shown = shown.expand(*shown.shape[:-3], 3, *shown.shape[-2:])
    elif shown.shape[-3] == 2:
        shown = torch.cat([shown, torch.zeros_like(shown[..., :1, :, :])], -3)
    return shown.movedim(-3, -1)


def averaged(samples: np.ndarray, most: int = MOST_PIXELS) -> np.ndarray:
    """(n, …, H, W) uint8, an array or shards → (n, at most ``most``) float32 in 0..1.

    Height and width are averaged down alike where there are more values.
    """
    count, *channels, height, width = samples.shape
    shrink = (most / (prod(channels) * height * width)) ** 0.5
    if shrink >= 1:
        return np.asarray(samples).reshape(count, -1).astype(np.float32) / 255
    size = (max(int(height * shrink), 1), max(int(width * shrink), 1))
    blocks = []
    for start in range(0, count, AT_ONCE):
        pictures = torch.from_numpy(np.array(samples[start : start + AT_ONCE])).flatten(1, -3)
        blocks.append(F.interpolate(pictures.float(), size=size, mode="area").flatten(1))
    return torch.cat(blocks).numpy() / 255 if blocks else np.zeros((0, prod(channels) * prod(size)), np.float32)


def noise(shape: tuple[int, ...], n: int, generator: torch.Generator) -> Tensor:
    """(n, *shape) uint8, uniform: an example."""
    return torch.randint(0, 256, (n, *shape), generator=generator).to(torch.uint8)
