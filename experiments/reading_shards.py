"""How a worker reads samples that lie in shards: on threads of its own, by Ray Data, or all at once. None changes what is computed."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from experiments.placement import Reading
from mae_core.data.dataset import open_samples
from mae_core.data.shards import InMemory, Shards
from mae_core.data.stream import AHEAD, STEPS, Steps

PLANNED = 512
"""Shards that one Ray Data pipeline reads before the next is started."""
READERS = 2
"""Actors that read for one worker."""
PAUSE = 0.03
"""Seconds between two turns of Ray Data's scheduler, which turns without end while its buffers are full, in a thread of the training."""


def samples_of(path: str, reading: Reading) -> Any:
    """The samples in a file, as ``fit`` takes them; ``reading`` makes a difference to shards alone."""
    samples = open_samples(path)
    if not isinstance(samples, Shards) or reading == "stream":
        return samples
    if reading == "memory":
        return InMemory(samples)
    samples.feed = by_ray_data
    return samples


def by_ray_data(shards: Shards, steps: Steps) -> Generator[Any]:
    """What ``mae_core.data.stream.direct`` yields, by Ray Data's streaming execution: actors of the cluster read the shards.

    Ray Data is given the numbers rather than the files, because its own ``read_parquet`` sorts the files and joins small ones (2.60).
    The actors ask for no CPU, since the training holds them all.
    """
    while True:
        planned: list[int] = []
        idle = 0
        for new in steps:
            planned += new
            idle = 0 if new else idle + 1
            if len(planned) >= PLANNED or idle >= STEPS:
                break
        if planned:
            yield from _piped(shards, planned)


class ShardReader:
    """An actor's view of the shards."""

    def __init__(self, path: str) -> None:
        self.shards = Shards(Path(path))

    def __call__(self, batch: dict[str, Any]) -> Any:
        """The table of the one shard that is asked for."""
        return self.shards.table(int(batch["item"][0]))


class Pauses:
    """What Ray Data calls while it executes (an execution callback): lets the training have the interpreter between two turns."""

    def before_execution_starts(self, executor: Any) -> None:
        """Nothing."""

    def on_execution_step(self, executor: Any) -> None:
        """After each turn."""
        time.sleep(PAUSE)

    def after_execution_succeeds(self, executor: Any) -> None:
        """Nothing."""

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        """Nothing."""


def _piped(shards: Shards, planned: list[int]) -> Generator[Any]:
    from ray import data

    context = data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    pauses: Any = Pauses  # the class that it is meant to extend is not public
    context.custom_execution_callback_classes = [*context.custom_execution_callback_classes, pauses]
    with data.DataContext.current(context):
        tables = data.from_items(planned, override_num_blocks=len(planned)).map_batches(
            ShardReader,
            fn_constructor_args=(str(shards.path),),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=READERS),
            num_cpus=0,
        )
        blocks = tables.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=AHEAD)
        for number, table in zip(planned, blocks, strict=True):
            yield shards.checked(number, table, always=True)
