"""Who else is training: ranks, each rank's share of a batch, and how a model is spread over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn


class World(NamedTuple):
    """One rank among ``size``; alone by default. Collectives need an initialised process group when ``size`` > 1."""

    rank: int = 0
    size: int = 1
    strategy: str = "ddp"
    """``ddp`` copies the model to every rank; ``fsdp2`` shards parameters, gradients and optimiser state."""

    def share(self, batch_size: int) -> range:
        """The rows of a global batch that are this rank's: contiguous, sizes differing by at most one."""
        if batch_size < self.size:
            raise ValueError(f"a batch of {batch_size} cannot be shared by {self.size} workers: use fewer workers")
        return range(batch_size * self.rank // self.size, batch_size * (self.rank + 1) // self.size)

    def passes(self, batch_size: int, micro_batch: int) -> int:
        """Into how many forward passes every rank cuts its share, so that none holds more than ``micro_batch`` rows (0: one pass).

        The number is the same on every rank, since sharded weights are gathered by all at once, and no pass is empty: with a
        ``micro_batch`` of 1, a rank with a row more than another takes two in one pass.
        """
        if not micro_batch:
            return 1
        fewest, most = batch_size // self.size, -(-batch_size // self.size)
        return min(-(-most // micro_batch), fewest)

    def sum(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over all ranks."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def least(self, number: int) -> int:
        """The smallest of all ranks' numbers."""
        if self.size == 1:
            return number
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        found = torch.tensor(number, device=device)
        dist.all_reduce(found, dist.ReduceOp.MIN)
        return int(found)

    def rows(self, batch_size: int, number: int, passes: int) -> list[int]:
        """How many rows every rank has in forward pass ``number`` of ``passes``."""
        shares = [len(World(rank, self.size).share(batch_size)) for rank in range(self.size)]
        return [share * (number + 1) // passes - share * number // passes for share in shares]

    def gather(self, value: Tensor, rows: Sequence[int]) -> Tensor:
        """(b, F) of each rank → (Σ b, F): the rows of all, in order; gradients find their way back. ``rows`` is every rank's b."""
        return value if self.size == 1 else _Gather.apply(value, tuple(rows), self.rank)


class _Gather(torch.autograd.Function):
    """Every rank gets all rows; backward gives each rank the sum of what all ranks want of its own."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, rows: tuple[int, ...], rank: int) -> Tensor:
        ctx.rows, ctx.rank = rows, rank
        padded = value.new_zeros(max(rows), value.shape[1])  # a collective wants equal shapes
        padded[: len(value)] = value
        found = [torch.empty_like(padded) for _ in rows]
        dist.all_gather(found, padded)
        return torch.cat([part[:count] for part, count in zip(found, rows)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        whole = grads[0].contiguous()
        dist.all_reduce(whole)
        start = sum(ctx.rows[: ctx.rank])
        return whole[start : start + ctx.rows[ctx.rank]], None, None


STRATEGIES = ("ddp", "fsdp2")


def shard(model: Any, world: World, device: torch.device) -> None:
    """FSDP2, in place: each block's weights are gathered when they are needed and freed afterwards. Nothing under ``ddp``.

    ``model`` has an encoder and, unless it is a teacher, a decoder. A teacher has no backward pass after which its weights would be freed.
    """
    if world.strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {world.strategy!r}: there are {', '.join(STRATEGIES)}")
    if world.strategy == "ddp":
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world.size,))
    learns = any(parameter.requires_grad for parameter in model.parameters())
    for block in [*model.encoder.blocks, *(model.decoder.blocks if model.decoder is not None else [])]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=None if learns else True)


def replicate(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """What to call instead of ``model`` so that its gradients are averaged over the ranks."""
    if world.strategy == "fsdp2" or world.size == 1:
        return model
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=ids)
