"""The benchmark of Ray Train compares trainings only where they computed the same. Ray is replaced by ``fit`` itself."""

from contextlib import nullcontext

import numpy as np
import pytest

from benchmarks import ray_overhead


@pytest.fixture
def without_ray(monkeypatch):
    """Ray's part answered by ``fit``, its times doubled; returns the list of what was asked of it."""
    asked = []
    fit_alone = ray_overhead.direct

    def direct(*arguments):
        return fit_alone(*arguments)._replace(seconds=1.0)

    def through(settings, samples, folder, placement):
        asked.append((folder.name, placement.workers))
        found = direct(settings, np.load(samples), ray_overhead.report_every(ray_overhead.CHECKPOINT_EVERY))
        return found._replace(ms_per_step=2 * found.ms_per_step, seconds=found.seconds + 3)

    monkeypatch.setattr(ray_overhead, "connected", lambda root: nullcontext())
    monkeypatch.setattr(ray_overhead, "direct", direct)
    monkeypatch.setattr(ray_overhead, "through_ray", through)
    monkeypatch.setattr(ray_overhead, "SAMPLES", 256)
    small = {"encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 1}}
    monkeypatch.setattr(ray_overhead, "CONFIG", {**ray_overhead.CONFIG, **small})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return asked


def test_rounds_are_paired_and_the_first_is_left_out(without_ray):
    step, whole = ray_overhead.measure(100, 2, 1, "command")
    assert without_ray == [("round-0", 1), ("round-1", 1), ("round-2", 1)]
    assert step.n == whole.n == 2 and step.command == "command"
    assert step.name == "ray_one_worker_vs_fit_ms_per_step" and step.ours > 0 and step.low <= step.ratio <= step.high
    assert whole.facts["start_s"] == 3 and (whole.ours, whole.baseline) == (4, 1)


def test_other_losses_are_an_error(without_ray, monkeypatch):
    honest = ray_overhead.through_ray

    def other(*arguments):
        found = honest(*arguments)
        return found._replace(losses=[loss + 1 for loss in found.losses])

    monkeypatch.setattr(ray_overhead, "through_ray", other)
    with pytest.raises(RuntimeError, match="the losses differ, so the times do not compare"):
        ray_overhead.measure(100, 1, 1, "command")


def test_it_measures_the_default_architecture():
    from experiments.recipe import Recipe, resolve

    info = {"modality": "image", "sample": {"shape": [1, 28, 28]}, "mean": [0.1], "std": [0.3]}
    defaults = resolve(Recipe(), info, {}, "image").config
    assert {name: ray_overhead.CONFIG[name] for name in ("encoder", "decoder", "masking")} == {
        name: defaults[name] for name in ("encoder", "decoder", "masking")
    }
    assert ray_overhead.CONFIG["modality"]["patch"] == defaults["modality"]["patch"]
