"""The benchmark of loading: both ways cut the same boxes and agree where every pixel is decoded."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import data
from mae_core.data.jpeg import JpegFiles, random_boxes
from mae_core.draws import Draws


def test_both_ways_give_the_same_pictures(tmp_path):
    size = (230, 260)
    files = JpegFiles(data.write_photos(tmp_path, 4, size, 1.5), data.CROP)
    draws = Draws(0, 3, torch.arange(4))
    boxes = random_boxes(torch.tensor([size]).expand(4, 2), data.CROP, draws, files.area)
    theirs = data.usual(files.photos, boxes, draws.uniform("flip") < 0.5)
    found = files.crops(draws)
    assert found.shape == theirs.shape == (4, 3, 224, 224)
    assert (found.float() - theirs.float()).abs().mean() < 1
    assert found.float().std() > 20, "the pictures hold something"


def test_busy_files_are_larger(tmp_path):
    sizes = {}
    for kind, fall in data.FALLS.items():
        (tmp_path / kind).mkdir()
        sizes[kind] = data.write_photos(tmp_path / kind, 1, (224, 224), fall)[0].stat().st_size
    assert sizes["soft"] < 0.6 * sizes["busy"]


def test_a_row_says_what_was_measured(monkeypatch):
    monkeypatch.setattr(data, "SIZES", {"60x80": (60, 80)})
    monkeypatch.setattr(data, "CROP", (16, 16))
    row = data.measure("soft", "60x80", 2, 2, "command")
    assert row.name == "soft_60x80_decode_crop_flip_vs_pillow_ms_per_image" and row.n == 2
    assert row.ours > 0 and row.facts["times_as_fast"] == pytest.approx(1 / row.ratio)
    assert 0 < row.facts["kilobytes_per_file"] < 20


def test_cuttings_are_photographs(tmp_path):
    first, second = data.write_cuttings(tmp_path, 2, (96, 96))
    with Image.open(first) as china, Image.open(second) as flower:
        assert china.size == flower.size == (96, 96) and china.format == "JPEG"
        assert np.asarray(china.convert("L")).std() > 20 and np.asarray(flower.convert("L")).std() > 20
