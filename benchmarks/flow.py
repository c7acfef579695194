"""Optical flow by block matching, summed up in histograms: what a classifier of motion needs no network for."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 4
"""Pixels a frame along each axis that a block may have moved."""
BLOCK, STRIDE = 8, 4
"""Pixels a side of a block, and from one to the next."""
DIRECTIONS = 8
EDGES = (0.5, 1.5, 2.5)
"""Pixels a frame: blocks slower than the first stand still, the others are slow, middling and fast."""
BINS = 1 + DIRECTIONS * len(EDGES)
BATCH = 64


def flow_histograms(clips: np.ndarray) -> np.ndarray:
    """(n, C, T, H, W) uint8 → (n, T − 1, BINS) float32: how much of what has texture moves which way, from each frame to the next."""
    return np.concatenate([_histograms(clips[i : i + BATCH]) for i in range(0, len(clips), BATCH)])


def pooled(histograms: np.ndarray, segments: int) -> np.ndarray:
    """(n, T − 1, BINS) → (n, segments · BINS): sums over equal stretches of time."""
    return np.concatenate([part.sum(1) for part in np.array_split(histograms, segments, axis=1)], 1)


def _histograms(clips: np.ndarray) -> np.ndarray:
    frames = torch.from_numpy(np.array(clips)).float().mean(1) / 255  # (n, T, H, W)
    now, after = frames[:, :-1].flatten(0, 1).unsqueeze(1), frames[:, 1:].flatten(0, 1).unsqueeze(1)
    height, width = now.shape[-2:]
    padded = F.pad(now, (REACH,) * 4, mode="replicate")
    steps = torch.arange(-REACH, REACH + 1)
    shifts = torch.cartesian_prod(steps, steps)
    shifts = shifts[shifts.square().sum(1).argsort(stable=True)]  # of equally good ones the shortest
    costs = []
    for down, right in shifts.tolist():
        moved = padded[..., REACH - down : REACH - down + height, REACH - right : REACH - right + width]
        costs.append(_blocks((moved - after).square()))
    best = torch.stack(costs).argmin(0)  # (pairs, blocks)
    texture = (_blocks(after.square()) - _blocks(after).square()).clamp_min(0).sqrt()
    found = torch.zeros(len(best), BINS).scatter_add_(1, _bins(shifts)[best], texture)
    return found.view(len(clips), -1, BINS).numpy()


def _blocks(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, BLOCK, STRIDE).flatten(1)


def _bins(shifts: Tensor) -> Tensor:
    """(shifts, 2) down and right → (shifts,): which bin each falls in, 0 for those that stand still."""
    length = shifts.float().norm(dim=1)
    angle = torch.atan2(shifts[:, 0].float(), shifts[:, 1].float()) / (2 * torch.pi / DIRECTIONS)
    pace = torch.bucketize(length, torch.tensor(EDGES)) - 1
    return torch.where(pace < 0, 0, 1 + pace * DIRECTIONS + angle.round().long() % DIRECTIONS)
