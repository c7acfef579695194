"""Masks of tables: columns that the whole batch lacks, and gaps copied from other samples (Gorla et al. 2025, CACTI)."""

from __future__ import annotations

from mae_core.cells import Cells, Context, Scored
from mae_core.draws import Draws


class ColumnMasker:
    """The same cells are hidden in the whole batch: columns of a table that is to be filled where they were never measured."""

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N), all rows alike."""
        same = draws._replace(ids=draws.ids.new_zeros(1))
        return Scored(same.uniform("column", cells.coords.shape[-2]).expand(len(draws.ids), -1))


class CopyMasker:
    """First what some sample of the train split lacks is hidden, then cells at random up to the count.

    Values that really are missing are seldom missing at random: a model that is to fill them trains on holes of the same shape.
    """

    def score(self, cells: Cells, draws: Draws, context: Context | None = None) -> Scored:
        """Scores (B, N): 1 for cells that the drawn sample lacks, plus noise."""
        noise = draws.uniform("mask", cells.coords.shape[-2])
        if cells.gaps is None:
            return Scored(noise)
        drawn = (draws.uniform("gap") * len(cells.gaps)).long().view(-1)
        return Scored(cells.gaps[drawn] + noise)
