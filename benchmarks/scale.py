"""Both ways to use several cores: one process with several threads, or several workers of one thread each, beside one thread alone.

``python -m benchmarks.scale`` writes benchmarks/out/scale.json. All three train the same model on the same global batches by ``fit``; the
workers are processes joined by gloo, as Ray Train starts them. A figure is the wall clock of a step, so nothing else should be running.
Raises RuntimeError where the losses differ.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from benchmarks.rows import Row, compare, publish
from benchmarks.step import SHAPES, Shape, images
from mae_core.training.loop import Settings, fit, start
from mae_core.training.world import World

CLOSE = 0.02
"""Largest relative difference of a loss: workers add bf16 numbers in another order."""
WARM_UP = 1


class Timed(NamedTuple):
    """One training."""

    ms: list[float]
    """Per step, after the first."""
    losses: list[float]


def settings_of(shape: Shape, steps: int) -> Settings:
    """A batch of the shape's, in this machine's precision."""
    return Settings(steps=steps + WARM_UP, batch_size=shape.batch, lr=1e-4, precision="auto")


def trained(shape: Shape, settings: Settings, threads: int, world: World | None = None) -> Timed:
    """This rank's share of a training."""
    torch.set_num_threads(threads)
    samples = images(shape, 2 * shape.batch).numpy()
    state = start(shape.config(), settings, world=world)
    ms, losses = [], []
    begun = time.perf_counter()
    for progress in fit(state, samples, settings, world, report_every=1):
        ms.append(1000 * (time.perf_counter() - begun))
        losses.append(progress.loss)
        begun = time.perf_counter()
    return Timed(ms[WARM_UP:], losses)


def together(shape: Shape, settings: Settings, workers: int) -> Timed:
    """The training by ``workers`` processes of one thread each, as the first of them timed it."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_worker, (workers, shape, settings, folder), nprocs=workers)
        ms, losses = np.load(Path(folder) / "timed.npy", allow_pickle=False)
    return Timed(ms[~np.isnan(ms)].tolist(), losses.tolist())


def _worker(rank: int, workers: int, shape: Shape, settings: Settings, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    found = trained(shape, settings, 1, World(rank, workers))
    if rank == 0:
        whole = np.full((2, len(found.losses)), np.nan)
        whole[0, : len(found.ms)], whole[1] = found.ms, found.losses
        np.save(Path(folder) / "timed.npy", whole)
    dist.destroy_process_group()


def measure(name: str, shape: Shape, steps: int, rounds: int, cores: int, command: str) -> list[Row]:
    """Threads and workers, each beside one thread; a figure is a round's median step."""
    settings = settings_of(shape, steps)
    found: dict[str, list[float]] = {"one": [], "threads": [], "workers": []}
    for _ in range(rounds):
        each = {
            "one": trained(shape, settings, 1),
            "threads": trained(shape, settings, cores),
            "workers": together(shape, settings, cores),
        }
        for which, timed in each.items():
            found[which].append(float(np.median(timed.ms)))
            if not np.allclose(timed.losses, each["one"].losses, rtol=CLOSE):
                raise RuntimeError(f"{name}: the losses of {which} differ from those of one thread: {timed.losses}")
    facts: dict[str, Any] = {"cores": cores, "steps": steps}
    return [
        compare(f"{name}_{cores}_{which}_vs_one_thread_wall_ms_per_step", found[which], found["one"], command, **facts)
        for which in ("threads", "workers")
    ]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["a"])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    command = (
        f"python -m benchmarks.scale --shapes {' '.join(given.shapes)} --steps {given.steps} --rounds {given.rounds} "
        f"--cores {given.cores}"
    )
    rows = [
        row
        for name in given.shapes
        for row in measure(name, SHAPES[name], given.steps, given.rounds, given.cores, command)
    ]
    publish("scale", rows)


if __name__ == "__main__":
    main()
