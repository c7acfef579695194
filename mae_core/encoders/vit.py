"""A plain vision transformer that is given the visible cells alone (He et al. 2022, §3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mae_core.cells import Cells, Latent, Plan, pool_mean
from mae_core.costs import Cost, Look, tower
from mae_core.depth import check_rate, gates
from mae_core.layers import LAYER_NORM_EPS, Block, Positions, init_linear, run_block, start_local
from mae_core.rotary import Rotary

POSITIONS = ("sincos", "rope")
POOLS = ("mean", "token")


class ViT(nn.Module):
    """Pre-norm transformer with global tokens and fixed positions.

    Args:
        width, depth, heads: D, blocks, attention heads.
        mlp_ratio: hidden width of the MLPs over D.
        local_start: keys start as queries.
        registers: global tokens beside the first, where what belongs to no cell can be kept (Darcet et al. 2024).
        qk_norm, layer_scale: as in ``Block``.
        drop_path: chance that the last block's branches are skipped in training, as in ``gates``.
        positions: ``sincos`` adds the place of a cell to it, ``rope`` turns queries and keys by it.
        global_token: the first global token. Without it a step costs less, by one token of those that are visible; no layout but our own
            and no mask that reads its attention can do without.
        global_pool: what stands for the whole sample: the ``mean`` over its cells or the first global ``token``.
    """

    reads: ClassVar[str] = "embedding"
    """What of a modality is read: its ``embedding`` of cells, or its ``raster``, which encoders of their own stem are built for."""
    makes_maps: ClassVar[bool] = False
    """Whether latents have ``maps``, and the encoder ``stages``."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        local_start: bool = False,
        registers: int = 0,
        qk_norm: bool = False,
        drop_path: float = 0.0,
        layer_scale: float = 0.0,
        positions: str = "sincos",
        global_pool: str = "mean",
        global_token: bool = True,
    ) -> None:
        super().__init__()
        for what, value, known in (("positions", positions, POSITIONS), ("global_pool", global_pool, POOLS)):
            if value not in known:
                raise ValueError(f"unknown {what} {value!r}: there are {', '.join(known)}")
        if registers < 0:
            raise ValueError(f"registers {registers}: a number of tokens, 0 for none")
        if global_pool == "token" and not global_token:
            raise ValueError("global_pool 'token' needs global_token: pool by mean, or keep the token")
        self.width, self.local_start, self.global_pool = width, local_start, global_pool
        self.drop_path = check_rate(drop_path)
        self.recompute = 0
        """How many blocks, from the first, are recomputed in backward."""
        self.global_token = nn.Parameter(torch.zeros(1, 1, width)) if global_token else None
        self.registers = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self.n_global = global_token + registers
        self.positions = Positions(width) if positions == "sincos" else None
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, qk_norm, layer_scale) for _ in range(depth))
        self.rotary = Rotary(width // heads) if positions == "rope" else None
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def init_weights(self) -> None:
        """As the official code."""
        if self.global_token is not None:
            nn.init.normal_(self.global_token, std=0.02)
        init_linear(self.blocks)
        if self.local_start:
            start_local(self.blocks)
        if self.registers is not None:
            nn.init.normal_(self.registers, std=0.02)

    def forward(self, modality: Any, cells: Cells, plan: Plan | None = None, layer: int | None = None) -> Latent:
        """Encodes the kept cells of ``plan``, or every cell where it is None.

        ``layer`` stops after that many blocks (all by default) before the final norm. The pooled vector is the mean over the cells seen, or
        the first global token.
        """
        keep, ok = (None, cells.valid) if plan is None else (plan.keep, plan.keep_ok)
        x = self.embed(modality, cells, keep, ok)
        if self.positions is not None:
            x = x + self.positions(cells.coords, keep)
        rotation = None if self.rotary is None else self.rotary(cells.coords, keep, self.n_global)
        extra = [token.expand(len(x), -1, -1) for token in (self.global_token, self.registers) if token is not None]
        x = torch.cat([*extra, x], 1) if extra else x
        key_ok = None if ok is None else torch.cat([ok.new_ones(len(ok), self.n_global), ok], 1)
        open_to = None
        if self.drop_path and self.training and cells.draws is not None:
            open_to = gates(cells.draws, self.drop_path, len(self.blocks), 2).unbind(1)
        for i, block in enumerate(self.blocks[:layer]):
            gate = None if open_to is None else open_to[i]
            x = run_block(block, i < self.recompute, x, key_ok, None, rotation, gate)
        x = self.norm(x)
        pooled = x[:, 0] if self.global_pool == "token" else pool_mean(x[:, self.n_global :], ok)
        return Latent(x, pooled)

    def embed(self, modality: Any, cells: Cells, keep: Tensor | None, ok: Tensor | None) -> Tensor:
        """(B, V, D) of the kept cells, (B, N, D) of all where ``keep`` is None; without their places."""
        return modality.embed(cells, keep, ok)

    @classmethod
    def cost(cls, options: Mapping[str, Any], look: Look) -> Cost:
        """Of one sample; the modality's embedding belongs to it."""
        width, extra = options["width"], options.get("global_token", True) + options.get("registers", 0)
        tokens = look.kept + extra
        blocks = tower(options["depth"], width, tokens, options["heads"], options.get("mlp_ratio", 4.0), look.plain)
        stem = cls.stem_cost(options, look)
        return Cost(stem.flops, stem.saved + 3.0 * tokens * width, blocks, extra)

    @classmethod
    def stem_cost(cls, options: Mapping[str, Any], look: Look) -> Cost:
        """Of what ``embed`` does."""
        return Cost(2.0 * look.kept * look.inputs * options["width"], float(look.kept * look.inputs))
