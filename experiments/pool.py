"""Jobs of a stage spread over this machine's cores, each on one thread, so that results do not depend on how many there are."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any, NamedTuple

import torch

from experiments.runs import Run, end_with_parent

MOST = 16
"""Worker processes, each of some 400 MB: a stage has a few dozen jobs."""


class Job(NamedTuple):
    """A call to make somewhere; function and arguments travel as pickles between our own processes."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


RunAll = Callable[[Sequence[Job]], Iterator[Any]]
"""Makes the calls at once and yields what they return, in order."""
AllOf = Callable[[Sequence[Job]], list[Any]]
"""The same, of a list."""


@contextmanager
def pool(workers: int | None = None) -> Iterator[RunAll]:
    """What runs jobs on ``workers`` processes: all cores by default, none for 1 and where a GPU does the work."""
    if workers is None:
        workers = 1 if torch.cuda.is_available() else min(len(os.sched_getaffinity(0)), MOST)
    if workers == 1:
        with _one_thread():
            yield lambda jobs: (job.function(*job.arguments) for job in jobs)
        return
    # spawned, not forked: a fork of a process whose OpenMP threads run can hang
    before = set(active_children())
    executor = ProcessPoolExecutor(workers, get_context("spawn"), begin_worker)
    try:
        with lost_workers("What was finished is kept: free some memory and run it again"):
            yield lambda jobs: (future.result() for future in [executor.submit(j.function, *j.arguments) for j in jobs])
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in set(active_children()) - before:
            child.terminate()  # what is under way has nobody left to tell
        raise
    executor.shutdown()


@contextmanager
def lost_workers(advice: str) -> Iterator[None]:
    """Says what became of a worker that somebody killed, and ``advice``, as a RuntimeError; its other jobs are lost with it."""
    try:
        yield
    except BrokenProcessPool:
        raise RuntimeError(f"a worker process was killed, as the system does when memory runs out. {advice}") from None


def counted(run: Run, run_all: RunAll) -> AllOf:
    """``run_all`` that beats the heart of ``run`` after every job."""
    done = [0, 0]

    def all_of(jobs: Sequence[Job]) -> list[Any]:
        done[1] += len(jobs)
        found = []
        for result in run_all(jobs):
            found.append(result)
            done[0] += 1
            run.heartbeat(step=done[0], steps=done[1])
        return found

    return all_of


def begin_worker() -> None:
    """What a process of a pool does first: it computes on one thread and ends when its parent is gone."""
    end_with_parent(os.getppid)  # nobody else: what outlives its shell, as a long sweep may, keeps its workers
    # a worker has nothing to put away, and an exception out of a handler would only end the job it is at
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _limit()


def _limit() -> Any:
    """One thread for torch, BLAS and OpenMP; returns what threadpoolctl restores from."""
    import sklearn.manifold  # noqa: F401  its OpenMP can be limited only once it is loaded
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    return threadpool_limits(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    limits = _limit()
    try:
        yield
    finally:
        limits.restore_original_limits()
        torch.set_num_threads(threads)
