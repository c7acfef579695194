"""Pictures of one shape, read as another: how a model looks at a dataset it was not made for."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey (ITU-R BT.601), as Pillow has it."""


class Fitting:
    """Samples of one shape, read as another, block by block: stretched with antialiasing, grey repeated, colour to grey."""

    def __init__(self, samples: np.ndarray, channels: int, size: tuple[int, ...]) -> None:
        self.samples, self.channels, self.size = samples, channels, size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: slice) -> np.ndarray:
        x = torch.from_numpy(np.array(self.samples[rows])).float()
        if x.shape[1] == 1:
            x = x.expand(-1, self.channels, *x.shape[2:])
        elif self.channels == 1:
            x = (x * torch.tensor(LUMA).view(3, *(1 for _ in self.size))).sum(1, keepdim=True)
        if tuple(x.shape[2:]) != self.size:
            pictures = x.reshape(len(x), -1, *x.shape[-2:])
            pictures = F.interpolate(
                pictures, size=self.size[-2:], mode="bilinear", antialias=True, align_corners=False
            )
            x = pictures.view(len(x), self.channels, *self.size)
        return x.round().clamp(0, 255).to(torch.uint8).numpy()


def fitting(samples: np.ndarray, channels: int, size: tuple[int, ...]) -> np.ndarray | Fitting:
    """``samples`` (n, C, …, H, W) as a model of that shape takes them; themselves where they fit already.

    Raises ValueError for what nothing sensible leads to: other frames, and channels other than grey and red-green-blue.
    """
    if samples.shape[1:] == (channels, *size):
        return samples
    if samples.shape[2:-2] != size[:-2]:
        raise ValueError(
            f"samples have {samples.shape[2]} frames, the model takes {size[0]}: prepare clips of its length"
        )
    if samples.shape[1] != channels and {samples.shape[1], channels} != {1, 3}:
        raise ValueError(
            f"samples have {samples.shape[1]} channels, the model takes {channels}: only 1 and 3 are turned into each other"
        )
    return Fitting(samples, channels, size)
