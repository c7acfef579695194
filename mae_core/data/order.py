"""Which sample stands at which place of which batch: an endless walk over a split, epoch by epoch, known for any step at once.

A split in memory is shuffled whole. One that lies in shards is walked so that few shards are open at a time: each epoch shuffles the
shards, cuts the row they make into lanes that are walked side by side, and shuffles the rows of a lane within windows of a few shards.
Both depend on the seed and on numbers of samples alone, neither on how many workers there are nor on how samples are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mae_core.draws import permutation


class Order(Protocol):
    """Samples by place."""

    def ids(self, step: int, rows: range) -> Tensor:
        """(b,) long: positions within the split of these ``rows`` of the global batch of ``step``."""
        ...


class Shuffle:
    """A fresh shuffle of the whole split each epoch. Batches may reach over an epoch's end: no sample is left out, every batch is full."""

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._orders: dict[int, Tensor] = {}

    def order(self, epoch: int) -> Tensor:
        """The shuffle of one epoch; the last two are remembered."""
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = permutation(self.n, self.seed, epoch, "order")
        return self._orders[epoch]

    def ids(self, step: int, rows: range) -> Tensor:
        """(b,) long: which samples stand at ``rows`` of the batch of ``step``."""
        at = torch.arange(rows.start, rows.stop) + step * self.batch_size
        epochs, places = at // self.n, at % self.n
        first, last = int(epochs[0]), int(epochs[-1])
        if first == last:
            return self.order(first)[places]
        return torch.cat([self.order(e)[places[epochs == e]] for e in range(first, last + 1)])


class Window(NamedTuple):
    """What one lane walks through before it goes on to other shards."""

    start: int
    """Its first place, counted within the lane and the epoch."""
    ids: np.ndarray
    """(m,) int64: samples, shuffled."""
    shards: list[int]
    """Where they lie."""


class _Epoch(NamedTuple):
    """The shards of an epoch, shuffled and laid end to end."""

    shards: np.ndarray
    ends: np.ndarray
    """(shards,) where each ends."""
    parts: np.ndarray
    """(lanes + 1,) where each lane begins, and the end."""


class Lanes:
    """The walk over a split in shards: as ``Shuffle``, it takes every sample once an epoch and fills every batch.

    Each lane fills its own places of a batch, and walks through its own part of the epoch's shards. The windows of the lanes begin at
    different times, so that reading is spread evenly.

    Args:
        sizes: samples in each shard.
        lanes: at most so many.
        window: shards whose samples are mixed, in each lane.
    """

    def __init__(self, sizes: Sequence[int], batch_size: int, seed: int, lanes: int, window: int) -> None:
        self.sizes = np.asarray(sizes, np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.n, self.batch_size, self.seed = int(self.sizes.sum()), batch_size, seed
        self.lanes = min(lanes, len(self.sizes), batch_size)
        self.length = window * int(self.sizes.max())
        self._epochs: dict[int, _Epoch] = {}
        self._windows: dict[int, tuple[int, Window]] = {}

    def ids(self, step: int, rows: range) -> Tensor:
        """(b,) long: which samples stand at ``rows`` of the batch of ``step``."""
        found = [window.ids[low:high] for window, low, high in self._pieces(step, rows)]
        return torch.from_numpy(np.concatenate(found))

    def held(self, step: int, rows: range) -> list[int]:
        """The shards of the windows that ``rows`` of ``step`` come from, in the order in which they are first needed."""
        return list(dict.fromkeys(shard for window, _, _ in self._pieces(step, rows) for shard in window.shards))

    def reading(self, step: int, rows: range) -> Iterator[list[int]]:
        """For ``step`` and each step after it, without end: the shards that it holds and the step before did not."""
        before: list[int] = []
        while True:
            now = self.held(step, rows)
            yield [shard for shard in now if shard not in before]
            before, step = now, step + 1

    def _places(self, lane: int) -> range:
        """The rows of a batch that a lane fills."""
        return range(self.batch_size * lane // self.lanes, self.batch_size * (lane + 1) // self.lanes)

    def _before(self, lane: int, place: int) -> int:
        """How many of the first ``place`` samples of the whole walk are of a lane."""
        batches, rest = divmod(place, self.batch_size)
        own = self._places(lane)
        return batches * len(own) + min(max(rest - own.start, 0), len(own))

    def _pieces(self, step: int, rows: range) -> Iterator[tuple[Window, int, int]]:
        """The windows that ``rows`` run through, each with the first place taken and the one after the last."""
        batch = step * self.batch_size
        for lane in range(self.lanes):
            own = self._places(lane)
            place, stop = batch + max(own.start, rows.start), batch + min(own.stop, rows.stop)
            while place < stop:
                epoch = place // self.n
                at = self._before(lane, place) - self._before(lane, epoch * self.n)
                window = self._window(lane, epoch, at)
                first = at - window.start
                taken = min(min(stop, (epoch + 1) * self.n) - place, len(window.ids) - first)
                yield window, first, first + taken
                place += taken

    def _window(self, lane: int, epoch: int, at: int) -> Window:
        """The window around place ``at`` of a lane in an epoch; each lane's last one is remembered."""
        known = self._windows.get(lane)
        if known is not None and known[0] == epoch and known[1].start <= at < known[1].start + len(known[1].ids):
            return known[1]
        part = self._epoch(epoch).parts[lane : lane + 2]
        begun = self.length * (lane + 1) // self.lanes  # lane 0 leaves its first window first
        number = (at + self.length - begun) // self.length
        start = max(number * self.length - self.length + begun, 0)
        stop = min(number * self.length + begun, int(part[1] - part[0]))
        rows, shards = self._rows(epoch, int(part[0]) + start, int(part[0]) + stop)
        mixed = permutation(len(rows), self.seed, epoch, lane, number, "window").numpy()
        window = Window(start, rows[mixed], shards)
        self._windows[lane] = (epoch, window)
        return window

    def _rows(self, epoch: int, start: int, stop: int) -> tuple[np.ndarray, list[int]]:
        """Samples at places start … stop − 1 of an epoch's row of shards, and the shards."""
        order = self._epoch(epoch)
        first, last = np.searchsorted(order.ends, [start, stop - 1], side="right")
        shards = order.shards[first : last + 1]
        whole = np.concatenate([np.arange(self.sizes[s]) + self.starts[s] for s in shards])
        skipped = start - int(order.ends[first] - self.sizes[shards[0]])
        return whole[skipped : skipped + stop - start], shards.tolist()

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            shards = permutation(len(self.sizes), self.seed, epoch, "shards").numpy()
            first, end = epoch * self.n, (epoch + 1) * self.n
            counts = [self._before(lane, end) - self._before(lane, first) for lane in range(self.lanes)]
            self._epochs = {e: o for e, o in self._epochs.items() if e == epoch - 1}
            self._epochs[epoch] = _Epoch(shards, np.cumsum(self.sizes[shards]), np.cumsum([0, *counts]))
        return self._epochs[epoch]
