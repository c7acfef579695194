"""Groups of neighbouring cells drawn together (Ryali et al. 2023, Hiera, mask units; Wang et al. 2025, Pixio)."""

from __future__ import annotations

from collections.abc import Sequence

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws
from mae_core.masking.options import whole
from mae_core.masking.order import ranks


class CoarseMasker:
    """Whole groups of k × k cells are hidden one after another, the last cut at random to the exact count.

    Groups lie on a fixed coarse grid; those at an end that it does not divide are smaller.

    Args:
        size: cells of a group along each axis, or one number for all.
    """

    def __init__(self, size: int | Sequence[int] = 2) -> None:
        self.size = [whole("size", one) for one in size] if isinstance(size, list | tuple) else whole("size", size)

    def check_axes(self, axes: int) -> None:
        """Raises ValueError where groups have sides along other than ``axes`` axes."""
        if isinstance(self.size, list) and len(self.size) != axes:
            raise ValueError(f"option size has {len(self.size)} sides, cells lie along {axes}")

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): the drawn rank of a cell's group plus noise that orders cells within it."""
        coords = cells.coords if cells.coords.dim() == 3 else cells.coords.unsqueeze(0)
        n, axes = coords.shape[1:]
        self.check_axes(axes)
        sizes = self.size if isinstance(self.size, list) else [self.size] * axes
        place = coords.long()
        group = place.new_zeros(place.shape[:2])
        for axis, size in enumerate(sizes):
            along = place[..., axis] // size
            group = group * (along.amax() + 1) + along
        rank = ranks(draws.uniform("coarse", n)).float()
        group = group.expand(len(draws.ids), -1)
        return Scored(rank.gather(1, group) + 0.9 * draws.uniform("mask", n))
