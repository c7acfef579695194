"""Batch augmentation of pictures on the device: random resized crop and flip, drawn per sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.draws import Draws


def crop_and_flip(raw: Tensor, draws: Draws, crop: float = 1.0, flip: bool = False) -> Tensor:
    """uint8 (B, C, H, W) → uint8 of the same shape.

    Args:
        crop: the smallest share of the area a crop may have (1 = none); its aspect stays that of the image.
        flip: mirror half of the samples left to right.
    """
    if crop >= 1 and not flip:
        return raw
    u = draws.uniform("augment", 4)
    side = (crop + (1 - crop) * u[:, 0]).sqrt()
    mirror = torch.where(u[:, 3] < 0.5, -1.0, 1.0) if flip else torch.ones_like(side)
    theta = raw.new_zeros(len(raw), 2, 3, dtype=torch.float32)
    theta[:, 0, 0], theta[:, 1, 1] = side * mirror, side
    theta[:, 0, 2], theta[:, 1, 2] = (2 * u[:, 1] - 1) * (1 - side), (2 * u[:, 2] - 1) * (1 - side)
    grid = F.affine_grid(theta, list(raw.shape), align_corners=False)
    moved = F.grid_sample(raw.float(), grid, padding_mode="border", align_corners=False)
    return moved.round_().clamp_(0, 255).to(torch.uint8)
