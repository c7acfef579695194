"""The benchmark of features against time: curves are measured once, gone on with, and compared at an accuracy that both reached."""

import json
import types

import numpy as np
import pytest
import torch
from project import write_dataset

from benchmarks import accuracy
from benchmarks.accuracy import Curve, Key, Trial, measured, rows_of
from benchmarks.peers import Peer
from mae_core.data.dataset import open_dataset
from mae_core.training.precision import Precision

CONFIG = {
    "modality": {"kind": "image", "channels": 1, "size": [8, 8], "patch": 4},
    "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
    "decoder": {"kind": "joint", "width": 8, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.5},
    "objective": {"reconstruction": 1.0, "target": "pixels"},
}


def resolved(dataset, trial):
    """What the small trainings are of; ``averaged`` alone is known to them."""
    settings = types.SimpleNamespace(ema=0.9 if "averaged" in trial.ways else 0.0)
    return types.SimpleNamespace(config=CONFIG, settings=settings)


@pytest.fixture
def spots(monkeypatch):
    """A dataset of bright halves, where k-NN learns at once, and small trainings of it."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    samples = rng.integers(0, 90, (60, 1, 8, 8)).astype(np.uint8)
    samples[labels == 1, :, :4] += 150
    split = types.SimpleNamespace(samples=samples, labels=labels)
    dataset = types.SimpleNamespace(split=lambda name: split)
    monkeypatch.setattr(accuracy, "open_dataset", lambda folder: dataset)
    monkeypatch.setattr(accuracy, "resolved_for", resolved)
    return dataset


def key(name="ours", rate=1e-3, seed=0):
    return Key("spots", name, Trial(rate, 8, None), seed, 0.05)


def test_a_crossing_lies_between_two_points():
    curve = Curve([1.0, 2.0, 4.0], [0.5, 0.6, 0.9], 9)
    assert curve.reached(0.4) == 1.0
    assert curve.reached(0.55) == pytest.approx(1.5)
    assert curve.reached(0.75) == pytest.approx(3.0)
    assert curve.reached(0.95) is None


def test_curves_are_measured_once_and_gone_on_with(spots, tmp_path, capsys, monkeypatch):
    path = tmp_path / "curves.json"
    keys = [key(), key(rate=2e-3)]
    ((_, first),) = list(measured(keys[:1], tmp_path, path, float("inf")))
    assert len(first.seconds) == len(first.accuracy) == accuracy.POINTS
    assert first.seconds == sorted(first.seconds) and first.accuracy[-1] == 1.0 and first.steps > 0
    both = dict(measured(keys, tmp_path, path, float("inf")))
    assert both[keys[0]] == first, "what was measured is not measured again"
    assert list(json.loads(path.read_text())) == [one.name() for one in keys]
    monkeypatch.setattr(accuracy, "train", None)
    assert dict(measured(keys, tmp_path, path, float("inf"))) == both
    assert list(measured([key(rate=3e-3)], tmp_path, path, -1)) == []
    assert "not measured, time is up: spots/ours/0.003-8-default/0/0.05" in capsys.readouterr().out


def test_ours_alone_has_ways(tmp_path):
    write_dataset(tmp_path)
    dataset = open_dataset(tmp_path / "data" / "tiny")
    ways = [(), ("spread", "half_grid", "averaged")]
    found = [accuracy.resolved_for(dataset, Trial(1e-3, 8, 2, some)) for some in ways]
    assert [one.settings.ema for one in found] == [0.0, 0.99]
    plain, ours = (one.config for one in found)
    assert ours["objective"] == {**plain["objective"], "variance": 0.3, "covariance": 0.03}
    assert (plain["masking"]["strategy"], ours["masking"]["strategy"]) == ("random", "grid")
    assert len(accuracy.OURS) == len(accuracy.TRIALS) and not any(trial.ways for trial in accuracy.TRIALS)


@pytest.mark.parametrize("name", ["vitmae_fp32", "vitmae_bf16"])
def test_others_train_too(spots, name, tmp_path):
    pytest.importorskip("transformers")
    ((_, curve),) = list(measured([key(name)], tmp_path, tmp_path / "curves.json", float("inf")))
    assert curve.accuracy[-1] == 1.0


def test_rows_ask_how_soon_ours_is_as_good_as_the_other_in_the_end():
    curves = [
        (key(rate=1e-3), Curve([1.0, 2.0], [0.4, 0.96], 20)),
        (key(rate=2e-3), Curve([1.0, 2.0], [0.6, 0.9], 20)),
        (key(rate=2e-3, seed=1), Curve([1.0, 2.0], [0.7, 0.8], 20)),
        (key(rate=2e-3, seed=2), Curve([1.0, 2.0], [0.6, 0.9], 20)),
        (key("vitmae_bf16", 1e-3), Curve([2.0, 4.0], [0.5, 0.7], 10)),
        (key("vitmae_bf16", 1e-3, seed=1), Curve([2.0, 4.0], [0.5, 0.7], 10)),
        (key("vitmae_bf16", 1e-3, seed=2), Curve([2.0, 4.0], [0.5, 0.7], 10)),
        (key("vitmae_fp32", 1e-3), Curve([2.0, 4.0], [0.5, 0.8], 10)),
    ]
    assert accuracy.chosen(curves, "spots")["ours"].rate == 2e-3, (
        "the one that is at 0.8 first, not the one that ends best"
    )
    rows = {row.name: row for row in rows_of(curves, "command")}
    row = rows["spots_ours_vs_vitmae_bf16_cpu_s_to_its_last_accuracy"]
    assert row.n == 2 and row.facts["accuracy_asked"] == pytest.approx(0.7) and row.baseline == 4.0
    assert row.ours == pytest.approx((1 + 4 / 3) / 2), "of fresh seeds, not of the one that chose"
    assert row.facts["trials"] == 1
    assert row.facts["ours_trial"] == "(0.002, 8, None, ())"
    assert rows["spots_ours_vs_vitmae_fp32_cpu_s_to_its_last_accuracy"].n == 1, (
        "where there is one seed it compares, too"
    )


def test_what_was_never_reached_has_no_ratio():
    curves = [(key(), Curve([1.0, 2.0], [0.6, 0.9], 20)), (key("vitmae_fp32"), Curve([2.0, 4.0], [0.5, 0.95], 10))]
    (row,) = rows_of(curves, "command")
    assert row.ratio is None and row.facts["not_reached"] == 1 and row.ours == 2.0


def test_averaged_weights_are_measured_and_training_goes_on_from_its_own(spots, monkeypatch):
    weight = torch.nn.Parameter(torch.zeros(1))
    peer = Peer(torch.nn.ParameterList([weight]), lambda raw, step: weight.sum(), lambda raw: raw)
    seen = []
    monkeypatch.setattr(accuracy, "WEIGHT_DECAY", 0.0)
    monkeypatch.setattr(accuracy, "neighbours", lambda peer, dataset: seen.append(weight.item()) or 0.0)
    curve = accuracy.train(peer, Precision("fp32", "asked for"), spots, key(), decay=0.9)
    went = 1e-3 * sum(min((step + 1) / accuracy.WARM_UP, 1) for step in range(curve.steps))
    assert weight.item() == pytest.approx(-went, rel=1e-3), "Adam goes its rate a step where the gradient is always 1"
    assert weight.item() < seen[-1] < 0, "the average lags behind"
