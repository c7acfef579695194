"""Optical flow sees motion, fills are measured where they fill, and gains have the right sign."""

import json
import shutil

import numpy as np
import pytest
from project import ROOT

from benchmarks import video
from benchmarks.flow import BINS, DIRECTIONS, flow_histograms, pooled
from mae_core.data.pack import Rules, pack
from mae_core.data.sources import Part, Source
from mae_core.data.sources.moving import DIRECTIONS as NAMES
from mae_core.model import MaskedAutoencoder


def texture(steps: list[tuple[int, int]]) -> np.ndarray:
    """(1, 1, T, 32, 32): a noisy square that is moved by (down, right) from each frame to the next."""
    field = np.zeros((32, 32), np.uint8)
    field[10:22, 10:22] = np.random.default_rng(0).integers(60, 256, (12, 12))
    frames = [field]
    for down, right in steps:
        frames.append(np.roll(frames[-1], (down, right), (0, 1)))
    return np.stack(frames)[None, None]


@pytest.mark.parametrize(
    ("step", "direction", "pace"),
    [((0, 1), "right", 0), ((0, 2), "right", 1), ((2, 2), "down right", 2), ((-3, 0), "up", 2), ((0, -2), "left", 1)],
)
def test_flow_points_where_things_go(step, direction, pace):
    found = flow_histograms(texture([step] * 2))
    assert found.shape == (1, 2, BINS)
    share = found[0] / found[0].sum(1, keepdims=True)
    assert (share[:, 1 + pace * DIRECTIONS + NAMES.index(direction)] > 0.6).all()


def test_what_stands_still_has_a_bin_of_its_own():
    found = flow_histograms(texture([(0, 0)]))
    assert found[0, 0, 0] > 0 and found[0, 0, 1:].sum() == 0


def test_pooling_keeps_the_order_of_time():
    histograms = np.arange(15, dtype=np.float32)[None, :, None] * np.ones(BINS, np.float32)
    assert pooled(histograms, 1)[0, 0] == 105 and pooled(histograms, 3).shape == (1, 3 * BINS)
    assert pooled(histograms, 3)[0, ::BINS].tolist() == [10, 35, 60]


def test_a_row_says_who_is_better():
    ours, theirs = np.linspace(0.1, 0.2, 50), np.linspace(0.2, 0.5, 50)
    row = video._row("x_mse", ours, theirs, -1, frames_apart=2)
    assert row.facts["gain"] == pytest.approx(0.2) and row.facts["gain_low"] > 0 and row.facts["frames_apart"] == 2
    assert row.ratio == pytest.approx(0.15 / 0.35) and row.n == 50
    assert video._row("x_accuracy", ours, theirs, 1).facts["gain_high"] < 0


def test_the_best_probe_is_chosen_on_validation():
    random = np.random.default_rng(0)
    labels = {split: np.arange(60) % 2 for split in video.SPLITS}
    told = {split: labels[split][:, None] + 0.1 * random.normal(size=(60, 3)) for split in video.SPLITS}
    untold = {split: random.normal(size=(60, 3)) for split in video.SPLITS}
    probe, features = video.best_probe([untold, told], labels)
    assert features is told and (probe.predict(features["test"]) == labels["test"]).all()


def test_fills_of_the_last_frames():
    """On clips whose velocity never changes, carrying on is right and copying is not."""
    config = {
        "modality": {"kind": "video", "channels": 1, "size": [16, 32, 32], "patch": [4, 16, 16], "stride": 1},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": "line", "ratio": 0.5},
        "objective": {"reconstruction": 1.0, "target": "pixels"},
    }
    clips = np.concatenate([texture([(0, 1)] * 5 + [(0, 0)] * 5 + [(1, 0)] * 5), texture([(0, 0)] * 8 + [(0, -1)] * 7)])
    rows = {row.name: row for row in video.fill_rows(MaskedAutoencoder.build(config), clips, clips)}
    assert rows["last_4_frames_mse_vs_constant_velocity"].baseline == pytest.approx(0, abs=2e-3)
    assert rows["last_4_frames_mse_vs_copy_last"].baseline > 0.01
    assert rows["last_4_frames_mse_vs_mean_colour"].n == 2


def test_one_command_measures_everything(tmp_path, monkeypatch, capsys):
    """Three datasets of the same few clips, two steps of training."""
    (tmp_path / "experiments" / "recipes").mkdir(parents=True)
    shutil.copy(ROOT / "experiments" / "recipes" / "moving.yaml", tmp_path / "experiments" / "recipes")
    clips = np.concatenate([texture([(0, (-1) ** (t % 5 > i % 3)) for t in range(15)]) for i in range(24)])
    clips += np.arange(24, dtype=np.uint8).reshape(-1, 1, 1, 1, 1)
    for label in video.LABELS:
        parts = [Part(split, clips, np.arange(24) % 3, [str(i) for i in range(24)]) for split in video.SPLITS]
        rules = Rules(f"moving_{label}", "video", "CC0", "made by the tests (synthetic)", True, {})
        pack(Source(parts, ["a", "b", "c"], [], 0, [], {"stride": 1}), rules, tmp_path / "data" / rules.name)
    monkeypatch.setattr(video, "OUT", tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["video", "--steps", "2"])
    video.main(tmp_path)
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "video.json").read_text())["rows"]}
    assert {
        f"{label}_accuracy_vs_{who}" for label in video.LABELS for who in ("untrained", "flow_histogram", "pca")
    } < set(rows)
    assert rows["direction_accuracy_vs_flow_histogram"]["baseline"] == 1.0, "the classes are motions"
    assert rows["last_4_frames_mse_vs_copy_last"]["n"] == 24 and "step 2: loss" in capsys.readouterr().out
    assert (tmp_path / "out" / "video.png").is_file()
