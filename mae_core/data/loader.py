"""The samples that a step sees: an endless walk, cut into global batches, of which each rank reads its share."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_core.data.jpeg import JpegFiles
from mae_core.data.order import Order, Shuffle
from mae_core.data.shards import Shards
from mae_core.data.stream import Ahead, Made, Stream, direct
from mae_core.draws import Draws
from mae_core.training.world import World


class Batch(NamedTuple):
    """One rank's share of a global batch."""

    ids: Tensor
    """(b,) long: positions within the split."""
    raw: Tensor
    """(b, …): raw samples."""
    named: Tensor
    """(b,) long: what draws know them by. ``ids``, and as much more as the split holds for each time that a sample of fewer than a batch
    stood before in this one, so that its copies are not masked alike. Objectives that ask samples to differ take no such batch: to them
    it says which rows are copies, as there may be two of a sample where a batch reaches over the end of an epoch."""


class Batches:
    """Batches of a memory-mapped split, of one in shards, or of ``JpegFiles``.

    Batch ``step`` depends on (seed, step) alone, so any step can be asked for in any order.
    """

    def __init__(self, samples: Any, batch_size: int, seed: int, world: World, device: torch.device) -> None:
        if len(samples) == 0:
            raise ValueError("there are no training samples: look at data/<dataset>/quarantine.csv")
        self.samples, self.seed, self.device = samples, seed, device
        self.size, self.rows = batch_size, world.share(batch_size)
        own = getattr(samples, "order", None)  # of what lies, or lay, in shards
        self.order: Order = Shuffle(len(samples), batch_size, seed) if own is None else own(batch_size, seed)
        self._pin = device.type == "cuda"
        self._ahead: Stream | Ahead | None = None
        if isinstance(samples, Shards):
            order, feed = samples.order(batch_size, seed), samples.feed or direct
            self._ahead = Stream(samples, order, self.rows, feed, self._pin)
        elif isinstance(samples, JpegFiles):
            own_order = copy.deepcopy(self.order)  # of that thread, since an order remembers where it was asked last
            self._ahead = Ahead(partial(self._make, own_order))

    def ids(self, step: int) -> Tensor:
        """(b,) long: which samples this rank sees at ``step``."""
        return self.order.ids(step, self.rows)

    def close(self) -> None:
        """Ends whatever reads ahead."""
        if self._ahead is not None:
            self._ahead.close()

    def __call__(self, step: int) -> Batch:
        """This rank's share of the batch of ``step``, on the device."""
        ids, raw = self._make(self.order, step) if self._ahead is None else self._ahead(step)
        ids = ids.to(self.device, non_blocking=True)
        named = ids if self.size <= len(self.samples) else ids + self._before(step).to(self.device) * len(self.samples)
        return Batch(ids, raw.to(self.device, non_blocking=True), named)

    def _before(self, step: int) -> Tensor:
        """(b,) long: how often the sample of each row stands before that row in the batch of all ranks."""
        batch = self.order.ids(step, range(self.size))
        order = batch.argsort(stable=True)
        before = torch.empty_like(batch)
        before[order] = torch.arange(self.size) - torch.searchsorted(batch[order], batch[order])
        return before[self.rows.start : self.rows.stop]

    def _make(self, order: Order, step: int) -> Made:
        """The same in the host's memory, of samples that are not in shards."""
        ids = order.ids(step, self.rows)
        if isinstance(self.samples, JpegFiles):
            raw = self.samples.crops(Draws(self.seed, step, ids))
        else:
            raw = torch.from_numpy(self.samples[ids.numpy()])
        return Made(ids, raw.pin_memory() if self._pin else raw)
