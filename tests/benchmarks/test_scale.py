"""The benchmark of threads and workers: all ways compute the same, or it is an error."""

import pytest
import torch

from benchmarks import scale
from benchmarks.step import Shape

SMALL = Shape(16, 4, (16, 1, 2), (8, 1, 2), 4)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_two_workers_compute_what_one_does():
    threads, workers = scale.measure("small", SMALL, 3, 1, 2, "command")
    assert threads.name == "small_2_threads_vs_one_thread_wall_ms_per_step" and threads.ours > 0
    assert workers.name == "small_2_workers_vs_one_thread_wall_ms_per_step" and workers.ours > 0


def test_other_losses_are_an_error(monkeypatch):
    honest = scale.trained

    def other(*given):
        found = honest(*given)
        return found._replace(losses=[loss + 1 for loss in found.losses])

    monkeypatch.setattr(scale, "together", lambda shape, settings, workers: other(shape, settings, 1))
    with pytest.raises(RuntimeError, match="the losses of workers differ"):
        scale.measure("small", SMALL, 2, 1, 1, "command")
