"""Rotary positions: queries and keys are turned by their place, so that products depend on distances (Su et al. 2021, RoFormer)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

BASE = 100.0
"""The slowest frequency is nearly this many times slower than the fastest: 2π to about 600 cells (Heo et al. 2024, RoPE-ViT, §3.2)."""


class Rotation(NamedTuple):
    """How far each pair of channels is turned, the same for all heads."""

    cos: Tensor
    """(B or 1, 1, T, d / 2) float32, d being the channels of a head."""
    sin: Tensor


def angles(coords: Tensor, pairs: int) -> Tensor:
    """``coords`` (..., K) → (..., pairs) radians, computed in double precision.

    The pairs are split evenly over the K axes, each with frequencies BASE^(-i/n); those left over are not turned.
    """
    n = pairs // coords.shape[-1]
    omega = BASE ** (-torch.arange(n, dtype=torch.float64, device=coords.device) / n)
    turned = (coords.double().unsqueeze(-1) * omega).flatten(-2).float()
    return nn.functional.pad(turned, (0, pairs - turned.shape[-1]))


class Rotary(nn.Module):
    """Rotations of cells on any number of axes; global tokens are not turned, so what they read tells them where on the grid it is.

    Args:
        each: channels of a head.
    """

    def __init__(self, each: int) -> None:
        super().__init__()
        self.pairs = each // 2

    def check_axes(self, axes: int) -> None:
        """Raises ValueError where heads are too narrow for coordinates along so many axes."""
        if self.pairs < axes:
            raise ValueError(
                f"heads of {2 * self.pairs} channels are too narrow for rotary positions over {axes} axes: at least {2 * axes} are "
                "needed, so choose fewer heads"
            )

    def forward(self, coords: Tensor, index: Tensor | None, n_global: int) -> Rotation:
        """``coords`` (N, K) or (B, N, K), ``index`` (B, V) or None → the rotation of ``n_global`` tokens and V or N cells."""
        turned = angles(coords, self.pairs)
        if index is not None and coords.dim() == 2:
            turned = turned[index]
        elif index is not None:
            turned = turned.gather(1, index.unsqueeze(-1).expand(-1, -1, self.pairs))
        turned = turned if turned.dim() == 3 else turned.unsqueeze(0)
        turned = nn.functional.pad(turned, (0, 0, n_global, 0)).unsqueeze(1)
        return Rotation(turned.cos(), turned.sin())


def rotated(x: Tensor, rotation: Rotation) -> Tensor:
    """(B, H, T, d) with channel i and channel i + d // 2 turned as a pair; an odd one stays. The last T places of ``rotation`` count."""
    tokens, pairs = x.shape[2], rotation.cos.shape[-1]
    cos, sin = rotation.cos[:, :, -tokens:], rotation.sin[:, :, -tokens:]
    first, second, rest = x.float().split([pairs, pairs, x.shape[-1] - 2 * pairs], -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos, rest], -1).to(x.dtype)
