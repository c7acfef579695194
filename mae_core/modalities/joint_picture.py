"""Pictures of several parts in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PAPER, GAP = 255, 8
"""White, and pixels between two parts."""


def above(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W, 3) uint8: pictures of any size below one another, white beside narrower ones."""
    wide = max(picture.shape[1] for picture in pictures)
    rows: list[np.ndarray] = []
    for picture in pictures:
        rows += [_widened(picture, wide), np.full((GAP, wide, 3), PAPER, np.uint8)]
    return np.concatenate(rows[:-1])


def beside(pictures: Sequence[Tensor]) -> Tensor:
    """(B, H, W, 3) uint8: pictures (B, h, w, 3) of any size next to one another, white below lower ones."""
    high = max(picture.shape[1] for picture in pictures)
    columns: list[Tensor] = []
    for picture in pictures:
        column = picture.new_full((len(picture), high, picture.shape[2], 3), PAPER)
        column[:, : picture.shape[1]] = picture
        columns += [column, picture.new_full((len(picture), high, GAP, 3), PAPER)]
    return torch.cat(columns[:-1], 2)


def _widened(picture: np.ndarray, wide: int) -> np.ndarray:
    return np.pad(picture, ((0, 0), (0, wide - picture.shape[1]), (0, 0)), constant_values=PAPER)
