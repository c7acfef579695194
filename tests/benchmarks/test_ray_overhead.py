"""The benchmark of Ray Train compares trainings only where they computed the same. Ray is replaced by the same training without it."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from benchmarks import ray_overhead
from experiments.train import train_here
from mae_core.training.world import World


@pytest.fixture
def without_ray(monkeypatch):
    """Ray's part answered by ``train_here``, all times made up: 1 s here, 4 s there. Returns the list of what was asked of it."""
    asked = []

    def through(job, placement, root):
        asked.append((Path(job.run).name, placement.workers))
        train_here(job, World(), torch.device("cpu"))

    directly, on_ray = ray_overhead.directly, ray_overhead.on_ray
    monkeypatch.setattr(ray_overhead, "connected", lambda root: nullcontext())
    monkeypatch.setattr(ray_overhead, "train", through)
    monkeypatch.setattr(ray_overhead, "directly", lambda *given: directly(*given)._replace(seconds=1.0))
    monkeypatch.setattr(ray_overhead, "on_ray", lambda *given: on_ray(*given)._replace(seconds=4.0))
    monkeypatch.setattr(ray_overhead, "SAMPLES", 256)
    monkeypatch.setattr(ray_overhead, "CHECKPOINT_EVERY", 50)
    small = {"encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 1}}
    monkeypatch.setattr(ray_overhead, "CONFIG", {**ray_overhead.CONFIG, **small})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return asked


def test_rounds_are_paired_and_the_first_is_left_out(without_ray):
    step, whole = ray_overhead.measure(100, 3, 1, "command")
    assert without_ray == [(f"ray-{n}", 1) for n in range(4)]
    assert step.n == whole.n == 3 and step.command == "command"
    assert step.name == "ray_one_worker_vs_fit_ms_per_step" and step.ours > 0 and step.low <= step.ratio <= step.high
    assert whole.facts["start_s"] == 3 and (whole.ours, whole.baseline) == (4, 1)


def test_other_losses_are_an_error(without_ray, monkeypatch):
    honest = ray_overhead.on_ray

    def other(*given):
        found = honest(*given)
        return found._replace(losses=[loss + 1 for loss in found.losses])

    monkeypatch.setattr(ray_overhead, "on_ray", other)
    with pytest.raises(RuntimeError, match="the losses differ, so the times do not compare"):
        ray_overhead.measure(100, 1, 1, "command")
