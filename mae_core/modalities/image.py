"""Images of any channel count and any size that whole patches cover."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mae_core.cells import Cells, gather_cells


class ImageModality(nn.Module):
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

    @property
    def cells(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]

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

    def embed(self, cells: Cells, keep: Tensor | None = None) -> Tensor:
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

    def render(self, raw: Tensor) -> Tensor:
        """Raw (B, C, H, W) → uint8 RGB (B, H, W, 3): grey repeated, the first three channels of many, two padded with black."""
        shown = raw[:, :3]
        if shown.shape[1] == 1:
            shown = shown.expand(-1, 3, -1, -1)
        elif shown.shape[1] == 2:
            shown = torch.cat([shown, torch.zeros_like(shown[:, :1])], 1)
        return shown.permute(0, 2, 3, 1)
