"""The rank of every value of a row: what most masks of whole groups are drawn by."""

from __future__ import annotations

import torch
from torch import Tensor


def ranks(values: Tensor) -> Tensor:
    """(B, N) → (B, N) long: the place of each value among those of its row, the smallest 0; of equal ones the first comes first."""
    order = values.argsort(dim=1, stable=True)
    places = torch.arange(values.shape[1], device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
