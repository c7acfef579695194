"""How near spectrograms are to their originals, fills that need no model, and how a reconstruction is shown."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mae_core.evaluation.image_quality import HEAT, enlarge, spaced

CELL = 140
"""Pixels across one spectrogram of a picture, at least."""
VIRIDIS = np.array(
    [
        [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
        [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
    ],
    float,
)  # fmt: skip
"""Equal steps look equally large, also to colour-blind people (van der Walt & Smith 2015)."""
GREY, WHITE = 150, 255
"""Hidden values, and what lies behind the end."""
WORST = 40.0
"""dB of error that are shown as bright as can be."""


def mean_fill(raw: Tensor, hidden: Tensor) -> Tensor:
    """Hidden values of (B, T, F) become the mean of the visible ones of their band, or of the sound where the band has none.

    0 where nothing of the sound is visible.
    """
    seen = ~hidden & ~raw.isnan()
    values = torch.where(seen, raw, 0.0)
    of_sound = values.sum((1, 2), keepdim=True) / seen.sum((1, 2), keepdim=True).clamp_min(1)
    count = seen.sum(1, keepdim=True)
    of_band = torch.where(count > 0, values.sum(1, keepdim=True) / count.clamp_min(1), of_sound)
    return torch.where(hidden, of_band, raw)


def linear_fill(raw: Tensor, hidden: Tensor) -> Tensor:
    """Hidden values of (B, T, F) lie on straight lines over time between the visible ones of their band, flat beyond the outermost.

    A band without a visible value is filled from its neighbours in the same way, over frequency; 0 where nothing of the sound is visible.
    """
    seen = ~hidden & ~raw.isnan()
    over_time, reached = _interpolate(torch.where(seen, raw, 0.0), seen)
    whole, _ = _interpolate(over_time.transpose(1, 2), reached.transpose(1, 2))
    return torch.where(hidden, whole.transpose(1, 2), raw)


def _interpolate(x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, F) along T, and whether there was anything to go by."""
    size = x.shape[1]
    place = torch.arange(size, device=x.device).view(1, -1, 1).expand_as(x)
    before = torch.where(known, place, -1).cummax(1).values
    after = torch.where(known, place, size).flip(1).cummin(1).values.flip(1)
    reached = (before >= 0) | (after < size)
    left = torch.where(before < 0, after, before).clamp_max(size - 1)
    right = torch.where(after == size, before, after).clamp_min(0)
    share = (place - left) / (right - left).clamp_min(1)
    low, high = x.gather(1, left), x.gather(1, right)
    return low + (high - low) * share, reached


def measure(filled: Tensor, raw: Tensor, hidden: Tensor) -> dict[str, np.ndarray]:
    """Measures (n,) of (n, T, F) in dB, of hidden values; lower is better. NaN for a sound of which nothing is hidden."""
    error = torch.where(hidden, (filled - raw).double(), 0.0).flatten(1)
    count = hidden.flatten(1).sum(1)
    return {
        "rmse_db_hidden": (error.square().sum(1) / count).sqrt().cpu().numpy(),
        "mae_db_hidden": (error.abs().sum(1) / count).cpu().numpy(),
    }


def colours(raw: Tensor, low: float, high: float, blank: float) -> Tensor:
    """(B, T, F) dB → uint8 RGB (B, F, T, 3), high notes up: from ``low`` to ``high``, ``blank`` grey, NaN white."""
    up = raw.float().transpose(1, 2).flip(1)
    shown = torch.from_numpy(_along(VIRIDIS, ((up - low) / (high - low)).clamp(0, 1).nan_to_num().cpu().numpy()))
    shown[up.cpu() == blank] = GREY
    shown[up.cpu().isnan()] = WHITE
    return shown.to(raw.device)


def picture_rows(original: np.ndarray, hidden: np.ndarray, filled: np.ndarray, error: np.ndarray) -> np.ndarray:
    """RGB uint8, a row for each of n rendered (n, F, T, 3) spectrograms: original, masked, reconstruction, error.

    ``error`` is that of ``error_colours``.
    """
    heat = error_colours(error)
    scale = max(-(-CELL // original.shape[2]), 1)
    lines = [
        np.concatenate(spaced([enlarge(x[i], scale) for x in (original, hidden, filled, heat)], 1), 1)
        for i in range(len(original))
    ]
    return np.concatenate(spaced(lines, 0), 0)


def error_colours(error: np.ndarray) -> np.ndarray:
    """(n, T, F) dB, NaN behind the end → uint8 RGB (n, F, T, 3): black is none, the brightest colour ``WORST`` or more."""
    up = error.transpose(0, 2, 1)[:, ::-1]
    heat = _along(HEAT, np.nan_to_num(np.clip(up / WORST, 0, 1)))
    heat[np.isnan(up)] = WHITE
    return heat


def _along(table: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours (…, 3) uint8 of shares in 0..1, between the rows of ``table``."""
    at = share * (len(table) - 1)
    low = np.minimum(at.astype(int), len(table) - 2)
    part = (at - low)[..., None]
    return ((1 - part) * table[low] + part * table[low + 1]).round().astype(np.uint8)
