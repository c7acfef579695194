"""A convolutional encoder of any number of axes: stages of ConvNeXt V2 blocks on the sites of the kept cells (Woo et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

import torch
from torch import nn

from mae_core.cells import Cells, Latent, Plan, gather_cells, pool_mean
from mae_core.convolution import ConvBlock, Merge, init_convolutions
from mae_core.costs import Cost, Look, Stage, convolutional
from mae_core.depth import check_rate, gates
from mae_core.layers import LAYER_NORM_EPS, Positions, run_block
from mae_core.raster import Raster, fold, strides

POSITIONS = ("sincos", "none")


class ConvNet(nn.Module):
    """A stem that merges values within each cell, then stages that merge further until a cell is one site.

    The width doubles from stage to stage; the last one has the most blocks. A kernel reaches over neighbouring cells, of which hidden ones
    are zero. Convolutions treat every place alike and the mean over cells forgets places, so where a cell becomes one site its place is
    added, as a transformer does; without it what is pooled can hardly say where something is. The global token is the mean over the
    cells seen.

    Args:
        width: D, of the last stage.
        depth: blocks of all stages together.
        raster: of the modality.
        mlp_ratio: hidden width of the MLPs over that of the stage.
        drop_path: chance that the last block is skipped in training.
        stages: resolutions.
        kernel: sites along each axis that a convolution reaches over; odd.
        positions: ``sincos`` adds the place of a cell to it in the last stage; ``none`` leaves edges alone to tell, as saved models do
            that do not say.
    """

    reads: ClassVar[str] = "raster"
    makes_maps: ClassVar[bool] = True

    def __init__(
        self,
        width: int,
        depth: int,
        raster: Raster,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        stages: int = 2,
        kernel: int = 7,
        positions: str = "none",
    ) -> None:
        super().__init__()
        _check(width, depth, stages, kernel, positions)
        self.width, self.raster, self.global_pool, self.n_global = width, raster, "mean", 1
        self.drop_path = check_rate(drop_path)
        self.recompute = 0
        self.stages = stages_of(width, stages, raster)
        merges = strides(raster.patch, stages)
        first = self.stages[0].width
        self.stem = nn.Sequential(
            nn.Linear(prod(merges[0]) * raster.channels, first), nn.LayerNorm(first, eps=LAYER_NORM_EPS)
        )
        self._stem_merges = merges[0]
        blocks: list[ConvBlock] = []
        self.ends: list[int] = []
        """How many blocks there are up to the end of each stage."""
        for number, (stage, count) in enumerate(zip(self.stages, _counts(depth, stages))):
            for i in range(count):
                merge = Merge(self.stages[number - 1].width, merges[number], stage.width) if number and not i else None
                blocks.append(ConvBlock(stage.width, raster.grid, kernel, mlp_ratio, merge))
            self.ends.append(len(blocks))
        self.blocks = nn.ModuleList(blocks)
        self.positions = Positions(width) if positions == "sincos" else None
        self._placed = self.ends[-2] if stages > 1 else 0
        """Which block the places are added in."""
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def init_weights(self) -> None:
        """As ``init_convolutions``."""
        init_convolutions(self)

    def forward(self, modality: Any, cells: Cells, plan: Plan | None = None, layer: int | None = None) -> Latent:
        """Encodes the kept cells of ``plan``, or every cell where it is None.

        ``layer`` stops after that many blocks (all by default); before the last stage a cell is the mean over its sites, as wide
        as the stage.
        """
        keep, ok = (None, cells.valid) if plan is None else (plan.keep, plan.keep_ok)
        values = cells.values if keep is None else gather_cells(cells.values, keep)
        x = self.stem(fold(self.raster.sites(values), self._stem_merges))
        open_to = None
        if self.drop_path and self.training and cells.draws is not None:
            open_to = gates(cells.draws, self.drop_path, len(self.blocks))[..., 0].unbind(1)
        place = None
        if self.positions is not None:
            place = self.positions(cells.coords, keep)
            place = place.view(*place.shape[:2], *(1 for _ in self.raster.grid), -1)
        maps = []
        for i, block in enumerate(self.blocks[:layer]):
            gate = None if open_to is None else open_to[i]
            x = run_block(block, i < self.recompute, x, keep, ok, gate, place if i == self._placed else None)
            if i + 1 in self.ends[:-1]:
                maps.append(x)
        tokens = x.flatten(2, -2).mean(2)
        if layer is None or tokens.shape[-1] == self.width:
            tokens = self.norm(tokens)
        # decoders and objectives read slices of the tokens, so that all of their gradients pass there
        tokens = torch.cat([pool_mean(tokens, ok).unsqueeze(1), tokens], 1)
        whole = tokens[:, 1:].unflatten(1, (-1, *(1 for _ in self.raster.grid)))
        return Latent(tokens, tokens[:, 0], (*maps, whole))

    @classmethod
    def cost(cls, options: Mapping[str, Any], look: Look) -> Cost:
        """Of one sample."""
        raster = look.raster
        if raster is None:
            raise ValueError("a convolutional encoder needs cells that tile a map")
        width, count = options["width"], options.get("stages", 2)
        kernel, ratio = options.get("kernel", 7), options.get("mlp_ratio", 4.0)
        stages, merges = stages_of(width, count, raster), strides(raster.patch, count)
        masked = look.kept < look.cells
        values = look.kept * prod(raster.patch) * raster.channels
        pieces, flops = [], 2.0 * values * stages[0].width
        for number, (stage, blocks) in enumerate(zip(stages, _counts(options["depth"], count))):
            sites = prod(stage.sub)
            piece = convolutional(
                stage.width, look.kept * sites, look.cells * sites, kernel, len(raster.grid), ratio, masked
            )
            pieces += [piece] * blocks
            if number:
                merged = look.kept * sites * prod(merges[number]) * stages[number - 1].width
                flops += 2.0 * merged * stage.width
        saved = values + 2.0 * look.kept * (prod(stages[0].sub) * stages[0].width + width)
        return Cost(flops, saved, tuple(pieces), 1, tuple(stages))


def stages_of(width: int, stages: int, raster: Raster) -> list[Stage]:
    """The resolutions, finest first; the last has one site for each cell."""
    found: list[Stage] = []
    sub = raster.patch
    for number, merge in enumerate(strides(raster.patch, stages)):
        sub = tuple(sites // factor for sites, factor in zip(sub, merge))
        found.append(Stage(width >> (stages - 1 - number), sub))
    return found


def _counts(depth: int, stages: int) -> list[int]:
    """Blocks of each stage: a share of one in (stages + 1) each, at least one, and the rest for the last."""
    early = max(depth // (stages + 1), 1)
    return [*[early] * (stages - 1), depth - early * (stages - 1)]


def _check(width: int, depth: int, stages: int, kernel: int, positions: str) -> None:
    """Raises ValueError for sizes that make no stages, and for positions that are not known."""
    if positions not in POSITIONS:
        raise ValueError(f"unknown positions {positions!r} of encoder conv: there are {', '.join(POSITIONS)}")
    if stages < 1 or depth < stages:
        raise ValueError(f"{stages} stages need as many blocks or more, depth is {depth}: choose fewer stages")
    if width % 2 ** (stages - 1):
        raise ValueError(f"width {width} cannot be halved {stages - 1} times: choose a multiple of {2 ** (stages - 1)}")
    if kernel % 2 == 0 or kernel < 1:
        raise ValueError(f"kernel {kernel} has no middle: choose an odd one")
