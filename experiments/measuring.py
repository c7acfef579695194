"""A recipe's own first steps, timed: the training that is to come, a few seconds of it, in a fresh process.

The steps are taken from all over the training, as mask ratios may change on the way; the learning rate is 0, so that nothing diverges.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from experiments.fresh import as_a_worker, measured, say, used
from experiments.given_models import load_weights
from experiments.train import Job, labels_of
from mae_core.data.dataset import open_samples
from mae_core.memory import MB
from mae_core.training.loop import Settings, fit, start
from mae_core.training.state import Saver, TrainState

SECONDS = 10.0
"""Of timing."""
ORDER = (0, 4, 2, 6, 1, 5, 3, 7)
"""Eighths of the training, of each of which some steps are timed: in this order, should the time not reach for all."""


class Steps(NamedTuple):
    """What was found in one worker's process."""

    timed: int
    """Steps."""
    cpu_s: float
    """Of a step, the mean."""
    wall_s: float
    start_cpu: float
    """Until the first step was done: libraries, data, model."""
    start_wall: float
    save_cpu: float
    """Of a checkpoint."""
    peak_mb: float
    touched_mb: float
    """Of the samples, by then at most."""
    device_mb: float
    """The most that was held on a GPU; 0 without one."""


def first_steps(job: Job, rows: int, device: str, root: Path, threads: int, seconds: float = SECONDS) -> Steps:
    """Times steps of ``rows`` samples in one process of so many threads. Raises RuntimeError with what went wrong there."""
    given = {"job": job._asdict(), "rows": rows, "device": device, "seconds": seconds}
    return Steps(**measured("experiments.measuring", given, root, threads))


def timed(job: Job, rows: int, device: torch.device, seconds: float) -> Steps:
    """The same in this process, which has trained nothing before."""
    settings = replace(Settings(**job.settings), batch_size=rows, lr=0.0, log_grad_norms=False)
    samples = open_samples(job.samples)
    state = start(job.config, settings, device, features_from=job.features_from)
    if job.init_from:
        load_weights(state, job.init_from)
    run = fit(state, samples, settings, None, 1, labels_of(state, job))
    next(run)
    begun = used()
    cpu, wall = zip(*_steps(state, run, settings.steps, seconds, device))
    before = time.process_time()
    with Saver(job.checkpoints, job.fingerprint) as saver:
        saver.save(state)
    saved = time.process_time() - before
    seen = min((len(cpu) + len(ORDER)) * rows, len(samples)) * samples[0].nbytes / MB
    held = torch.cuda.max_memory_reserved(device) / MB if device.type == "cuda" else 0.0
    return Steps(len(cpu), fmean(cpu), fmean(wall), begun.cpu_s, begun.wall_s, saved, used().peak_mb, seen, held)


def _steps(
    state: TrainState, run: Iterator[Any], steps: int, seconds: float, device: torch.device
) -> Iterator[tuple[float, float]]:
    """CPU and wall seconds of steps of every stretch, as far as the time reaches; the first of each may shuffle anew, and is left out."""
    ends = time.perf_counter() + seconds
    for number in ORDER:
        first, last = (steps * n // len(ORDER) for n in (number, number + 1))
        state.step = min(first, steps - 1)
        next(run)
        until = min(ends, time.perf_counter() + seconds / len(ORDER))
        while True:
            state.step = first if state.step >= last else state.step
            cpu, wall = time.process_time(), time.perf_counter()
            next(run)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            yield time.process_time() - cpu, time.perf_counter() - wall
            if time.perf_counter() >= until:
                break
        if time.perf_counter() >= ends:
            return


if __name__ == "__main__":
    asked = as_a_worker()
    found = timed(Job(**asked["job"]), asked["rows"], torch.device(asked["device"]), asked["seconds"])
    say(found._asdict())
