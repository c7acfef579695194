"""The UCR benchmark: warping forgives a shift, the probe uses all labels, rows are over pretraining seeds."""

import numpy as np
import pytest

from benchmarks import ucr


def test_warped_distance_forgives_a_shift_within_its_band():
    one = np.zeros((1, 12), np.float32)
    one[0, 4] = 1
    moved = np.roll(one, 2, axis=1)
    assert ucr._dtw(one, moved, 2)[0, 0] == 0
    assert ucr._dtw(one, moved, 1)[0, 0] == pytest.approx(2)  # out of reach: as far as the plain distance
    assert ucr._dtw(one, one, 0)[0, 0] == 0


def test_the_probe_learns_from_everything_that_is_labelled():
    generator = np.random.default_rng(0)
    labels = {split: np.arange(30) % 3 for split in ("train", "validation", "test")}
    features = {split: np.eye(3)[y] + 0.1 * generator.normal(size=(30, 3)) for split, y in labels.items()}
    assert ucr.probe(features, labels) == 1
    labels["train"] = np.roll(labels["train"], 1)  # half of the labels are wrong now: the other half still votes
    assert ucr.probe(features, labels) < 1


def test_rows_are_over_pretraining_seeds():
    found = {
        name: ucr.Scores([0.8, 0.9, 1.0], [0.7, 0.8, 0.9], values=0.5, euclid=0.9, dtw=0.8) for name in ("one", "two")
    }
    rows = {row.name: row for row in ucr.rows_of(found, "command")}
    assert rows["one_accuracy_vs_1nn_euclid"].ours == pytest.approx(0.9)
    mean = rows["mean_accuracy_vs_untrained"]
    assert mean.n == 3 and 1 < mean.low < mean.ratio < mean.high and mean.facts["gain_points"] == pytest.approx(10)
    assert rows["mean_accuracy_vs_1nn_euclid"].low < 1 < rows["mean_accuracy_vs_1nn_euclid"].high


def test_some_sets_alone_leave_the_whole_table_as_it_is(monkeypatch):
    published = []
    monkeypatch.setattr(ucr, "publish", lambda name, rows: published.append((name, rows[0].command)))
    monkeypatch.setattr(
        ucr, "measure", lambda name, seeds: ucr.Scores([0.5] * len(seeds), [0.5] * len(seeds), 0.5, 0.5, 0.5)
    )
    ucr.main(["--seeds", "3"])
    ucr.main(["--seeds", "3", "--sets", "plane", "ecg200"])
    assert [name for name, _ in published] == ["ucr", "ucr-sets-plane-ecg200"]
    assert published[1][1].endswith("benchmarks.ucr --seeds 3 --sets plane ecg200")
