"""What the parts of a model cost: floating point operations, and values that are kept for backward. Plain arithmetic, nothing is built.

Multiply-adds count two. Each encoder and decoder says its own ``cost``; ``flops`` and ``memory`` add them up.
"""

from __future__ import annotations

from typing import NamedTuple

from mae_core.raster import Raster


class Look(NamedTuple):
    """One masked sample, as counts."""

    cells: int
    """N."""
    kept: int
    """V."""
    hidden: int
    """M, of which a decoder may predict a share."""
    inputs: int
    """Values embedded for each cell."""
    raster: Raster | None = None
    """Of modalities whose cells tile a map."""
    plain: bool = False
    """Whether attention keeps its weights for backward, as plain products do."""


class Piece(NamedTuple):
    """One block."""

    flops: float
    saved: float
    """Values kept for backward."""
    entering: float
    """Values that enter it: all that is kept of a block that is recomputed."""


class Stage(NamedTuple):
    """A resolution of a convolutional encoder."""

    width: int
    sub: tuple[int, ...]
    """Sites of a cell along each axis."""


class Cost(NamedTuple):
    """Of a part and one sample."""

    flops: float
    """Outside the blocks."""
    saved: float
    """Outside the blocks."""
    blocks: tuple[Piece, ...] = ()
    n_global: int = 1
    """Of encoders: G."""
    stages: tuple[Stage, ...] = ()
    """Of convolutional encoders."""

    @property
    def total(self) -> float:
        """FLOPs of everything."""
        return self.flops + sum(block.flops for block in self.blocks)


def transformer(width: int, queries: int, keys: int, heads: int, mlp_ratio: float = 4.0, plain: bool = False) -> Piece:
    """A transformer block in which ``queries`` tokens read from ``keys`` tokens, themselves among them.

    Kept are, of each token, what enters the norms, projections and attention; in the MLP what enters GELU and what leaves it.
    """
    projections = 2.0 * width * width * (2 * queries + 2 * keys)
    attention = 4.0 * queries * keys * width
    saved = width * (4.0 * keys + (4.0 + 2.0 * mlp_ratio) * queries)
    weights = 2.0 * heads * queries * keys if plain else float(heads * queries)
    flops = projections + attention + 4.0 * queries * width * width * mlp_ratio
    return Piece(flops, saved + weights, float(keys * width))


def tower(depth: int, width: int, tokens: int, heads: int, mlp_ratio: float, plain: bool) -> tuple[Piece, ...]:
    """So many blocks whose tokens all read from one another."""
    return (transformer(width, tokens, tokens, heads, mlp_ratio, plain),) * depth


def convolutional(
    width: int, kept_sites: int, sites: int, kernel: int, axes: int, mlp_ratio: float = 4.0, gathered: bool = True
) -> Piece:
    """A ConvNeXt V2 block: the depthwise convolution runs over all ``sites``, everything else over those of kept cells.

    Kept for backward are, of a kept site, what enters the block, the norm and the MLP and what enters and leaves GELU and the response
    norm; of every site what enters the convolution, and where cells are gathered what leaves it.
    """
    flops = 2.0 * kernel**axes * width * sites + 4.0 * kept_sites * width * width * mlp_ratio
    saved = (2.0 + 3.0 * mlp_ratio) * width * kept_sites + (1.0 + gathered) * width * sites
    return Piece(flops, saved, float(width * kept_sites))


def reading(width: int, queries: int, keys: int, heads: int, plain: bool = False) -> Piece:
    """``queries`` tokens read from ``keys`` others by attention with its four projections."""
    flops = 2.0 * width * width * (2 * queries + 2 * keys) + 4.0 * queries * keys * width
    weights = 2.0 * heads * queries * keys if plain else float(heads * queries)
    return Piece(flops, width * (3.0 * queries + 2.0 * keys) + weights, float(width * queries))


def crossing(width: int, queries: int, keys: int, heads: int, mlp_ratio: float = 4.0, plain: bool = False) -> Piece:
    """A block in which ``queries`` tokens read from ``keys`` others, then an MLP."""
    read = reading(width, queries, keys, heads, plain)
    flops = read.flops + 4.0 * queries * width * width * mlp_ratio
    return Piece(flops, read.saved + width * queries * (3.0 + 2.0 * mlp_ratio), read.entering)
