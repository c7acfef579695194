"""Images of any channel count and any size that whole patches cover."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from mae_core.cells import Belief
from mae_core.data.augment import Augmentation, change_pictures, shift
from mae_core.data.images import SUFFIXES, decode_image
from mae_core.draws import Draws
from mae_core.modalities.base import OWN, Example, Mask
from mae_core.modalities.image_fitting import fitting
from mae_core.modalities.panels import Panel, Picture
from mae_core.modalities.pixel_grid import MOST_PIXELS, PixelGrid, averaged, noise, rgb

MOST_PATCH, LEAST_CELLS = 16, 4
"""Pixels a side of the default patch, and cells a side that it leaves."""


class ImageModality(PixelGrid):
    """Raw uint8 images (B, C, H, W) ↔ cells of P = ph · pw · C values in (row, column, channel) order, rows of patches first."""

    default_ratio = 0.75
    augmentations = Augmentation._fields
    maskers = (
        "random", "grid", "block", "multi_block", "coarse", "variance", "edges", "weight_map", *OWN,
    )  # fmt: skip
    sides = ("height", "width")
    sample = "image"
    noun = "picture"
    suffixes = SUFFIXES
    axes = ("channels", "height", "width")
    legend = "Columns: original, masked, reconstruction, error (dark: none)."
    bank = (
        Mask("random-75", "random", 0.75),
        Mask("random-50", "random", 0.5),
        Mask("grid-75", "grid", 0.75),
        Mask("block-50", "block", 0.5),
    )

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
            found[name] = Example(config, partial(noise, (channels, *size)))
        return found

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
    def plain(samples: np.ndarray, info: Mapping[str, Any], most: int = MOST_PIXELS) -> np.ndarray:
        """Pixels in 0..1, (n, at most ``most``)."""
        return averaged(samples, most)

    def fitted(self, samples: np.ndarray) -> Any:
        """Stretched, grey repeated, colour to grey."""
        return fitting(samples, self.channels, self.size)

    def read(self, data: bytes) -> np.ndarray:
        """One picture, upright, cropped at its centre to the model's aspect and resized."""
        height, width = self.size
        return decode_image(data, (height, width), self.channels)[None]

    def fills(self, raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The mean of each image's visible pixels, and the smoothest surface through them; train's mean colour where there are none."""
        from mae_core.evaluation.image_quality import harmonic_fill, mean_fill

        fills = {"mean_fill": mean_fill(raw, hidden), "harmonic_fill": harmonic_fill(raw, hidden)}
        return self.or_trivial(fills, raw, hidden)

    def quality(self, filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
        """PSNR and SSIM."""
        from mae_core.evaluation.image_quality import measure

        return measure(filled.cpu().numpy(), raw.cpu().numpy(), hidden.cpu().numpy())

    def picture(self, raw: Tensor, masked: Tensor, filled: Tensor) -> np.ndarray:
        """Original, masked, reconstruction, error in colours."""
        from mae_core.evaluation.image_quality import picture_grid

        return picture_grid(*(self.render(x).cpu().numpy() for x in (raw, masked, filled)))

    def augment(self, raw: Tensor, draws: Draws, how: Augmentation) -> Tensor:
        """Random resized crop, flip and colours."""
        return change_pictures(raw, draws, how)

    def jitter(self, raw: Tensor, draws: Draws, most: int) -> Tensor:
        """Moved by up to ``most`` pixels along each axis; what is uncovered repeats the edge."""
        return shift(raw, draws, most)

    def render(self, raw: Tensor) -> Tensor:
        """Raw (B, C, H, W) → uint8 RGB (B, H, W, 3): grey repeated, the first three channels of many, two padded with black."""
        return rgb(raw)

    def view(
        self, raw: Tensor, hidden: Tensor | None = None, truth: Tensor | None = None, belief: Belief | None = None
    ) -> list[list[Panel]]:
        """The picture, and where it differs from the truth."""
        from mae_core.evaluation.image_quality import heat

        panels: list[list[Panel]] = [[Picture(one)] for one in self.render(raw).cpu().numpy()]
        if truth is not None:
            for some, found, true in zip(panels, *(self.render(x).cpu().numpy() for x in (raw, truth))):
                some.append(Picture(heat(found, true), "error: black is none, yellow much"))
        return panels
