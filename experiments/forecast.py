"""What a training will take, before it runs: time, memory, cost; from this machine's rates or from the recipe's own first steps."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from experiments.calibration import Machine, calibrated, machine_of
from experiments.cluster import Machines
from experiments.measuring import Steps, first_steps
from experiments.placement import Placement, place, read_resources
from experiments.recipe import Recipe
from experiments.resolving import Resolved
from experiments.train import Job
from mae_core.atomic import write_text
from mae_core.data.dataset import Dataset, samples_file
from mae_core.data.shards import Shards
from mae_core.data.stream import AHEAD
from mae_core.flops import peak_of, train_flops
from mae_core.masking.ratio import ratios_of
from mae_core.memory import MB
from mae_core.work import Counted, count

SCHEMA = 1
AROUND = 16 * 4096
"""Bytes that the system reads around a sample of a mapped file."""
GPU_SHARE = 0.3
"""Of a GPU's peak, where nothing was measured on one."""


class Training(NamedTuple):
    """One pretraining seed of a recipe, of which one worker is looked at."""

    resolved: Resolved
    placement: Placement
    dataset: Dataset
    checkpoint_every: int
    init_from: str | None
    features_from: str | None
    seeds: int

    @property
    def samples(self) -> Path:
        """The file of the train split."""
        return samples_file(self.dataset.folder, "train").resolve()

    @property
    def steps(self) -> int:
        """Of one seed."""
        return self.resolved.settings.steps

    @property
    def rows(self) -> int:
        """Samples of a step in one worker."""
        return -(-self.resolved.settings.batch_size // self.placement.workers)

    @property
    def saves(self) -> int:
        """Checkpoints."""
        return -(-self.steps // self.checkpoint_every)

    def job(self, folder: Path) -> Job:
        """What a worker is told, with ``folder`` as its run."""
        settings = self.resolved.settings.__dict__
        places = self.init_from, self.features_from
        return Job(
            self.resolved.config, settings, str(self.samples), str(folder), "plan", "plan", "seed", "plan",
            self.checkpoint_every, *places,
        )  # fmt: skip


class Forecast(NamedTuple):
    """Of one pretraining seed, of one worker."""

    cpu_s: float
    """On all its threads."""
    wall_s: float
    """Where nothing else runs."""
    peak_mb: float
    """The most resident memory of its process."""
    how: str
    """What it was made from."""
    device_mb: float = 0.0
    """The most memory of a GPU; 0 where none was measured."""


def training_of(recipe: Recipe, dataset: Dataset, resolved: Resolved, root: Path) -> Training:
    """The training of a recipe on this machine, whatever RAY_ADDRESS says. Raises ResourceError where it asks for more."""
    there = Machines(len(os.sched_getaffinity(0)), torch.cuda.device_count(), "")
    placement = place(read_resources(root), there, resolved.settings.batch_size)
    begins, features = (
        str((root / one).resolve()) if one else None
        for one in (recipe.pretrain.init_from, recipe.objective.features_from)
    )
    every, seeds = recipe.pretrain.checkpoint_every, len(recipe.pretrain.seeds)
    return Training(resolved, placement, dataset, every, begins, features, seeds)


def from_machine(training: Training, machine: Machine, counted: Counted) -> Forecast:
    """From this machine's rates and the counts of a step."""
    state = counted.state_bytes / MB
    save = machine.save_s + machine.save_s_per_mb * state
    steps = training.steps * machine.cpu.seconds(counted.work) + training.saves * save
    several = len({ratio for _, ratio in ratios_of(training.resolved.config["masking"]).shares()}) > 1
    slack = machine.slack_of_many if several else machine.slack
    held = slack * counted.peak_bytes / MB  # a checkpoint's copy finds room in what the last step left
    return Forecast(
        machine.start_cpu + steps,
        machine.start_cpu + steps * machine.wall_share,
        machine.base_mb + held + mapped_mb(training),
        "from what this machine took for made-up models",
    )


def from_steps(training: Training, steps: Steps) -> Forecast:
    """From the recipe's own first steps."""
    rest = training.steps - 1
    saves = training.saves * steps.save_cpu
    return Forecast(
        steps.start_cpu + rest * steps.cpu_s + saves,
        steps.start_wall + rest * steps.wall_s + saves,
        steps.peak_mb + max(mapped_mb(training) - steps.touched_mb, 0.0),
        f"from {steps.timed} of its own steps",
        steps.device_mb,
    )


def mapped_mb(training: Training) -> float:
    """Million bytes of the mapped samples that the training looks at, or of the shards it holds; they count as its process's memory."""
    samples = training.dataset.split("train").samples
    if isinstance(samples, Shards):
        of = samples.manifest
        held = min(of.lanes * (of.window + 1) + AHEAD, len(of.shards))
        return held * max(shard.bytes for shard in of.shards) / MB
    each = samples.nbytes / max(len(samples), 1) + AROUND
    return min(training.samples.stat().st_size, training.steps * training.rows * each) / MB


def measure(training: Training, root: Path) -> Forecast:
    """Runs the recipe's own first steps for ten seconds; nothing of them is kept."""
    placement = training.placement
    with tempfile.TemporaryDirectory() as folder:
        job = training.job(Path(folder))
        return from_steps(training, first_steps(job, training.rows, placement.device, root, placement.cpus))


def calibrate(root: Path, threads: int) -> Machine:
    """Measures this machine for ten seconds and keeps what it found in ``runs/machine.json``."""
    machine = calibrated(root, threads)
    content = {"schema": SCHEMA, **_here(threads), **machine._asdict()}
    write_text(_kept(root), json.dumps(content, indent=2) + "\n")
    return machine


def known_machine(root: Path, threads: int) -> Machine | None:
    """What ``calibrate`` kept; None where it never ran with so many threads on this machine and torch."""
    try:
        found = json.loads(_kept(root).read_text())
        here = {"schema": SCHEMA, **_here(threads)}
        return machine_of(found) if {name: found.get(name) for name in here} == here else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def look(training: Training, machine: Machine) -> Forecast:
    """The forecast of ``from_machine``; two small copies of the model are trained for a few steps, to count what a step does."""
    resolved, split = training.resolved, training.dataset.split("train")
    workers, features = training.placement.workers, training.features_from
    counted = count(resolved.config, resolved.settings, split.samples, workers, split.labels, features)
    return from_machine(training, machine, counted)


def lines(training: Training, found: Forecast, price: float | None) -> list[tuple[str, str]]:
    """What there is to say, as names and texts."""
    placement, seeds = training.placement, training.seeds
    each = "" if seeds == 1 else f" for each of {seeds} seeds"
    shared = (
        "" if placement.workers == 1 else f"; of one of {placement.workers} workers, without what they tell each other"
    )
    threads = f"{placement.cpus} thread{'s' if placement.cpus > 1 else ''}"
    said = [
        ("time", f"{duration(found.wall_s)}{each}, {duration(found.cpu_s)} of CPU on {threads}; {found.how}{shared}"),
        (
            "peak memory",
            f"{found.peak_mb:.0f} MB of {'one worker' if placement.workers > 1 else 'its process'}, libraries and data included",
        ),
    ]
    if found.device_mb:
        said.append(("memory of the GPU", f"{found.device_mb:.0f} MB"))
    return [*said, *_cost(found.wall_s * seeds, price)]


def gpu_lines(training: Training, device: str, price: float | None) -> list[tuple[str, str]]:
    """The same for GPUs on which nothing was measured: at ``GPU_SHARE`` of their makers' peak."""
    peak = peak_of(device)
    if peak is None:
        return [("time", f"not known of {device}: --measure runs the first steps on it")]
    settings, workers = training.resolved.settings, training.placement.workers
    flops = train_flops(training.resolved.config, settings.batch_size) * settings.batch_size * settings.steps
    seconds = flops / (peak * GPU_SHARE * workers)
    said = f"{duration(seconds)} at {GPU_SHARE:.0%} of the peak of {workers} × {device}; small models reach less, --measure tells"
    return [("time", said), *_cost(seconds * training.seeds, price)]


def _cost(seconds: float, price: float | None) -> list[tuple[str, str]]:
    hours = seconds / 3600
    text = f"{{:.2f}}: {hours:.2f} hours of this machine at {{:g}} an hour"
    return [] if price is None else [("cost", text.format(hours * price, price))]


def duration(seconds: float) -> str:
    """``48 s``, ``12 min 30 s``, ``3 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _kept(root: Path) -> Path:
    return root / "runs" / "machine.json"


def _here(threads: int) -> dict[str, Any]:
    """What rates depend on."""
    return {"cpu_name": _cpu(), "torch": torch.__version__, "threads": threads}


def _cpu() -> str:
    """The processor's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    named = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.is_file() else []
    return named[0].partition(":")[2].strip() if named else platform.machine()
