"""``maestro masks --model``: what a trained model hides, and how often of each cell."""

from __future__ import annotations

import re

import pytest
from PIL import Image
from project import make_project

from mae_core.model import MaskedAutoencoder
from pipelines.masks import draw_own_masks

WEIGHTS = [1.0] * 8 + [0.0] * 8


@pytest.fixture
def root(tmp_path):
    return make_project(tmp_path / "project")


@pytest.fixture
def model(root):
    """Hides the upper half of pictures of 4 × 4 cells, always."""
    config = {
        "modality": {"kind": "image", "channels": 1, "size": [8, 8], "patch": 2, "mean": [0.5], "std": [0.3]},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": "weight_map", "ratio": 0.5, "weights": WEIGHTS},
        "objective": {"reconstruction": 1.0, "target": "pixels"},
    }
    return MaskedAutoencoder.build(config, seed=4).save(root / "models" / "tiny" / "seed-0")


def test_they_are_drawn_and_counted(root, model):
    lines = draw_own_masks(root / "own.png", model, "tiny", None, 4, root).splitlines()
    assert re.fullmatch(r"how often each cell is hidden, % of \d+ samples at 50%:", lines[0])
    assert [line.split() for line in lines[1:5]] == [["100"] * 4] * 2 + [["0"] * 4] * 2
    assert lines[5] == "evenness 0.50 (1: all cells alike)" and lines[6].startswith("agreement 1.00 ")
    assert lines[7] == str(root / "own.png")
    with Image.open(root / "own.png") as picture:
        assert picture.width > 300 and picture.height > 200


def test_samples_that_the_model_does_not_take_are_refused(root, model):
    described = root / "data" / "tiny" / "dataset.json"
    described.write_text(described.read_text().replace('"modality": "image"', '"modality": "video"'))
    with pytest.raises(ValueError, match="seed-0: the model takes samples of modality image, tiny holds video"):
        draw_own_masks(root / "own.png", model, "tiny", None, 4, root)
    assert not (root / "own.png").exists()


def test_letters_are_for_every_strategy_alone(root, model):
    with pytest.raises(ValueError, match=r"own\.txt: masks of a model are drawn as a picture, name a \.png"):
        draw_own_masks(root / "own.txt", model, "tiny", None, 4, root)
