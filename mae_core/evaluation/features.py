"""Frozen features: each sample is seen whole, once, and its vector is shared by every probe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.flops import geometry
from mae_core.training.precision import choose_precision

BATCH = 512
"""Samples that are encoded at once, at most."""
TOKEN_VALUES = 600_000
"""Values of tokens that a CPU encodes at once: more of them fall out of its caches between two operations."""


class Encodes(Protocol):
    """A network with an encoder: a masked autoencoder, or a classifier made of one."""

    config: dict[str, Any]
    training: bool

    def encode(self, raw: Tensor, pool: str = "features") -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def train(self, mode: bool = True, /) -> Any: ...


class Samples(Protocol):
    """(n, …) raw samples that can be read in blocks: an array, a memory map, or something that makes them as they are read."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


# no_grad and not inference_mode: the encoder remembers its table of positions, and an inference tensor could not be trained with later
@torch.no_grad()
def extract(
    model: Encodes,
    samples: Samples,
    batch: int | None = None,
    pool: str = "features",
    precision: str = "auto",
) -> np.ndarray:
    """(n, …) raw samples, usually memory-mapped → (n, F) float32, read ``batch`` samples at a time, by default as many as go fast.

    Nothing is masked and nothing is drawn, so features depend on weights and samples alone. ``pool`` is that of ``encode``,
    ``precision`` that of training: where the hardware multiplies bf16, ``auto`` halves the time and moves features by about 1 %.
    """
    device = next(model.parameters()).device
    batch = batch or _fast_batch(model.config, device)
    training = model.training
    model.train(False)
    blocks = []
    with choose_precision(precision, device).autocast(device):
        for start in range(0, max(len(samples), 1), batch):
            raw = torch.from_numpy(np.array(samples[start : start + batch])).to(device)
            blocks.append(model.encode(raw, pool).float().cpu().numpy())
    model.train(training)
    return np.concatenate(blocks)


def _fast_batch(config: dict[str, Any], device: torch.device) -> int:
    if device.type != "cpu":
        return BATCH
    return min(max(TOKEN_VALUES // (geometry(config).cells * config["encoder"]["width"]), 1), BATCH)
