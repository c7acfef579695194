"""Transformer parts: attention, block, sin-cos positions, and the initialisation of the MAE paper's official code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LAYER_NORM_EPS = 1e-6


def attend(q: Tensor, k: Tensor, v: Tensor, key_ok: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of (B, H, Q, d) over (B, H, T, d); ``key_ok`` (B, T) bool hides padded keys.

    torch's fused kernel has a slow bf16 backward on CPUs, so there, while training, plain matrix products are used instead.
    """
    plain = q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled()
    mask = None if key_ok is None else key_ok[:, None, None, :]
    if not plain:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # else products copy them, transposed and more than once
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        weights = weights.masked_fill(~mask, float("-inf"))
    return weights.softmax(-1) @ v


class Attention(nn.Module):
    """Multi-head self-attention with q, k and v in one projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} cannot be split into {heads} heads: choose a divisor of {width}")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, key_ok: Tensor | None = None, tail: int | None = None) -> Tensor:
        """(B, T, D) → (B, T, D), or (B, tail, D): what the last ``tail`` tokens read from all."""
        batch, tokens, width = x.shape
        each = width // self.heads
        if tail is None or tail == tokens:
            q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, each).permute(2, 0, 3, 1, 4)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            q = F.linear(x[:, -tail:], weight[:width], bias[:width]).view(batch, tail, self.heads, each).transpose(1, 2)
            k, v = (
                F.linear(x, weight[width:], bias[width:])
                .view(batch, tokens, 2, self.heads, each)
                .permute(2, 0, 3, 1, 4)
            )
        return self.proj(attend(q, k, v, key_ok).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al. 2021, §3.1)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, key_ok: Tensor | None = None, tail: int | None = None) -> Tensor:
        """(B, T, D) → (B, T, D); with ``tail``, the last ``tail`` tokens alone, exactly as if all had been computed."""
        kept = x if tail is None else x[:, -tail:]
        kept = kept + self.attn(self.norm1(x), key_ok, tail)
        return kept + self.mlp(self.norm2(kept))


def run_block(block: nn.Module, x: Tensor, key_ok: Tensor | None, tail: int | None, recompute: bool) -> Tensor:
    """``block(x)``, forgetting its activations and recomputing them in backward where ``recompute`` asks for it."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, x, key_ok, tail, use_reentrant=False)
    return block(x, key_ok, tail)


def sincos(coords: Tensor, width: int) -> Tensor:
    """Fixed sin-cos positions of ``coords`` (..., K) → (..., width) float32.

    The channels are split over the axes, last axis first (so for (y, x) the first half encodes x, as the official MAE code does),
    each part [sin | cos] with frequencies 10000^(-i/n), computed in double precision. Channels left over stay zero.
    """
    axes = coords.shape[-1]
    n = width // (2 * axes)
    if n == 0:
        raise ValueError(f"width {width} is too small for sin-cos positions over {axes} axes: at least {2 * axes}")
    omega = 10000.0 ** (-torch.arange(n, dtype=torch.float64, device=coords.device) / n)
    angles = coords.double().flip(-1).unsqueeze(-1) * omega
    table = torch.cat([angles.sin(), angles.cos()], -1).flatten(-2).float()
    return F.pad(table, (0, width - table.shape[-1]))


class Positions(nn.Module):
    """Sin-cos positions that remember the table of the last fixed grid, which is the same object at every step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self._coords: Tensor | None = None
        self._table: Tensor | None = None

    def forward(self, coords: Tensor, index: Tensor | None = None) -> Tensor:
        """``coords`` (N, K) or (B, N, K), ``index`` (B, V) or None → (B or 1, V or N, D)."""
        if coords.dim() == 3:
            table = sincos(coords, self.width)
        else:
            if self._coords is not coords:
                self._coords, self._table = coords, sincos(coords, self.width)
            assert self._table is not None
            table = self._table.unsqueeze(0)
        if index is None:
            return table
        if table.shape[0] == 1:
            return table[0][index]
        return table.gather(1, index.unsqueeze(-1).expand(-1, -1, self.width))


def init_linear(module: nn.Module) -> None:
    """The official code's rule for every Linear below ``module``: Xavier-uniform weight, zero bias; LayerNorms start as identity."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@torch.no_grad()
def start_local(module: nn.Module) -> None:
    """Keys start as queries in every attention below ``module``: a token attends first to those like it, in position above all.

    A part of mimetic initialisation (Trockman & Kolter 2023, §3); short trainings find neighbours sooner.
    """
    for part in module.modules():
        if isinstance(part, Attention):
            queries, keys, _ = part.qkv.weight.chunk(3)
            keys.copy_(queries)
