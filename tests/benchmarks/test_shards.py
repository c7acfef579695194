"""The benchmark of shards: trainings that compute the same, memory that is looked at, and errors where either is not so."""

import numpy as np
import pytest

from benchmarks import shards
from benchmarks.step import Shape
from mae_core.data.sharding import ShardRules
from mae_core.data.shards import Shards

TINY = Shape(16, 4, (16, 1, 1), (16, 1, 1), 8)
RULES = ShardRules(megabytes=0.02, lanes=2)


def test_a_row_holds_speed_memory_and_equal_losses(tmp_path):
    plan = shards.Plan(3e-4, 3, 2, 8192, ("memory", "disk"), TINY, RULES)
    (row,) = shards.measure(tmp_path, plan, "command")
    assert row.name == "disk_vs_memory_s_per_step" and row.n == 2 and row.command == "command"
    assert row.facts["equal_losses"] == 9 and row.facts["share_of_the_speed"] == pytest.approx(1 / row.ratio)
    assert 50 < row.facts["peak_mb"] < 8192 and row.facts["peak_mb_of_memory"] > 50
    assert 0 <= row.facts["data_wait"] < 1 and row.facts["an_epoch_read_mb_per_s"] > 0


def visits(*losses):
    return [shards.Visit([1.0], [loss], [0.0]) for loss in losses]


def row(losses, peak):
    found = {"disk": visits(*losses), "memory": visits(3.0, 2.0)}
    peaks = {"disk": (peak, peak), "memory": (9000.0, 9000.0)}
    return shards.row_of("disk", found, shards.Epoch(100.0, 0.1), peaks, 2048, "command")


def test_other_losses_and_too_much_memory_are_errors():
    assert row((3.0, 2.0), 2000.0).facts["peak_mb_of_memory"] == 9000
    with pytest.raises(RuntimeError, match="disk: the losses differ from those of memory from step 1 on"):
        row((3.0, 2.5), 2000.0)
    with pytest.raises(RuntimeError, match="disk took 2100 MB, the limit is 2048 MB"):
        row((3.0, 2.0), 2100.0)


def test_the_pictures_are_made_alike_each_time(tmp_path):
    paths = [shards.write(tmp_path / name, 1e-4, 16, RULES) for name in "ab"]
    one, two = (Shards(path) for path in paths)
    assert one.manifest.shards == two.manifest.shards and len(one) == round(1e-4 * 1e9 / 768)
    samples = np.asarray(one)
    assert samples.std() > 30 and len(np.unique(samples.reshape(len(one), -1), axis=0)) == len(one)
