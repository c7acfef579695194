"""The benchmark of waiting: every source feeds a training, and a slow one is waited for."""

import time

import numpy as np

from benchmarks import waiting
from benchmarks.step import Shape

TINY = Shape(16, 8, (16, 1, 2), (16, 1, 2), 4)


class Slow:
    """Samples that take their time."""

    def __init__(self, samples):
        self.samples, self.shape, self.dtype = samples, samples.shape, samples.dtype

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, rows):
        time.sleep(0.2)
        return self.samples[rows]


def test_what_is_waited_for_is_seen():
    samples = np.zeros((16, 3, 16, 16), np.uint8)
    quick, slow = waiting.waits(TINY, samples, 3), waiting.waits(TINY, Slow(samples), 3)
    assert len(quick) == len(slow) == 3 and min(quick) > 0 and max(slow) < 1
    assert np.median(slow) > 0.5 > np.median(quick)


def test_every_source_can_be_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "CROP", (16, 16))
    monkeypatch.setattr(waiting, "PHOTOS", (24, 32))
    monkeypatch.setitem(waiting.SHAPES, "a", TINY)
    found = waiting.sources(tmp_path, 8)
    assert list(found) == list(waiting.WAITING)
    assert all(len(waiting.waits(TINY, samples, 2)) == 2 for samples in found.values())
