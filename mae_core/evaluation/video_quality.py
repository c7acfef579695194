"""How near clips are to their originals, fills that need no model, and how clips are shown."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.evaluation.image_quality import PIXEL_MAX, decibel, enlarge, heat, mean_fill, spaced

REACH = 7
"""Pixels along each axis that a frame may have moved since the one before it."""
COLUMNS, WIDE = 8, 16
"""Frames in a row of a film strip that stands alone, and of one in a picture."""
FRAME = 48
"""Pixels a side that a frame of a picture has at least."""


def nearest_fill(raw: Tensor, hidden: Tensor) -> Tensor:
    """Hidden pixels of uint8 (B, C, T, H, W) become what the same place shows at the nearest visible moment, the earlier of two.

    Where the end of a clip is hidden this copies the last visible frame; a place that is never visible gets the clip's mean.
    """
    filled, found = mean_fill(raw, hidden), ~hidden
    moment = torch.arange(raw.shape[2], device=raw.device).view(-1, 1, 1)
    for far in range(1, raw.shape[2]):
        for step in (far, -far):  # what was ``far`` frames earlier first
            inside = (moment - step >= 0) & (moment - step < raw.shape[2])
            take = ~found & inside & ~hidden.roll(step, 2)
            filled = torch.where(take, raw.roll(step, 2), filled)
            found |= take
    return filled


def motion_fill(raw: Tensor, hidden: Tensor, gap: int = 1) -> Tensor:
    """The frames hidden at the end of uint8 (B, C, T, H, W) become the last visible one, moved on at constant velocity.

    The velocity is that whole-frame shift of at most ``REACH`` pixels a frame between the last visible frame and the one ``gap`` frames
    before it which leaves the least squared error. All else, and clips that do not show both frames, is filled by ``nearest_fill``.
    """
    filled = nearest_fill(raw, hidden)
    gone = hidden.flatten(3).any(3).any(1)  # (B, T): frames with a hole
    last = raw.shape[2] - 1 - gone.logical_not().flip(1).int().argmax(1)
    for at in last.unique().tolist():
        rows = ((last == at) & ~gone[:, at] & ~gone[:, max(at - gap, 0)]).nonzero()[:, 0]
        if at < gap or at == raw.shape[2] - 1 or not len(rows):
            continue
        now, then = raw[rows, :, at].float(), raw[rows, :, at - gap].float()
        velocity = _shift_between(then, now, gap * REACH) / gap
        for t in range(at + 1, raw.shape[2]):
            moved = _moved(now, velocity * (t - at)).round().to(torch.uint8)
            filled[rows, :, t] = torch.where(hidden[rows, :, t], moved, raw[rows, :, t])
    return filled


def _shift_between(then: Tensor, now: Tensor, reach: int) -> Tensor:
    """(B, 2) float: the shift in pixels (down, right) that turns ``then`` (B, C, H, W) most nearly into ``now``; the smaller of equals."""
    height, width = now.shape[-2:]
    around = F.pad(then, (reach,) * 4, mode="replicate")
    steps = torch.arange(-reach, reach + 1, device=now.device)
    shifts = torch.cartesian_prod(steps, steps)
    shifts = shifts[shifts.square().sum(1).argsort(stable=True)]
    errors = []
    for down, right in shifts.tolist():
        moved = around[..., reach - down : reach - down + height, reach - right : reach - right + width]
        errors.append((moved - now).square().mean((1, 2, 3)))
    return shifts[torch.stack(errors).argmin(0)].float()


def _moved(frames: Tensor, by: Tensor) -> Tensor:
    """(B, C, H, W) moved (B, 2) pixels down and right, linear between pixels; what is uncovered repeats the edge."""
    for axis, step in ((2, by[:, :1]), (3, by[:, 1:])):
        size = frames.shape[axis]
        at = (torch.arange(size, device=frames.device) - step).clamp(0, size - 1)
        low = at.floor().long()
        high, part = (low + 1).clamp_max(size - 1), at - low
        shape = (len(frames), 1, size, 1) if axis == 2 else (len(frames), 1, 1, size)
        low, high, part = (x.view(shape).expand_as(frames) for x in (low, high, part))
        frames = torch.lerp(frames.gather(axis, low), frames.gather(axis, high), part)
    return frames


def measure(filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
    """Measures (n,) of uint8 (n, C, T, H, W): ``psnr_hidden`` and ``psnr`` in dB, ``mse_hidden`` of pixels in 0..1 (lower is better)."""
    error = ((filled.double() - raw) / PIXEL_MAX).square().flatten(1)
    holes = hidden.flatten(1)
    inside = ((error * holes).sum(1) / holes.sum(1).clamp_min(1)).cpu().numpy()
    return {
        "psnr_hidden": decibel(inside),
        "psnr": decibel(error.mean(1).cpu().numpy()),
        "mse_hidden": inside,
    }


def strip(clips: np.ndarray, most: int = COLUMNS) -> np.ndarray:
    """(n, T, H, W, 3) uint8 → (n, height, width, 3): frames side by side, at most ``most`` in a row, a white line between them."""
    n, frames, height, width, _ = clips.shape
    columns = min(frames, most)
    lines = math.ceil(frames / columns)
    sheet = np.full((n, lines * (height + 1) - 1, columns * (width + 1) - 1, 3), 255, np.uint8)
    for t in range(frames):
        top, left = t // columns * (height + 1), t % columns * (width + 1)
        sheet[:, top : top + height, left : left + width] = clips[:, t]
    return sheet


def picture_rows(original: np.ndarray, masked: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """RGB uint8 (height, width, 3) of n rendered clips (n, T, H, W, 3): strips of original, masked, reconstruction and error."""
    scale = max(-(-FRAME // original.shape[3]), 1)
    parts = [strip(x, WIDE) for x in (original, masked, filled, heat(original, filled))]
    rows = [enlarge(part[i], scale) for i in range(len(original)) for part in parts]
    return np.concatenate(spaced(rows, 0), 0)
