"""Video, as clips of any number of frames and any size that whole tubelets cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_core.cells import Cells
from mae_core.data.augment import Augmentation, change_pictures, shift
from mae_core.data.videos import SUFFIXES, Look, read_clips
from mae_core.draws import Draws
from mae_core.modalities.base import OWN, Example, Mask, change
from mae_core.modalities.image_fitting import fitting
from mae_core.modalities.pixel_grid import PixelGrid, averaged, noise, rgb, sides_of

MOST_PATCH = (2, 16, 16)
"""Frames, rows and columns of the default tubelet (Tong et al. 2022, VideoMAE, §3.3)."""
MOST_PIXELS = 2304
"""Of the features of no model: 16 frames of 12 × 12."""
LEAST_CELLS = 4
"""Along each axis: with fewer there is nothing to predict one from another."""


class VideoModality(PixelGrid):
    """Raw uint8 clips (B, C, T, H, W) ↔ tubelets of P = pt · ph · pw · C values in (frame, row, column, channel) order, time slowest.

    Args:
        stride: every how many frames of a file one is taken; what ``read`` does, and nothing else depends on it.
        others: of ``PixelGrid``; ``size`` is (T, H, W).
    """

    default_ratio = 0.9
    augmentations = Augmentation._fields
    maskers = (
        "random", "tube", "line", "tail", "grid", "multi_block", "coarse", "variance", "edges", "motion", "weight_map",
        *OWN,
    )  # fmt: skip
    details = ("variance", "edges", "motion")
    sides = ("time", "height", "width")
    axes = ("channels", *sides)
    legend = "Film strips, time to the right: original, masked, reconstruction, error (dark: none)."
    sample = "clip"
    time = 0
    noun = "video"
    suffixes = SUFFIXES
    bank = (
        Mask("random-90", "random", 0.9),
        Mask("tube-75", "tube", 0.75),
        Mask("line-50", "line", 0.5),
        Mask("tail-25", "tail", 0.25),
    )

    def __init__(
        self,
        width: int | None,
        channels: int,
        size: Sequence[int],
        patch: int | Sequence[int],
        stride: int = 1,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(width, channels, size, patch, mean, std)
        self.look = Look(self.size[0], (self.size[1], self.size[2]), channels, stride)

    @staticmethod
    def examples() -> dict[str, Example]:
        """Grey squares, wide colour, and an odd grid of flat tubelets over two channels."""
        found = {}
        for name, channels, size, patch in (
            ("grey", 1, [4, 8, 8], [2, 4, 4]),
            ("wide", 3, [4, 8, 12], 4),
            ("odd grid", 2, [3, 6, 4], [1, 3, 2]),
        ):
            statistics = {"mean": [0.4] * channels, "std": [0.25] * channels}
            config = {"channels": channels, "size": size, "patch": patch, "stride": 2, **statistics}
            found[name] = Example(config, partial(noise, (channels, *size)))
        return found

    @staticmethod
    def default_patch(info: dict[str, Any]) -> list[int]:
        """The largest divisors, at most 2 frames by 16 × 16 pixels, that leave 4 cells along each axis."""
        found = []
        for axis, side, most in zip(VideoModality.sides, info["sample"]["shape"][1:], MOST_PATCH):
            fits = [p for p in range(1, most + 1) if side % p == 0 and side // p >= LEAST_CELLS]
            if not fits:
                raise ValueError(f"{side} along {axis} leave no patch with {LEAST_CELLS} cells: set model.patch")
            found.append(max(fits))
        return found

    @staticmethod
    def misfit(info: dict[str, Any], patch: int | list[int]) -> str:
        """A patch has to divide frames, rows and columns, and to leave cells along each to predict one from another."""
        size = info["sample"]["shape"][1:]
        for axis, side, p in zip(VideoModality.sides, size, sides_of(patch, len(size))):
            if side % p:
                return f"{p} does not divide {side} along {axis}"
            if side // p < LEAST_CELLS:
                return f"{p} leaves fewer than {LEAST_CELLS} cells of {side} along {axis}"
        return ""

    @staticmethod
    def configure(info: dict[str, Any], patch: int | list[int]) -> dict[str, Any]:
        """As of every grid of pixels, and the frame stride."""
        return {**PixelGrid.configure(info, patch), "stride": info["stride"]}

    @staticmethod
    def plain(samples: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """Pixels in 0..1 of every frame, (n, at most 2304): frames are averaged down, none is left out."""
        return averaged(samples, MOST_PIXELS)

    def fitted(self, samples: np.ndarray) -> Any:
        """Frames stretched, grey repeated, colour to grey; the number of frames has to be the model's."""
        return fitting(samples, self.channels, self.size)

    def read(self, data: bytes) -> np.ndarray:
        """The clips of one video, one after another, as the dataset's were cut and resized."""
        return np.stack([clip.pixels for clip in read_clips(data, self.look)])

    def detail(self, cells: Cells, name: str) -> Tensor:
        """Also ``motion``: the mean difference of pixels to the cell of the same place before, at the first moment to the one after."""
        if name != "motion":
            return super().detail(cells, name)
        return change(cells.values.unflatten(1, (self.grid[0], -1)), 1).mean(-1).flatten(1)

    def fills(self, raw: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """The mean of what is visible, the nearest visible moment of each place, and the last visible frame moved on.

        Train's mean colour where nothing is visible.
        """
        from mae_core.evaluation.video_quality import mean_fill, motion_fill, nearest_fill

        fills = {"mean_fill": mean_fill, "nearest_fill": nearest_fill, "motion_fill": motion_fill}
        return self.or_trivial({name: fill(raw, hidden) for name, fill in fills.items()}, raw, hidden)

    def quality(self, filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
        """PSNR and squared error."""
        from mae_core.evaluation.video_quality import measure

        return measure(filled, raw, hidden)

    def picture(self, raw: Tensor, masked: Tensor, filled: Tensor) -> np.ndarray:
        """Film strips: original, masked, reconstruction, error in colours."""
        from mae_core.evaluation.video_quality import picture_rows

        return picture_rows(*(rgb(x.transpose(1, 2)).cpu().numpy() for x in (raw, masked, filled)))

    def augment(self, raw: Tensor, draws: Draws, how: Augmentation) -> Tensor:
        """Random resized crop, flip and colours, the same for all frames. A flip turns motion to the left into motion to the right."""
        return change_pictures(raw, draws, how)

    def jitter(self, raw: Tensor, draws: Draws, most: int) -> Tensor:
        """All frames of a clip moved alike by up to ``most`` pixels; what is uncovered repeats the edge."""
        return shift(raw, draws, most)

    def render(self, raw: Tensor) -> Tensor:
        """Raw (B, C, T, H, W) → film strips, uint8 RGB (B, height, width, 3)."""
        from mae_core.evaluation.video_quality import strip

        return torch.from_numpy(strip(rgb(raw.transpose(1, 2)).cpu().numpy()))
