"""Which samples a step sees: an endless walk through a fresh shuffle per epoch, cut into global batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_core.draws import Draws, permutation
from mae_core.training.world import World


class Batch(NamedTuple):
    """One rank's share of a global batch."""

    ids: Tensor
    """(b,) long: positions within the split."""
    raw: Tensor
    """(b, …): raw samples."""


class Batches:
    """Batches of a memory-mapped split, or of ``JpegFiles``.

    Batch ``step`` depends on (seed, step) alone, so any step can be asked for in any order.

    Batches may reach over an epoch's end: no sample is left out and every batch is full.
    """

    def __init__(self, samples: Any, batch_size: int, seed: int, world: World, device: torch.device) -> None:
        if len(samples) == 0:
            raise ValueError("there are no training samples: look at data/<dataset>/quarantine.csv")
        self.samples, self.batch_size, self.seed, self.world, self.device = samples, batch_size, seed, world, device
        self._orders: dict[int, Tensor] = {}

    def order(self, epoch: int) -> Tensor:
        """The shuffle of one epoch; the last two are remembered."""
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = permutation(len(self.samples), self.seed, epoch, "order")
        return self._orders[epoch]

    def ids(self, step: int) -> Tensor:
        """(b,) long: which samples this rank sees at ``step``."""
        rows = self.world.share(self.batch_size)
        at = torch.arange(rows.start, rows.stop) + step * self.batch_size
        epochs, places = at // len(self.samples), at % len(self.samples)
        first, last = int(epochs[0]), int(epochs[-1])
        if first == last:
            return self.order(first)[places]
        return torch.cat([self.order(e)[places[epochs == e]] for e in range(first, last + 1)])

    def __call__(self, step: int) -> Batch:
        """This rank's share of the batch of ``step``, on the device."""
        ids = self.ids(step)
        crops = getattr(self.samples, "crops", None)  # of files that are decoded as they are read
        raw = torch.from_numpy(self.samples[ids.numpy()]) if crops is None else crops(Draws(self.seed, step, ids))
        if self.device.type == "cuda":
            raw = raw.pin_memory()
        return Batch(ids.to(self.device, non_blocking=True), raw.to(self.device, non_blocking=True))
