"""The samples that a step sees: an endless walk, cut into global batches, of which each rank reads its share."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_core.data.order import Order, Shuffle
from mae_core.data.shards import Shards
from mae_core.data.stream import Stream, direct
from mae_core.draws import Draws
from mae_core.training.world import World


class Batch(NamedTuple):
    """One rank's share of a global batch."""

    ids: Tensor
    """(b,) long: positions within the split."""
    raw: Tensor
    """(b, …): raw samples."""


class Batches:
    """Batches of a memory-mapped split, of one in shards, or of ``JpegFiles``.

    Batch ``step`` depends on (seed, step) alone, so any step can be asked for in any order.
    """

    def __init__(self, samples: Any, batch_size: int, seed: int, world: World, device: torch.device) -> None:
        if len(samples) == 0:
            raise ValueError("there are no training samples: look at data/<dataset>/quarantine.csv")
        self.samples, self.seed, self.device = samples, seed, device
        self.rows = world.share(batch_size)
        own = getattr(samples, "order", None)  # of what lies, or lay, in shards
        self.order: Order = Shuffle(len(samples), batch_size, seed) if own is None else own(batch_size, seed)
        self._stream = None
        if isinstance(samples, Shards):
            order, feed = samples.order(batch_size, seed), samples.feed or direct
            self._stream = Stream(samples, order, self.rows, feed, pin=device.type == "cuda")

    def ids(self, step: int) -> Tensor:
        """(b,) long: which samples this rank sees at ``step``."""
        return self.order.ids(step, self.rows)

    def close(self) -> None:
        """Ends whatever reads ahead."""
        if self._stream is not None:
            self._stream.close()

    def __call__(self, step: int) -> Batch:
        """This rank's share of the batch of ``step``, on the device."""
        if self._stream is not None:
            ids, raw = self._stream(step)
        else:
            ids = self.ids(step)
            crops = getattr(self.samples, "crops", None)  # of files that are decoded as they are read
            raw = torch.from_numpy(self.samples[ids.numpy()]) if crops is None else crops(Draws(self.seed, step, ids))
            if self.device.type == "cuda":
                raw = raw.pin_memory()
        return Batch(ids.to(self.device, non_blocking=True), raw.to(self.device, non_blocking=True))
