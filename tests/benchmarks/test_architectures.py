"""The sweep over architectures: every pair that fits, what was measured is kept, and the front is what nothing beats."""

import json

import numpy as np
import pytest
from project import write_dataset

from benchmarks import architectures
from benchmarks.scatter import Point, draw, front
from mae_core.data.dataset import open_dataset
from mae_core.model import MaskedAutoencoder


@pytest.fixture
def dataset(tmp_path):
    write_dataset(tmp_path, n=60)
    return open_dataset(tmp_path / "data" / "tiny")


def test_every_pair_that_fits_and_every_option_is_a_model(dataset):
    names = [case.name for case in architectures.cases(dataset.info, [0, 1], 5, 4)]
    assert len(names) == 2 * len(set(names)) and "conv-unet" in names and "vit-unet" not in names
    for case in architectures.cases(dataset.info, [0], 5, 4):
        MaskedAutoencoder.build(case.config)
    files = {case.file for case in architectures.cases(dataset.info, [0, 1], 5, 4)}
    assert len(files) == len(names), "every case has a file of its own"


def test_a_sweep_goes_on_where_it_was(dataset, tmp_path, monkeypatch):
    wanted = [c for c in architectures.cases(dataset.info, [0], 4, 8) if c.name in ("vit-linear", "conv-unet")]
    first = architectures.sweep(wanted[:1], dataset, tmp_path / "out")
    measured = []
    real = architectures.measure
    monkeypatch.setattr(architectures, "measure", lambda case, data: measured.append(case.name) or real(case, data))
    both = architectures.sweep(wanted, dataset, tmp_path / "out")
    assert measured == [wanted[1].name] and both[0] == first[0]
    assert architectures.sweep(wanted, dataset, tmp_path / "out") == both and len(measured) == 1
    rows = architectures.rows_of(both)
    assert [row.name for row in rows] == ["vit-linear_knn_accuracy_vs_untrained", "conv-unet_knn_accuracy_vs_untrained"]
    assert all(0 <= row.ours <= 1 and row.facts["seconds"] > 0 and row.facts["gflop"] > 0 for row in rows)
    assert rows[0].low is None and rows[0].n == 1, "one seed has no interval"
    architectures.picture(both, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "out" / wanted[0].file).read_text())["name"] == wanted[0].name


def test_three_seeds_have_an_interval():
    one = architectures.Outcome("a", 0, 1.0, 0.5, 0.5, 0.8, 2.0, 1e9, 10)
    (row,) = architectures.rows_of([one._replace(seed=seed, pretrained=0.8 + seed / 20) for seed in range(3)])
    assert row.n == 3 and row.low < row.ratio < row.high
    assert row.ours == pytest.approx(0.85) and row.ratio == pytest.approx(1.7)


def test_the_front_is_what_nothing_beats():
    points = [Point("a", 1, 0.5), Point("b", 2, 0.4), Point("c", 2, 0.7), Point("d", 3, 0.7), Point("e", 9, 0.9)]
    assert [point.name for point in front(points)] == ["a", "c", "e"]
    image = draw(points, "seconds", "accuracy")
    assert image.shape == (460, 900, 3) and image.dtype == np.uint8
    assert not np.array_equal(image, draw(points[:2], "seconds", "accuracy"))
    with pytest.raises(ValueError, match="nothing was measured"):
        draw([], "seconds", "accuracy")
