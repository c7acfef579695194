"""What data-parallel workers tell each other in a training step, and what that leaves of their speed: on paper, nothing runs.

Collectives are taken to go round a ring (Thakur et al. 2005), where each worker sends (n − 1) / n of a tensor's bytes to gather or to
reduce it in parts, and twice that to have the whole sum. Gradients and weights travel in float32, as here in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, log2
from typing import Any, NamedTuple

import torch

from mae_core.flops import train_flops
from mae_core.model import MaskedAutoencoder

FLOAT = 4
BUCKET = 25 * 2**20
"""Bytes of gradients that DDP sends at once."""
TIMES = {"ddp": 2, "fsdp2": 3}
"""How often a ring carries as many bytes as there are weights, by strategy."""
BACKWARD = 2 / 3
"""Of a step's computing, while which gradients become known."""


class Links(NamedTuple):
    """How GPUs are joined; bytes per second are of one GPU in one direction."""

    per_machine: int = 8
    inside: float = 450e9
    """Within a machine: NVLink 4 (H100, H200)."""
    between: float = 50e9
    """From machine to machine: one port of 400 Gb/s a GPU."""
    message_s: float = 5e-6
    """Of a message however short."""


class Step(NamedTuple):
    """A training step of one of ``workers``."""

    workers: int
    rows: int
    """Samples of the busiest worker."""
    sent_bytes: float
    """By each worker; as many are received."""
    computing_s: float
    talking_s: float
    overlap_s: float
    """Of the talking, how much can be hidden behind computing."""

    @property
    def fastest_s(self) -> float:
        """Where all that can be hidden is."""
        return self.computing_s + self.talking_s - min(self.talking_s, self.overlap_s)

    @property
    def slowest_s(self) -> float:
        """Where nothing is hidden."""
        return self.computing_s + self.talking_s


def sent_bytes(parameters: int, workers: int, strategy: str) -> float:
    """Bytes that each worker sends in a step of one forward pass.

    ``ddp`` sums gradients: twice (n − 1) / n of them. ``fsdp2`` gathers weights for the forward and again for the backward pass and reduces
    gradients to their owners: three times. Raises ValueError where ``strategy`` is neither.
    """
    if strategy not in TIMES:
        raise ValueError(f"unknown strategy {strategy!r}: there are {', '.join(TIMES)}")
    return TIMES[strategy] * FLOAT * parameters * (workers - 1) / workers


def steps_of(
    config: Mapping[str, Any], batch: int, workers: Sequence[int], flops_per_s: float, strategy: str = "ddp"
) -> list[Step]:
    """``shared_step`` of a model's config for each number of workers, each of which computes ``flops_per_s``; raises what that raises."""
    with torch.device("meta"):  # counted without memory for weights
        model = MaskedAutoencoder.build(config)
    parameters = sum(p.numel() for p in model.parameters())
    blocks = len(model.encoder.blocks) + len(model.decoder.blocks)
    sample_s = train_flops(config, batch) / flops_per_s
    return [shared_step(batch, n, sample_s, parameters, blocks, strategy) for n in workers]


def shared_step(
    batch: int,
    workers: int,
    sample_s: float,
    parameters: int,
    blocks: int,
    strategy: str = "ddp",
    links: Links = Links(),  # noqa: B008 - a value, never changed
) -> Step:
    """A step of ``batch`` samples shared by ``workers``.

    Args:
        batch: of all workers together.
        sample_s: seconds that one worker computes for a sample.
        blocks: of encoder and decoder, which ``fsdp2`` gathers one by one.

    Raises ValueError where there are fewer samples than workers.
    """
    if batch < workers:
        raise ValueError(
            f"a batch of {batch} cannot be shared by {workers} workers: use fewer workers or a larger batch"
        )
    rows = ceil(batch / workers)
    volume = sent_bytes(parameters, workers, strategy)
    messages = ceil(FLOAT * parameters / BUCKET) if strategy == "ddp" else 3 * (blocks + 1)
    speed = links.inside if workers <= links.per_machine else links.between
    talking = volume / speed + messages * 2 * ceil(log2(workers)) * links.message_s if workers > 1 else 0.0
    computing = rows * sample_s
    # the last bucket of DDP is full only when all has been computed; FSDP fetches each block while the one before it computes
    hidden = BACKWARD * computing * (1 - 1 / messages) if strategy == "ddp" else computing * (1 - 1 / (blocks + 1))
    return Step(workers, rows, volume, computing, talking, hidden)
