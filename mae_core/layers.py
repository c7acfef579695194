"""Transformer parts: attention, block, sin-cos positions, and the initialisation of the MAE paper's official code."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae_core.rotary import Rotation, rotated

LAYER_NORM_EPS = 1e-6


def attend(q: Tensor, k: Tensor, v: Tensor, key_ok: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of (B, H, Q, d) over (B, H, T, d); ``key_ok`` (B, T) bool hides padded keys.

    torch's fused kernel is slow in bf16 on CPUs, most of all backward, so there plain matrix products are used instead.
    """
    plain = q.device.type == "cpu" and q.dtype == torch.bfloat16
    mask = None if key_ok is None else key_ok[:, None, None, :]
    if not plain:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # else products copy them, transposed and more than once
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        # the least finite number, for rows that may read nothing at all
        weights = weights.masked_fill(~mask, torch.finfo(weights.dtype).min)
    return weights.softmax(-1) @ v


class Attention(nn.Module):
    """Multi-head self-attention with q, k and v in one projection.

    Args:
        qk_norm: queries and keys of each head are normalised, so that their products stay bounded (Dehghani et al. 2023, §2.1).
    """

    def __init__(self, width: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"width {width} cannot be split into {heads} heads: choose a divisor of {width}")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.q_norm = nn.LayerNorm(width // heads, eps=LAYER_NORM_EPS) if qk_norm else None
        self.k_norm = nn.LayerNorm(width // heads, eps=LAYER_NORM_EPS) if qk_norm else None

    def forward(
        self, x: Tensor, key_ok: Tensor | None = None, tail: int | None = None, rotation: Rotation | None = None
    ) -> Tensor:
        """(B, T, D) → (B, T, D), or (B, tail, D): what the last ``tail`` tokens read from all; ``rotation`` says where tokens are."""
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
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        if rotation is not None:
            q, k = rotated(q, rotation), rotated(k, rotation)
        return self.proj(attend(q, k, v, key_ok).transpose(1, 2).flatten(2))

    def first_reads(self, x: Tensor, key_ok: Tensor | None = None, rotation: Rotation | None = None) -> Tensor:
        """(B, T, D) → (B, T) float32: how much the first token, a global one, reads from each, the mean over heads; sums to 1."""
        batch, tokens, width = x.shape
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(x[:, :1], weight[:width], bias[:width]).view(batch, 1, self.heads, -1).transpose(1, 2)
        k = F.linear(x, weight[width : 2 * width], bias[width : 2 * width]).view(batch, tokens, self.heads, -1)
        k = k.transpose(1, 2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            k = rotated(k, rotation)  # global tokens are not turned
        likeness = (q @ k.transpose(-2, -1)).float() * (width // self.heads) ** -0.5
        if key_ok is not None:
            likeness = likeness.masked_fill(~key_ok[:, None, None, :], float("-inf"))
        return likeness.softmax(-1).mean(1).squeeze(1)


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
    """A pre-norm transformer block (Dosovitskiy et al. 2021, §3.1).

    Args:
        qk_norm: as in ``Attention``.
        layer_scale: what the learned factors of both branches start at (Touvron et al. 2021, CaiT, §2); 0 = there are none.
    """

    def __init__(
        self, width: int, heads: int, mlp_ratio: float = 4.0, qk_norm: bool = False, layer_scale: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attn = Attention(width, heads, qk_norm)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.scale1 = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale else None
        self.scale2 = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale else None

    def forward(
        self,
        x: Tensor,
        key_ok: Tensor | None = None,
        tail: int | None = None,
        rotation: Rotation | None = None,
        gate: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) → (B, T, D); with ``tail``, the last ``tail`` tokens alone, exactly as if all had been computed.

        ``gate`` (B, 2) multiplies what the attention and the MLP add to each sample: 0 drops it.
        """
        kept = x if tail is None else x[:, -tail:]
        kept = kept + _gated(self.attn(self.norm1(x), key_ok, tail, rotation), self.scale1, gate, 0)
        return kept + _gated(self.mlp(self.norm2(kept)), self.scale2, gate, 1)


def _gated(branch: Tensor, scale: Tensor | None, gate: Tensor | None, which: int) -> Tensor:
    """A branch (B, T, D) times its learned factors (D,) and its samples' gates."""
    if scale is not None:
        branch = branch * scale
    return branch if gate is None else branch * gate[:, which].view(-1, 1, 1)


def run_block(block: nn.Module, recompute: bool, *inputs: Any) -> Tensor:
    """``block(*inputs)``, forgetting its activations and recomputing them in backward where ``recompute`` asks for it."""
    if recompute and torch.is_grad_enabled():
        out: Tensor = checkpoint(block, *inputs, use_reentrant=False)
        torch.clear_autocast_cache()  # else 16-bit copies of all weights stay until the pass ends; backward makes its own
        return out
    return block(*inputs)


def sincos(coords: Tensor, width: int) -> Tensor:
    """Fixed sin-cos positions of ``coords`` (..., K) → (..., width) float32.

    The channels are split over the axes, last axis first (so for (y, x) the first half encodes x, as the official MAE code does),
    each part [sin | cos] with frequencies 10000^(-i/n), computed in double precision. Channels left over stay zero.
    """
    axes = coords.shape[-1]
    check_room(width, axes)
    n = width // (2 * axes)
    omega = 10000.0 ** (-torch.arange(n, dtype=torch.float64, device=coords.device) / n)
    angles = coords.double().flip(-1).unsqueeze(-1) * omega
    table = torch.cat([angles.sin(), angles.cos()], -1).flatten(-2).float()
    return F.pad(table, (0, width - table.shape[-1]))


def check_room(width: int, axes: int) -> None:
    """Raises ValueError where sin-cos positions over so many axes do not fit into ``width`` channels."""
    if width < 2 * axes:
        raise ValueError(f"width {width} is too small for sin-cos positions over {axes} axes: at least {2 * axes}")


class Positions(nn.Module):
    """Sin-cos positions that remember the table of the last fixed grid, which is the same object at every step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self._coords: Tensor | None = None
        self._table: Tensor | None = None

    def check_axes(self, axes: int) -> None:
        """Raises ValueError where there are more axes than the width has room for."""
        check_room(self.width, axes)

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
