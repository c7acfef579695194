"""One training from its first step, or from its last checkpoint, to its end: in this process, or on Ray Train's workers.

Workers keep their own checkpoints in the run folder, which all machines of a cluster have to share. Whatever dies, the next group of
workers goes on from the newest whole one; Ray's own bookkeeping is never resumed from, so a name used twice mixes nothing up.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from experiments.cluster import connected
from experiments.given_models import load_weights
from experiments.placement import Placement, Reading
from experiments.progress import Printer
from experiments.reading_shards import samples_of
from experiments.runs import Run
from mae_core.flops import utilisation
from mae_core.training.loop import Settings, TrainingDiverged, fit, start
from mae_core.training.state import Saver, TrainState, load_checkpoint, newest_step
from mae_core.training.world import World

MOST_FAILURES = 3
"""Times that Ray may start the workers again."""
SLOWEST_REPORTS, FASTEST_REPORTS = 50, 10
"""Steps between two reports: at most, at least."""


class Job(NamedTuple):
    """All that a worker needs, in plain values; paths are absolute, because Ray's workers live in other folders."""

    config: dict[str, Any]
    """What MaskedAutoencoder.build takes."""
    settings: dict[str, Any]
    """What Settings takes."""
    samples: str
    """The .npy file of the train split, or the manifest of its shards."""
    run: str
    """The run folder, for log and heartbeat."""
    stage: str
    recipe: str
    name: str
    """Of this training within the run: its checkpoints lie in ``checkpoints/<name>``."""
    fingerprint: str
    checkpoint_every: int
    init_from: str | None = None
    """Model folder to start from instead of random weights."""
    features_from: str | None = None
    """Model folder whose features are a target."""

    @property
    def checkpoints(self) -> Path:
        """Where the training is saved."""
        return Path(self.run) / "checkpoints" / self.name


def report_every(checkpoint_every: int) -> int:
    """Steps between reports: the largest divisor of ``checkpoint_every`` up to 50, so that every checkpoint falls on a report."""
    fits = [d for d in range(FASTEST_REPORTS, SLOWEST_REPORTS + 1) if checkpoint_every % d == 0]
    return max(fits, default=checkpoint_every)


def train(job: Job, placement: Placement, root: Path = Path()) -> TrainState:
    """Trains ``job`` to its end on Ray and returns its last state on the CPU; a training that had ended before is only read.

    Raises TrainingDiverged, or RuntimeError where workers failed more often than Ray may start them again.
    """
    settings = Settings(**job.settings)
    if newest_step(job.checkpoints) < settings.steps:
        with connected(root), Printer(Path(job.run), job.recipe, job.name):
            _on_ray(job, placement)
    state = start(job.config, settings)
    load_checkpoint(state, job.checkpoints, job.fingerprint)
    return state


def train_here(job: Job, world: World, device: torch.device, reading: Reading = "stream") -> None:
    """Trains this rank's share of ``job`` in this process."""
    settings = Settings(**job.settings)
    run = Run(Path(job.run), job.stage, job.recipe, job.fingerprint)
    samples = samples_of(job.samples, reading)
    state = start(job.config, settings, device, world, job.features_from)
    if job.init_from:
        load_weights(state, job.init_from)
    resumed = load_checkpoint(state, job.checkpoints, job.fingerprint)
    first = world.rank == 0
    if first and resumed:
        run.log(event="resumed", name=job.name, step=resumed)
    with Saver(job.checkpoints, job.fingerprint, write=first) as saver:
        for progress in fit(state, samples, settings, world, report_every(job.checkpoint_every), labels_of(state, job)):
            if state.step % job.checkpoint_every == 0 or state.step == settings.steps:
                saver.save(state)
            if first:
                row = {"name": job.name, "seed": settings.seed, **progress.row()}
                if device.type == "cuda":
                    card = torch.cuda.get_device_name(device)
                    row["mfu"] = utilisation(job.config, progress.samples_per_s, card, world.size, settings.batch_size)
                run.log(**row)
                run.heartbeat("running", **row)


def labels_of(state: TrainState, job: Job) -> np.ndarray | None:
    """The labels of the train split, for the probe beside learned masks; no other training opens them."""
    path = Path(job.samples).with_name("train-labels.npy")
    if state.learner is None or not path.is_file():
        return None
    return np.load(path, allow_pickle=False)


def _on_ray(job: Job, placement: Placement) -> None:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    storage = Path(job.run) / "ray"
    shutil.rmtree(storage, ignore_errors=True)  # a name found there would be resumed, finished runs included
    failed = Path(job.run) / f"diverged-{job.name}.txt"
    failed.unlink(missing_ok=True)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "job": job._asdict(),
            "strategy": placement.strategy,
            "reading": placement.reading,
            "failed": str(failed),
        },
        scaling_config=scaling(placement),
        torch_config=torch_config(placement),
        run_config=RunConfig(
            name=job.name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=MOST_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as problem:
        raise RuntimeError(f"training {job.name} of {job.recipe} failed: {_reason(problem)}") from problem
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if failed.exists():
        raise TrainingDiverged(failed.read_text())


def scaling(placement: Placement) -> Any:
    """Ray Train's ScalingConfig of a placement."""
    from ray.train import ScalingConfig

    each = {"CPU": placement.cpus, **({"GPU": 1} if placement.gpu else {})}
    return ScalingConfig(num_workers=placement.workers, use_gpu=placement.gpu, resources_per_worker=each)


def torch_config(placement: Placement) -> Any:
    """Ray Train's TorchConfig of a placement."""
    from ray.train.torch import TorchConfig

    return TorchConfig(backend=placement.backend)


def _worker(given: dict[str, Any]) -> None:
    import ray.train
    from ray.train.torch import get_device

    job = Job(**given["job"])
    context = ray.train.get_context()
    world = World(context.get_world_rank(), context.get_world_size(), given["strategy"])
    device = get_device()
    if not Path(job.samples).is_file():
        raise FileNotFoundError(f"a worker cannot see {job.samples}: the machines of a cluster must share this folder")
    try:
        train_here(job, world, device, given["reading"])
        # once, at the end: a report waits until the controller has fetched the one before it, which takes seconds
        ray.train.report({"step": job.settings["steps"]})
    except TrainingDiverged as problem:  # every rank agrees on it, and a second try would end alike
        if world.rank == 0:
            Path(given["failed"]).write_text(str(problem))


def _reason(problem: BaseException) -> str:
    """The last line that says something, of a failure that wraps a worker's traceback."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "Exception" in line]
    return (named or lines or [type(problem).__name__])[-1]
