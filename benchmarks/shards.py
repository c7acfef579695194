"""Training from shards under a memory limit, beside the same training with all samples in memory: losses, speed, memory.

``python -m benchmarks.shards --gb 8`` writes benchmarks/out/shards.json. Shards of synthetic pictures (32 x 32, colour: smooth ones with
noise that hardly compresses) are written to disk and copied to moto's S3 server on this machine. Four trainings of ``benchmarks.step``'s
model A, each in a process of its own, are visited in turn: all samples in one array (mapped from disk where memory is short of twice
their size), shards on disk, shards on S3, and shards on disk read by Ray Data. All have to give the same losses, and those that read
shards have to stay below the limit. Each of these also reads a whole epoch without training. Memory is the peak of the process, and that of
it and everything it started (shared pages counted once).
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.rows import Row, compare, publish
from benchmarks.step import SHAPES, Shape
from experiments.cluster import connected
from experiments.placement import Reading
from experiments.reading_shards import samples_of
from mae_core.data.loader import Batches
from mae_core.data.sharding import ShardRules, write_shards
from mae_core.data.shards import InMemory, Shards
from mae_core.data.stores import open_store
from mae_core.training.allocator import keep_pages
from mae_core.training.loop import Settings, fit, start
from mae_core.training.world import World

LIMIT_MB = 2048
ROOM = 2
"""Times the size of the samples that have to be free, for all of them to be held in memory."""
BUCKET = "maestro-benchmark"
ARMS: dict[str, Reading] = {"memory": "memory", "disk": "stream", "s3": "stream", "ray_data": "ray_data"}
"""Who reads how."""
OFTEN = 0.5
"""Seconds between two looks at the memory of a family of processes."""


class Synthetic:
    """(n, 3, H, W) uint8 pictures, each a function of its number's block: made when they are asked for."""

    def __init__(self, n: int, pixels: int) -> None:
        self.shape, self.dtype = (n, 3, pixels, pixels), np.dtype(np.uint8)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(int(rows[0]))
        coarse = random.integers(0, 128, (len(rows), 3, self.shape[2] // 8, self.shape[3] // 8), np.uint8)
        noise = random.integers(0, 128, (len(rows), *self.shape[1:]), np.uint8)
        return noise + coarse.repeat(8, 2).repeat(8, 3)


class Mapped:
    """The samples of shards in an array that is mapped from disk, walked through in the same order."""

    def __init__(self, shards: Shards) -> None:
        path = shards.path.with_name("train-samples.npy")
        self.order, self.shape, self.dtype = shards.order, shards.shape, shards.dtype
        self.samples = np.lib.format.open_memmap(path, "w+", shards.dtype, shards.shape)
        for number, size in enumerate(shards.sizes):
            start = shards.start(number)
            self.samples[start : start + size] = shards.read(number)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.samples[rows]


def whole(path: Path) -> Any:
    """All samples, in memory if they fit."""
    import psutil

    shards = Shards(path)
    size = int(np.prod(shards.shape)) * shards.dtype.itemsize
    return InMemory(shards) if psutil.virtual_memory().available > ROOM * size else Mapped(shards)


class Visit(NamedTuple):
    """Some steps of one training."""

    seconds: list[float]
    losses: list[float]
    waits: list[float]
    """Shares of the steps' time."""


class Epoch(NamedTuple):
    """One epoch of batches without training."""

    mb_per_s: float
    first_s: float
    """Until the first batch."""


def write(folder: Path, gb: float, pixels: int, rules: ShardRules) -> Path:
    """Shards of ``gb`` GB of samples; the path of their manifest."""
    n = round(gb * 1e9 / (3 * pixels**2))
    folder.mkdir(parents=True)
    write_shards(folder, "train", Synthetic(n, pixels), np.arange(n), rules, "synthetic", lambda digest: None)
    return folder / "train-shards.json"


def copy_to_bucket(path: Path, folder: Path) -> Path:
    """The same shards on the server that AWS_ENDPOINT_URL names; the path of a manifest that says so."""
    shards, place = Shards(path), f"s3://{BUCKET}/synthetic"
    store = open_store(place)
    for shard in shards.manifest.shards:
        store.write(shard.file, shards.store.read(shard.file))
    folder.mkdir(parents=True)
    (folder / path.name).write_text(shards.manifest._replace(place=place).text())
    return folder / path.name


def train_and_read(pipe: Any, path: str, reading: Reading, config: dict[str, Any], settings: Settings) -> None:
    """A process: trains so many steps at each number it is sent, reads an epoch at 0, and ends at None."""
    torch.set_num_threads(1)
    keep_pages()
    with connected(Path.cwd()) if reading == "ray_data" else nullcontext():
        samples: Any = whole(Path(path)) if reading == "memory" else samples_of(path, reading)
        training = fit(start(config, settings), samples, settings, report_every=1)
        pipe.send(type(samples).__name__)
        while (steps := pipe.recv()) is not None:
            if not steps:
                training.close()  # what it holds would be counted, too
            pipe.send(_visit(training, steps) if steps else _read(samples, settings))
        training.close()


def _visit(training: Iterator[Any], steps: int) -> Visit:
    found = Visit([], [], [])
    for _ in range(steps):
        begun = time.perf_counter()
        progress = next(training)
        found.seconds.append(time.perf_counter() - begun)
        found.losses.append(progress.loss)
        found.waits.append(progress.data_wait)
    return found


def _read(samples: Any, settings: Settings) -> Epoch:
    batches = Batches(samples, settings.batch_size, settings.seed + 1, World(), torch.device("cpu"))
    begun = time.perf_counter()
    batches(0)
    first = time.perf_counter() - begun
    for step in range(1, len(samples) // settings.batch_size):
        batches(step)
    seconds = time.perf_counter() - begun
    batches.close()
    return Epoch(len(samples) * int(np.prod(samples.shape[1:])) / seconds / 1e6, first)


class Arm:
    """One training in a process of its own."""

    def __init__(self, path: Path, reading: Reading, config: dict[str, Any], settings: Settings) -> None:
        spawn = get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=train_and_read, args=(theirs, str(path), reading, config, settings))
        self.process.start()
        theirs.close()
        self.family_mb = 0.0
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        self.samples: str = self.pipe.recv()
        """What it trains on."""

    def ask(self, steps: int) -> Any:
        """A visit of so many steps, or a whole epoch read where they are 0. Raises EOFError where the process has died."""
        self.pipe.send(steps)
        return self.pipe.recv()

    def peak_mb(self) -> float:
        """Of the process itself, since it began."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmHWM"))) / 1024

    def close(self) -> None:
        """Ends the process."""
        self._done.set()
        self._watch.join()
        if self.process.is_alive():
            self.pipe.send(None)
        self.process.join()

    def _look(self) -> None:
        import psutil

        while not self._done.wait(OFTEN):
            total = 0
            try:
                first = psutil.Process(self.process.pid)
                for one in [first, *first.children(recursive=True)]:
                    total += one.memory_full_info().pss
            except psutil.Error:
                continue  # one has ended meanwhile
            self.family_mb = max(self.family_mb, total / 2**20)


def serve(pipe: Any, folder: str) -> None:
    """A process: moto's S3 server on a free port of this machine, its objects in files of ``folder``."""
    os.environ |= {"TMPDIR": folder, "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "65536"}
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # moto keeps a file open for each object
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    pipe.send("http://{}:{}".format(*server.get_host_and_port()))
    pipe.recv()
    server.stop()


@contextmanager
def loopback(folder: Path) -> Iterator[None]:
    """S3 on this machine while the block runs, with one bucket, in the environment."""
    import boto3

    folder.mkdir()
    spawn = get_context("spawn")
    pipe, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs, str(folder)))
    process.start()
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")
    before = {name: os.environ.get(name) for name in names}
    os.environ |= dict(zip(names, (pipe.recv(), "benchmark", "benchmark", "us-east-1", "us-east-1")))
    try:
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        pipe.send(None)
        process.join()


class Plan(NamedTuple):
    """What is measured."""

    gb: float
    """Of samples."""
    steps: int
    """Of a visit."""
    rounds: int
    limit_mb: float
    arms: tuple[str, ...] = tuple(ARMS)
    shape: Shape = SHAPES["a"]
    rules: ShardRules = ShardRules()


def measure(folder: Path, plan: Plan, command: str) -> list[Row]:
    """The rows. Raises RuntimeError where losses differ or a reader of shards takes more memory than the limit."""
    path = write(folder / "disk", plan.gb, plan.shape.pixels, plan.rules)
    say(f"{plan.gb:g} GB in {len(Shards(path).sizes)} shards are written")
    settings = Settings(steps=plan.steps * (plan.rounds + 2), batch_size=plan.shape.batch, lr=1.5e-4)
    with loopback(folder / "server") if "s3" in plan.arms else nullcontext():
        paths = dict.fromkeys(plan.arms, path)
        if "s3" in plan.arms:
            paths["s3"] = copy_to_bucket(path, folder / "bucket")
            say("and copied to the server")
        arms: dict[str, Arm] = {}
        try:
            for name in plan.arms:
                arms[name] = Arm(paths[name], ARMS[name], plan.shape.config(), settings)
                say(f"{name} is ready: {arms[name].samples}")
            visits: dict[str, list[Visit]] = {name: [] for name in plan.arms}
            for number in range(plan.rounds + 1):
                for name, arm in arms.items():
                    visits[name].append(arm.ask(plan.steps))
                say(f"visit {number} of {plan.rounds}")
            readings = {name: arms[name].ask(0) for name in plan.arms if name != "memory"}
            peaks = {name: (arm.peak_mb(), arm.family_mb) for name, arm in arms.items()}
        finally:
            for arm in arms.values():
                arm.close()
    return [row_of(name, visits, reading, peaks, plan.limit_mb, command) for name, reading in readings.items()]


def say(words: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def row_of(
    name: str,
    visits: dict[str, list[Visit]],
    reading: Epoch,
    peaks: dict[str, tuple[float, float]],
    limit_mb: float,
    command: str,
) -> Row:
    """One way to read, beside memory; the first visit of each warms up, and is compared in its losses alone."""
    losses = {who: [loss for visit in visits[who] for loss in visit.losses] for who in (name, "memory")}
    if losses[name] != losses["memory"]:
        at = next(step for step, (a, b) in enumerate(zip(*losses.values())) if a != b)
        raise RuntimeError(f"{name}: the losses differ from those of memory from step {at} on: the order is another")
    own, family = peaks[name]
    if own > limit_mb:
        raise RuntimeError(f"{name} took {own:.0f} MB, the limit is {limit_mb:.0f} MB")
    ours, theirs = ([median(visit.seconds) for visit in visits[who][1:]] for who in (name, "memory"))
    row = compare(f"{name}_vs_memory_s_per_step", ours, theirs, command)
    assert row.ratio is not None
    facts = {
        "share_of_the_speed": 1 / row.ratio,
        "equal_losses": len(losses[name]),
        "data_wait": float(np.mean([wait for visit in visits[name][1:] for wait in visit.waits])),
        "peak_mb": own,
        "peak_mb_with_all_it_started": family,
        "peak_mb_of_memory": peaks["memory"][0],
        "an_epoch_read_mb_per_s": reading.mb_per_s,
        "first_batch_s": reading.first_s,
    }
    return row._replace(facts=facts)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=8.0, help="of samples")
    parser.add_argument("--steps", type=int, default=6, help="of a visit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit-mb", type=float, default=LIMIT_MB)
    parser.add_argument("--folder", type=Path, help="where three times as much space is free; default: a temporary one")
    given = parser.parse_args()
    command = f"python -m benchmarks.shards --gb {given.gb:g} --steps {given.steps} --rounds {given.rounds}"
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        rows = measure(Path(folder), Plan(given.gb, given.steps, given.rounds, given.limit_mb), command)
    publish("shards", rows)


if __name__ == "__main__":
    main()
