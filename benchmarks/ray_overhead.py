"""What Ray Train costs: one worker on Ray against ``fit`` called directly, visited in turn.

``python -m benchmarks.ray_overhead`` writes benchmarks/out/ray_overhead.json. The worker also saves its checkpoints and keeps its log,
as in every run; ``fit`` does neither. Two rows: a step, from the first report on, and the whole call, which holds the worker's start.
Ray itself is started once, before.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.rows import Row, compare, publish
from experiments.cluster import connected
from experiments.placement import Placement
from experiments.recipe import Recipe
from experiments.resolving import resolve
from experiments.train import Job, report_every, train
from mae_core.training.loop import Settings, fit, start

CONFIG = resolve(Recipe(), {"sample": {"shape": [1, 28, 28]}, "mean": [0.13], "std": [0.31]}).config
"""The default architecture on the default dataset's shape: a small model, where overhead shows most."""
SAMPLES = 4096
CHECKPOINT_EVERY = 200


class Round(NamedTuple):
    """One training."""

    ms_per_step: float
    """Mean over all reports after the first; what happens between two reports counts, checkpoints too."""
    seconds: float
    """Of the whole call."""
    losses: list[float]


def job_in(folder: Path, settings: Settings, samples: Path) -> Job:
    """The training, to be logged and saved in the new ``folder``."""
    folder.mkdir(parents=True)
    return Job(
        config=CONFIG,
        settings=asdict(settings),
        samples=str(samples),
        run=str(folder),
        stage="pretrain",
        recipe="benchmark",
        name="seed-0",
        fingerprint="benchmark",
        checkpoint_every=CHECKPOINT_EVERY,
    )


def directly(config: dict[str, Any], settings: Settings, samples: Path) -> Round:
    """The training by ``fit`` alone."""
    begun = time.perf_counter()
    state = start(config, settings)
    reports = list(
        fit(
            state,
            np.load(samples, mmap_mode="r", allow_pickle=False),
            settings,
            report_every=report_every(CHECKPOINT_EVERY),
        )
    )
    return _round([one._asdict() for one in reports], settings, time.perf_counter() - begun)


def on_ray(job: Job, placement: Placement) -> Round:
    """The training by Ray Train, timed by the worker's own log."""
    begun = time.perf_counter()
    train(job, placement, Path.cwd())
    seconds = time.perf_counter() - begun
    rows = [json.loads(line) for line in (Path(job.run) / "log.jsonl").read_text().splitlines()]
    return _round([row for row in rows if "samples_per_s" in row], Settings(**job.settings), seconds)


def _round(reports: list[dict[str, Any]], settings: Settings, seconds: float) -> Round:
    ms = [1000 * settings.batch_size / report["samples_per_s"] for report in reports[1:]]
    return Round(fmean(ms), seconds, [report["loss"] for report in reports])


def measure(steps: int, rounds: int, threads: int, command: str) -> list[Row]:
    """The rows of ``rounds`` rounds. Raises RuntimeError where the two trainings did not compute the same."""
    settings = Settings(steps=steps, batch_size=128, lr=2e-3, precision="auto")
    samples = np.random.default_rng(0).integers(0, 256, (SAMPLES, 1, 28, 28), dtype=np.uint8)
    ours, baseline = [], []
    os.environ["OMP_NUM_THREADS"] = str(threads)  # what the worker's process starts with
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name, connected(Path.cwd()):
        folder = Path(name)
        np.save(folder / "samples.npy", samples)
        placement = Placement(1, False, threads, "ddp", "benchmark")
        for number in range(rounds + 1):
            a = directly(CONFIG, settings, folder / "samples.npy")
            b = on_ray(job_in(folder / f"ray-{number}", settings, folder / "samples.npy"), placement)
            if not np.allclose(a.losses, b.losses, rtol=1e-4):
                raise RuntimeError(f"the losses differ, so the times do not compare: {a.losses} and {b.losses}")
            if number:  # the first round starts the workers' processes and fills caches
                baseline.append(a)
                ours.append(b)
    facts = {"steps": steps, "batch_size": settings.batch_size, "threads": threads}
    return [
        compare(
            "ray_one_worker_vs_fit_ms_per_step",
            [r.ms_per_step for r in ours],
            [r.ms_per_step for r in baseline],
            command,
            **facts,
        ),
        compare(
            f"ray_one_worker_vs_fit_seconds_for_{steps}_steps",
            [r.seconds for r in ours],
            [r.seconds for r in baseline],
            command,
            start_s=median(a.seconds - b.seconds for a, b in zip(ours, baseline)),
        ),
    ]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of each; more than 1 only where nothing else runs")
    given = parser.parse_args()
    options = f"--steps {given.steps} --rounds {given.rounds} --threads {given.threads}"
    command = f"python -m benchmarks.ray_overhead {options}"
    publish("ray_overhead", measure(given.steps, given.rounds, given.threads, command))


if __name__ == "__main__":
    main()
