"""How near pictures are to their originals, fills that need no model, and how a reconstruction is shown."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PIXEL_MAX = 255.0
SMALLEST_MSE = 1e-10
"""Of values in 0..1: a perfect reconstruction is called 100 dB."""
SSIM_WINDOW = 7
SMALL, SWEEPS, RELAXATION = 60, 200, 1.9
"""Sides up to the first are relaxed by the third, so many times."""


def mean_fill(raw: Tensor, hidden: Tensor) -> Tensor:
    """Hidden pixels of uint8 (B, C, …) become the mean of the sample's visible ones, per channel; 0 where there are none."""
    seen, axes = (~hidden).float(), tuple(range(2, raw.dim()))
    mean = (raw * seen).sum(axes, keepdim=True) / seen.sum(axes, keepdim=True).clamp_min(1)
    return torch.where(hidden, mean.round().to(torch.uint8), raw)


def harmonic_fill(raw: Tensor, hidden: Tensor) -> Tensor:
    """Hidden pixels of uint8 (B, C, H, W) become the smoothest surface through the visible ones.

    Laplace's equation with reflecting borders, by red-black successive over-relaxation (Young 1954).
    """
    x = mean_fill(raw, hidden).float()
    height, width = raw.shape[-2:]
    rows, columns = (torch.arange(side, device=raw.device) for side in (height, width))
    checker = (rows[:, None] + columns) % 2
    sweeps, relaxation = _schedule(max(height, width))
    for _ in range(sweeps):
        for colour in (0, 1):
            padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
            around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
            x = torch.where(hidden & (checker == colour), x + relaxation * (around / 4 - x), x)
    return torch.where(hidden, x.round().clamp(0, PIXEL_MAX).to(torch.uint8), raw)


def _schedule(side: int) -> tuple[int, float]:
    """How many sweeps, and the factor of over-relaxation, for images whose longer side has ``side`` pixels.

    The error that leaves a large hole last is a wave whose quarter is as long as the hole is deep: that of an image of which one row is
    visible has the best factor 2 / (1 + sin(π / √8 side)), and four sweeps a pixel leave less than a tenth of a grey level.
    """
    if side <= SMALL:
        return SWEEPS, RELAXATION
    return 4 * side, 2 / (1 + math.sin(math.pi / (math.sqrt(8) * side)))


def measure(images: np.ndarray, truth: np.ndarray, hidden: np.ndarray) -> dict[str, np.ndarray]:
    """Measures (n,) of uint8 (n, C, H, W) ``images`` against ``truth``; ``hidden`` is bool of the same shape. Higher is better.

    ``psnr`` in dB of the whole image with its true visible cells, ``psnr_hidden`` of hidden pixels alone; ``ssim`` (Wang et al. 2004,
    uniform 7 × 7 window) of the whole image, ``ssim_hidden`` the mean of its map at hidden pixels.
    """
    from skimage.metrics import structural_similarity

    error = ((images.astype(np.float64) - truth) / PIXEL_MAX) ** 2
    flat, holes = error.reshape(len(error), -1), hidden.reshape(len(hidden), -1)
    mse_hidden = (flat * holes).sum(1) / np.maximum(holes.sum(1), 1)
    side = min(SSIM_WINDOW, *images.shape[-2:])
    window = side if side % 2 else side - 1
    whole, inside = [], []
    for image, true, hole in zip(images, truth, hidden):
        mean, similarity = structural_similarity(
            image, true, win_size=window, data_range=PIXEL_MAX, channel_axis=0, full=True
        )
        whole.append(float(mean))
        inside.append(float(similarity[hole].mean()) if hole.any() else 1.0)
    return {
        "psnr_hidden": decibel(mse_hidden),
        "psnr": decibel(flat.mean(1)),
        "ssim_hidden": np.array(inside),
        "ssim": np.array(whole),
    }


def decibel(mse: np.ndarray) -> np.ndarray:
    """PSNR in dB of squared errors of values in 0..1."""
    return -10 * np.log10(np.maximum(mse, SMALLEST_MSE))


CELL = 140
"""Pixels per side of one image of a picture: four make the 560 that a page shows without blur."""
GAP = 4
HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], float)
"""Error from none to the full range of a pixel, dark to bright."""


def picture_grid(original: np.ndarray, hidden: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """RGB uint8 (height, width, 3), a row for each of n rendered (n, H, W, 3) images: original, masked, reconstruction, error.

    Pixels are enlarged by whole numbers.
    """
    error = heat(original, filled)
    scale = max(-(-CELL // original.shape[2]), 1)
    lines = [
        np.concatenate(spaced([enlarge(x[i], scale) for x in (original, hidden, filled, error)], 1), 1)
        for i in range(len(original))
    ]
    return np.concatenate(spaced(lines, 0), 0)


def heat(original: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """(…, 3) uint8 each → where they differ: the mean over channels, its root in colours from dark (none) to bright."""
    error = np.abs(filled.astype(float) - original).mean(-1) / PIXEL_MAX
    at = np.sqrt(error) * (len(HEAT) - 1)  # the root shows small errors too
    low = np.minimum(at.astype(int), len(HEAT) - 2)
    share = (at - low)[..., None]
    return ((1 - share) * HEAT[low] + share * HEAT[low + 1]).astype(np.uint8)


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Nearest neighbour: a pixel stays a pixel."""
    return image.repeat(scale, 0).repeat(scale, 1)


def spaced(parts: list[np.ndarray], axis: int) -> list[np.ndarray]:
    """The parts with white gaps between them."""
    shape = list(parts[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 255, np.uint8)
    return [piece for part in parts for piece in (part, gap)][:-1]
