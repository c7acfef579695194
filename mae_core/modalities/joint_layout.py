"""Where the parts of a joint sample lie: which entries and which cells are whose, and a plan as one part alone sees it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.cells import Plan

BLOCK = 1024
"""Samples that are looked at together."""


class Own(NamedTuple):
    """Cells of a joint sample, as one part sees them: what belongs to another part repeats the first that belongs to this one."""

    cell: Tensor
    """(B, M) long, within the part. The same cell always comes with the same ``ok``, so scattering has no order."""
    ok: Tensor
    """(B, M) bool; False everywhere in samples in which no cell belongs to the part."""
    at: Tensor
    """(B, M) long: which of the joint cells each entry stands for."""


class Layout(nn.Module):
    """The parts behind one another, both in the entries of a raw sample and in its cells.

    Args:
        names: of the parts.
        entries: how many raw entries each part has.
        cells: how many cells each part has.
    """

    def __init__(self, names: Sequence[str], entries: Sequence[int], cells: Sequence[int]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.entries, self.cells = slices(entries), slices(cells)
        kind = torch.tensor([part for part, count in enumerate(cells) for _ in range(count)])
        self.register_buffer("kind", kind, persistent=False)

    kind: Tensor
    """(N,) long: the part of each cell."""

    def own(self, index: Tensor, ok: Tensor | None, part: int) -> Own:
        """The cells ``index`` (B, M) of joint samples, as ``part`` sees them."""
        mine = self.kind[index] == part
        if ok is not None:
            mine = mine & ok
        at = torch.where(mine, torch.arange(index.shape[1], device=index.device), mine.int().argmax(1, keepdim=True))
        cells = self.cells[part]
        local = (index.gather(1, at) - cells.start).clamp(0, cells.stop - cells.start - 1)
        return Own(local, mine.gather(1, at), at)

    def plan_of(self, plan: Plan, part: int) -> Plan:
        """``plan`` as ``part`` sees it, place for place."""
        keep, hide = self.own(plan.keep, plan.keep_ok, part), self.own(plan.hide, plan.hide_ok, part)
        return Plan(keep.cell, hide.cell, keep.ok, hide.ok)


class Column:
    """One part of (n, S) joint samples, read like an array of that part's own raw samples: lazily, by rows."""

    def __init__(self, samples: np.ndarray, entries: slice, shape: Sequence[int], dtype: str) -> None:
        self.samples, self.entries, self.dtype = samples, entries, np.dtype(dtype)
        self.shape = (len(samples), *shape)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """A part that a sample lacks is 0, or NaN where its dtype has one."""
        found = np.asarray(self.samples[rows])[:, self.entries]
        if self.dtype.kind != "f":
            found = np.nan_to_num(found)
        return found.astype(self.dtype).reshape(-1, *self.shape[1:])

    def there(self) -> np.ndarray:
        """(n,) bool: which samples have this part."""
        blocks = [
            ~np.isnan(np.asarray(self.samples[start : start + BLOCK])[:, self.entries]).all(1)
            for start in range(0, len(self), BLOCK)
        ]
        return np.concatenate(blocks) if blocks else np.zeros(0, bool)


class Known:
    """The samples of a column that have the part, as an array of them alone; which these are is looked up when one is asked for."""

    def __init__(self, column: Column) -> None:
        self.column = column

    @cached_property
    def rows(self) -> np.ndarray:
        """(k,) where they lie in the column."""
        return np.flatnonzero(self.column.there())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """As of an array."""
        return self.column[self.rows[rows]]


def columns(samples: np.ndarray, described: Sequence[dict]) -> list[Column]:
    """The parts of (n, S) samples as ``dataset.json`` describes them. Raises ValueError where their sizes do not add up to S."""
    sizes = [prod(part["sample"]["shape"]) for part in described]
    if sum(sizes) != samples.shape[1]:
        raise ValueError(f"the parts have {' + '.join(map(str, sizes))} entries, the samples {samples.shape[1]}")
    return [
        Column(samples, entries, part["sample"]["shape"], part["sample"]["dtype"])
        for entries, part in zip(slices(sizes), described)
    ]


def slices(sizes: Sequence[int]) -> list[slice]:
    """Runs of these sizes behind one another."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes)]
