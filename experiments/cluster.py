"""Reaching Ray: the cluster that RAY_ADDRESS names, else a quiet one on this machine that ends with the block that started it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from mae_core.training.allocator import ENVIRONMENT

OBJECT_STORE_BYTES = 256 * 2**20
"""Samples are mapped from disk and weights go through checkpoints, so almost nothing passes through the object store."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_worker_niceness": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
"""Environment of Ray, where the user has not set it: nothing is sent anywhere, a worker without a GPU sees none, and workers are not
pushed aside by every other process of the machine (Ray's own niceness is 15)."""
WORKER = {**ENVIRONMENT, "GOMP_SPINCOUNT": "20000"}
"""Environment of processes that train: freed memory is kept, and a thread that waits for the others of its process sleeps after some
microseconds. Left to itself it spins on, which takes the core from whoever it waits for as soon as another program is busy too."""


class Node(NamedTuple):
    """One machine of a cluster."""

    cpus: int
    gpus: int


class Machines(NamedTuple):
    """What there is to run on."""

    cpus: int
    gpus: int
    address: str
    """'' for this machine alone."""
    nodes: tuple[Node, ...] = ()
    """What each machine of a cluster has; none where there is but this one."""

    @property
    def each(self) -> tuple[Node, ...]:
        """Every machine: a worker has to find a place on one of them."""
        return self.nodes or (Node(self.cpus, self.gpus),)

    def __str__(self) -> str:
        where = f"the cluster at {self.address}" if self.address else "this machine"
        return f"{where} has {self.cpus} CPUs and {self.gpus} GPUs"


def machines() -> Machines:
    """What there is, without starting Ray unless RAY_ADDRESS names a cluster to ask."""
    if os.environ.get("RAY_ADDRESS"):
        with connected() as found:
            return found
    return Machines(len(os.sched_getaffinity(0)), torch.cuda.device_count(), "")


@contextmanager
def connected(root: Path = Path()) -> Iterator[Machines]:
    """A connection to Ray while the block runs; one that exists already is used and left open.

    Local workers import the code below ``root`` and keep memory between steps. Raises ConnectionError where RAY_ADDRESS answers nobody.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield _resources(os.environ.get("RAY_ADDRESS", ""))
        return
    address = os.environ.get("RAY_ADDRESS", "")
    if address:
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as problem:
            raise ConnectionError(
                f"RAY_ADDRESS is {address}, but no Ray answers there ({problem}): start it, or unset RAY_ADDRESS"
            ) from None
    else:
        here = machines()
        ray.init(
            address="local",
            num_cpus=here.cpus,
            num_gpus=here.gpus,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": str(root.resolve()), **WORKER}},
        )
    try:
        yield _resources(address)
    finally:
        ray.shutdown()


def _resources(address: str) -> Machines:
    import ray

    had = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = tuple(Node(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in had)
    return Machines(sum(node.cpus for node in nodes), sum(node.gpus for node in nodes), address, nodes)
