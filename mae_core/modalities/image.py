"""Images of any channel count and any size that whole patches cover."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import Cells, Plan, gather_cells
from mae_core.data.augment import crop_and_flip, shift
from mae_core.data.images import SUFFIXES, decode_image
from mae_core.draws import Draws
from mae_core.modalities.base import Example, Facts, Geometry, Mask, Modality
from mae_core.modalities.image_fitting import fitting

STD_FLOOR = 1e-3
"""Of pixels in 0..1: a constant channel is not divided by zero."""
MOST_PATCH, LEAST_CELLS = 16, 4
"""Pixels a side of the default patch, and cells a side that it leaves."""
MOST_PIXELS = 4096
"""Larger images are averaged down until they have no more values: a linear model of more learns nothing but noise, and slowly."""
BLOCK = 1024


class ImageModality(Modality):
    """Raw uint8 images (B, C, H, W) ↔ cells of P = ph · pw · C values in (row, column, channel) order, rows of patches first.

    Args:
        width: D of the embedding.
        channels: C.
        size: (H, W) in pixels.
        patch: pixels per side, or (ph, pw). Must divide ``size``.
        mean, std: per channel, of pixels scaled to 0..1.
    """

    default_ratio = 0.75
    default_target = "pixels"
    targets = ("pixels", "norm_pixels")
    maskers = ("random", "grid", "block")
    dtype = torch.uint8
    blank = 128.0
    unit = "of pixels in 0..1"
    noun = "picture"
    suffixes = SUFFIXES
    bank = (
        Mask("random-75", "random", 0.75),
        Mask("random-50", "random", 0.5),
        Mask("grid-75", "grid", 0.75),
        Mask("block-50", "block", 0.5),
    )

    def __init__(
        self,
        width: int,
        channels: int,
        size: Sequence[int],
        patch: int | Sequence[int],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        ph, pw = (patch, patch) if isinstance(patch, int) else patch
        height, wide = size
        if ph > height or pw > wide:
            raise ValueError(f"patch {ph}x{pw} is larger than the image {height}x{wide}: choose a smaller patch")
        for axis, side, p in (("height", height, ph), ("width", wide, pw)):
            if side % p:
                fits = ", ".join(str(d) for d in range(2, side + 1) if side % d == 0)
                raise ValueError(f"patch {p} does not divide the image {axis} {side}: choose one of {fits}")
        if height * wide == ph * pw:
            raise ValueError(f"patch {ph}x{pw} covers the whole image {height}x{wide}: at least two cells are needed")
        self.channels, self.size, self.patch = channels, (height, wide), (ph, pw)
        self.shape = (channels, height, wide)
        self.grid = (height // ph, wide // pw)
        self.values_per_cell = ph * pw * channels
        for name, value, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            row = [default] * channels if value is None else [float(v) for v in value]
            if len(row) != channels:
                raise ValueError(f"{name} has {len(row)} entries for {channels} channels")
            if name == "std" and not all(value > 0 for value in row):
                raise ValueError(
                    f"std is {row}: every channel needs a positive one; use 1 for a channel that is constant"
                )
            self.register_buffer(name, torch.tensor(row).view(1, channels, 1, 1), persistent=False)
        rows, columns = torch.meshgrid(torch.arange(self.grid[0]), torch.arange(self.grid[1]), indexing="ij")
        self.register_buffer("coords", torch.stack([rows, columns], -1).view(-1, 2).float(), persistent=False)
        self.project = nn.Linear(self.values_per_cell, width)

    mean: Tensor
    std: Tensor
    coords: Tensor

    @staticmethod
    def examples() -> dict[str, Example]:
        """Grey squares, wide colour, and an odd grid of oblong patches over two channels."""
        found = {}
        for name, channels, size, patch in (
            ("grey", 1, [8, 8], 2),
            ("wide", 3, [8, 12], 4),
            ("odd grid", 2, [9, 10], [3, 2]),
            ("four channels", 4, [8, 8], 4),
        ):
            config = {
                "channels": channels,
                "size": size,
                "patch": patch,
                "mean": [0.4] * channels,
                "std": [0.25] * channels,
            }
            found[name] = Example(config, partial(_noise, (channels, *size)))
        return found

    @staticmethod
    def facts(samples: np.ndarray, indices: np.ndarray, described: Mapping[str, Any]) -> Facts:
        """Mean and standard deviation of each channel, of pixels in 0..1, in exact integer sums."""
        counts = np.zeros((samples.shape[1], 256), np.int64)
        for start in range(0, len(indices), BLOCK):
            block = samples[indices[start : start + BLOCK]]
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
    def default_patch(info: dict[str, Any]) -> int:
        """The largest common divisor of both sides that leaves at least 4 cells a side, at most 16 pixels: few cells learn soonest."""
        height, width = info["sample"]["shape"][1:]
        sides = [p for p in range(1, MOST_PATCH + 1) if height % p == 0 and width % p == 0]
        fits = [p for p in sides if min(height, width) // p >= LEAST_CELLS]
        if not fits:
            raise ValueError(
                f"images of {height}x{width} leave no patch with 4 cells a side: set model.patch, or a larger `size`"
            )
        return max(fits)

    @staticmethod
    def misfit(info: dict[str, Any], patch: int) -> str:
        """A patch has to divide both sides and to leave 4 cells a side: with fewer there is nothing to predict one from another."""
        height, width = info["sample"]["shape"][1:]
        if height % patch or width % patch:
            return f"it does not divide images of {height}x{width}"
        if min(height, width) // patch < LEAST_CELLS:
            return f"it leaves fewer than {LEAST_CELLS} cells a side of images of {height}x{width}"
        return ""

    @staticmethod
    def configure(info: dict[str, Any], patch: int | list[int]) -> dict[str, Any]:
        """Channels, size, patch and the train split's statistics."""
        channels, height, width = info["sample"]["shape"]
        return {"channels": channels, "size": [height, width], "patch": patch, "mean": info["mean"], "std": info["std"]}

    @staticmethod
    def geometry(config: dict[str, Any]) -> Geometry:
        """Of a grid of patches."""
        (height, wide), patch = config["size"], config["patch"]
        ph, pw = (patch, patch) if isinstance(patch, int) else patch
        values = ph * pw * config["channels"]
        return Geometry((height // ph) * (wide // pw), values, values)

    @staticmethod
    def plain(samples: np.ndarray, info: Mapping[str, Any], most: int = MOST_PIXELS) -> np.ndarray:
        """Pixels in 0..1, (n, at most ``most``)."""
        count, channels, height, width = samples.shape
        shrink = (most / (channels * height * width)) ** 0.5
        if shrink >= 1:
            return np.asarray(samples).reshape(count, -1).astype(np.float32) / 255
        size = (max(int(height * shrink), 1), max(int(width * shrink), 1))
        blocks = [
            F.interpolate(torch.from_numpy(np.array(samples[i : i + 512])).float(), size=size, mode="area").flatten(1)
            for i in range(0, count, 512)
        ]
        return torch.cat(blocks).numpy() / 255 if blocks else np.zeros((0, channels * size[0] * size[1]), np.float32)

    @property
    def cells(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]

    def fitted(self, samples: np.ndarray) -> Any:
        """Stretched, grey repeated, colour to grey."""
        return fitting(samples, self.channels, self.size)

    def read(self, data: bytes) -> np.ndarray:
        """One picture, upright, cropped at its centre to the model's aspect and resized."""
        return decode_image(data, self.size, self.channels)[None]

    def init_weights(self) -> None:
        """As the official code: the projection like a Linear, its bias as torch leaves a convolution's."""
        nn.init.xavier_uniform_(self.project.weight)
        bound = 1 / math.sqrt(self.values_per_cell)
        nn.init.uniform_(self.project.bias, -bound, bound)

    def scale(self, raw: Tensor) -> Tensor:
        """uint8 (B, C, H, W) → float32, normalised with the dataset's mean and standard deviation."""
        if raw.dtype != torch.uint8:
            raise TypeError(f"raw images are uint8 in 0..255, these are {raw.dtype}")
        return (raw.float() / 255 - self.mean) / self.std

    def unscale(self, scaled: Tensor) -> Tensor:
        """The inverse of ``scale``: float → uint8, clamped to 0..255."""
        return ((scaled * self.std + self.mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def split(self, images: Tensor) -> Cells:
        """Raw or scaled (B, C, H, W) → cells; differentiable."""
        if images.dim() != 4 or tuple(images.shape[1:]) != (self.channels, *self.size):
            expected = f"(B, {self.channels}, {self.size[0]}, {self.size[1]})"
            raise ValueError(f"images of shape {tuple(images.shape)} given, this model takes {expected}")
        if images.dtype == torch.uint8:
            images = self.scale(images)
        (gh, gw), (ph, pw) = self.grid, self.patch
        values = images.view(-1, self.channels, gh, ph, gw, pw).permute(0, 2, 4, 3, 5, 1)
        return Cells(values.reshape(-1, gh * gw, self.values_per_cell), self.coords)

    def embed(self, cells: Cells, keep: Tensor | None = None, ok: Tensor | None = None) -> Tensor:
        """(B, N, D), or (B, V, D) of the kept cells alone."""
        return self.project(cells.values if keep is None else gather_cells(cells.values, keep))

    def to_map(self, values: Tensor) -> Tensor:
        """(B, N, P) → (B, C, H, W), in the units of ``values``."""
        (gh, gw), (ph, pw) = self.grid, self.patch
        images = values.view(-1, gh, gw, ph, pw, self.channels).permute(0, 5, 1, 3, 2, 4)
        return images.reshape(-1, self.channels, *self.size)

    def join(self, values: Tensor) -> Tensor:
        """Normalised cell values (B, N, P) → raw uint8 images (B, C, H, W)."""
        return self.unscale(self.to_map(values))

    def covers(self, raw: Tensor, index: Tensor, ok: Tensor | None = None) -> Tensor:
        """Bool (B, C, H, W): the pixels of the cells ``index`` (B, M)."""
        flags = torch.zeros(len(raw), self.cells, dtype=torch.bool, device=raw.device)
        flags.scatter_(1, index, True if ok is None else ok)
        return self.to_map(flags.unsqueeze(-1).expand(-1, -1, self.values_per_cell).contiguous())

    def paste(self, raw: Tensor, values: Tensor, plan: Plan) -> Tensor:
        """uint8 images whose hidden cells hold ``values`` (B, M, P), normalised."""
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

    def fills(self, raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The mean of each image's visible pixels, and the smoothest surface through them."""
        from mae_core.evaluation.image_quality import harmonic_fill, mean_fill

        return {"mean_fill": mean_fill(raw, hidden), "harmonic_fill": harmonic_fill(raw, hidden)}

    def quality(self, filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
        """PSNR and SSIM."""
        from mae_core.evaluation.image_quality import measure

        return measure(filled.cpu().numpy(), raw.cpu().numpy(), hidden.cpu().numpy())

    def picture(self, raw: Tensor, masked: Tensor, filled: Tensor) -> np.ndarray:
        """Original, masked, reconstruction, error in colours."""
        from mae_core.evaluation.image_quality import picture_grid

        return picture_grid(*(self.render(x).cpu().numpy() for x in (raw, masked, filled)))

    def augment(self, raw: Tensor, draws: Draws, crop: float, flip: bool) -> Tensor:
        """Random resized crop and flip."""
        return crop_and_flip(raw, draws, crop, flip)

    def jitter(self, raw: Tensor, draws: Draws, most: int) -> Tensor:
        """Moved by up to ``most`` pixels along each axis; what is uncovered repeats the edge."""
        return shift(raw, draws, most)

    def render(self, raw: Tensor) -> Tensor:
        """Raw (B, C, H, W) → uint8 RGB (B, H, W, 3): grey repeated, the first three channels of many, two padded with black."""
        shown = raw[:, :3]
        if shown.shape[1] == 1:
            shown = shown.expand(-1, 3, -1, -1)
        elif shown.shape[1] == 2:
            shown = torch.cat([shown, torch.zeros_like(shown[:, :1])], 1)
        return shown.permute(0, 2, 3, 1)


def _noise(shape: tuple[int, ...], n: int, generator: torch.Generator) -> Tensor:
    """(n, *shape) uint8, uniform."""
    return torch.randint(0, 256, (n, *shape), generator=generator).to(torch.uint8)
