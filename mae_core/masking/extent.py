"""How much of the grid a sample fills: masks that lay something out over a grid lay it over that part."""

from __future__ import annotations

import torch
from torch import Tensor


def extent(place: Tensor, valid: Tensor | None) -> Tensor:
    """(B or 1, 1, K): how many cells lie along each axis up to a sample's last one; what is behind it is padding.

    Args:
        place: (B or 1, N, K): where cells lie, from 0 on.
        valid: (B, N) bool; None = all.
    """
    if valid is not None:
        place = torch.where(valid.unsqueeze(-1), place, 0)
    return place.amax(1, keepdim=True) + 1
