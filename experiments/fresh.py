"""Measuring in a fresh process that is like a worker of Ray: the same libraries loaded, the same memory settings, so many threads."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from experiments.cluster import QUIET, WORKER
from mae_core.memory import MB


class Used(NamedTuple):
    """By this process so far."""

    cpu_s: float
    """On all threads."""
    wall_s: float
    peak_mb: float
    """The most resident memory it had."""


def used() -> Used:
    """What this process took since it was started, imports included."""
    return Used(time.process_time(), time.time() - _started(), _peak() / MB)


def measured(module: str, given: dict[str, Any], root: Path, threads: int, *words: str) -> dict[str, Any]:
    """What ``python -m module words`` prints, as JSON, when it is given ``given`` as JSON, in a fresh process of ``threads`` threads.

    Raises RuntimeError with what it said where it fails.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    here = {"PYTHONPATH": os.pathsep.join([str(root.resolve()), os.environ.get("PYTHONPATH", "")])}
    env = {**os.environ, **QUIET, **WORKER, **dict.fromkeys(names, str(threads)), **here}
    done = subprocess.run(
        [sys.executable, "-m", module, *words], input=json.dumps(given), env=env, capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing was said"]
        raise RuntimeError(f"measuring failed ({module}): {said[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def as_a_worker() -> dict[str, Any]:
    """Loads what a worker of Ray loads; what ``measured`` was given."""
    import ray.train.torch  # noqa: F401

    found: dict[str, Any] = json.loads(sys.stdin.read())
    return found


def say(found: dict[str, Any]) -> None:
    """Gives ``found`` to the process that waits in ``measured``."""
    print(json.dumps(found))


def _peak() -> float:
    """Bytes. Linux counts the process that started this one in ``ru_maxrss``, so its own mark is read where there is one."""
    status = Path("/proc/self/status")
    marks = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.is_file() else []
    if marks:
        return float(marks[0].split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _started() -> float:
    """When this process was started, in seconds since 1970."""
    import psutil

    return float(psutil.Process().create_time())
