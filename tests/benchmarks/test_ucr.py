"""The UCR benchmark: warping forgives a shift, the probe uses all labels, gains are over seeds, test series and sets."""

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
    assert ucr.probe(features, labels).tolist() == [True] * 30
    labels["train"] = np.roll(labels["train"], 1)  # half of the labels are wrong now: the other half still votes
    assert ucr.probe(features, labels).mean() < 1


def told(right, of=100):
    """(seeds, of), or (of,): the first ``right`` series are told right."""
    return np.arange(of) < np.array(right)[..., None]


def scores(pretrained, untrained=(70, 80, 90), euclid=90):
    return ucr.Scores(told(pretrained), told(untrained), values=told(50), euclid=told(euclid), dtw=told(80))


def test_gains_are_over_pretraining_seeds():
    found = {name: scores([80, 90, 100]) for name in ("one", "two")}
    rows = {row.name: row for row in ucr.rows_of(found, "command")}
    one = rows["one_accuracy_vs_1nn_euclid"]
    assert (one.ours, one.baseline, one.facts["untrained"]) == pytest.approx((0.9, 0.9, 0.8)) and one.n == 3
    mean = rows["mean_accuracy_vs_untrained"]
    assert mean.n == 3 and mean.facts["gain"] == pytest.approx(0.1) == mean.facts["gain_low"], "pairs of one seed"
    level = rows["mean_accuracy_vs_1nn_euclid"].facts
    assert level["gain_low"] < 0 < level["gain_high"]


def test_what_is_tested_is_not_exact():
    found = {str(i): scores([92, 92, 92]) for i in range(8)} | {"behind": scores([80, 80, 80])}
    rows = {row.name: row for row in ucr.rows_of(found, "command")}
    facts = rows["0_accuracy_vs_1nn_euclid"].facts
    assert facts["gain_low"] == facts["gain_high"] == pytest.approx(0.02), "every seed is ahead by the same two series"
    assert facts["over_items_low"] <= 0 < 0.02 < facts["over_items_high"]
    facts = rows["mean_accuracy_vs_1nn_euclid"].facts
    assert facts["gain"] == facts["over_sets"] == pytest.approx((8 * 0.02 - 0.1) / 9, abs=1e-4)
    assert facts["over_sets_low"] < 0 < facts["gain_low"]


def test_some_sets_alone_leave_the_whole_table_as_it_is(monkeypatch):
    published = []
    monkeypatch.setattr(ucr, "publish", lambda name, rows: published.append((name, rows[0].command)))
    monkeypatch.setattr(ucr, "measure", lambda name, seeds: scores([50] * len(seeds), [50] * len(seeds)))
    ucr.main(["--seeds", "3"])
    ucr.main(["--seeds", "3", "--sets", "plane", "ecg200"])
    assert [name for name, _ in published] == ["ucr", "ucr-sets-plane-ecg200"]
    assert published[1][1].endswith("benchmarks.ucr --seeds 3 --sets plane ecg200")
