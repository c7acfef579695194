"""Parts encoded apart, ranks, and what a plan that fills a part hides."""

import numpy as np
import pytest
import torch

from mae_core.evaluation.parts import encode_part, fill_part, plan_to_fill, ranks, recall
from mae_core.model import MaskedAutoencoder

PARTS = [
    {"name": "picture", "kind": "image", "channels": 1, "size": [4, 4], "patch": 2, "mean": [0.5], "std": [0.3]},
    {"name": "words", "kind": "text", "context": 4, "tokens": {"kind": "characters", "known": "abc"}},
]
CONFIG = {
    "modality": {"kind": "joint", "parts": PARTS},
    "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
    "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.5},
    "objective": {"reconstruction": 1.0, "target": "parts"},
}


@pytest.fixture
def model():
    return MaskedAutoencoder.build(CONFIG).eval()


def samples(n=5):
    generator = np.random.default_rng(0)
    pixels, ids = generator.integers(0, 256, (n, 16)), generator.integers(0, 4, (n, 4))
    ids[:, 3] = -1
    return np.concatenate([pixels, ids], 1).astype(np.float32)


def test_a_part_is_encoded_without_a_look_at_the_others(model):
    raw = samples()
    other = raw.copy()
    other[:, 16:] = 2
    assert np.array_equal(encode_part(model, raw, "picture", batch=2), encode_part(model, other, "picture", batch=2))
    assert not np.array_equal(encode_part(model, raw, "words"), encode_part(model, other, "words"))


def test_ranks_as_by_hand():
    queries, keys = np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([[2.0, 0], [1, 0.1], [1, 1.1]])
    found = ranks(queries, keys)
    assert found.tolist() == [0, 1, 0]
    assert recall(found, 1).tolist() == [1, 0, 1] and recall(found, 2).all()
    assert ranks(np.ones((4, 2)), np.ones((4, 2))).tolist() == [3] * 4


def test_a_part_is_drawn_from_the_others_alone(model):
    raw = samples()
    found = fill_part(model, raw, "picture", batch=2)
    assert found.shape == (5, 1, 4, 4) and found.dtype == np.uint8
    lacking = raw.copy()
    lacking[:, :16] = np.nan
    assert np.array_equal(found, fill_part(model, lacking, "picture"))
    told_otherwise = raw.copy()
    told_otherwise[:, 16:19] = (told_otherwise[:, 16:19] + 1) % 4
    assert not np.array_equal(found, fill_part(model, told_otherwise, "picture"))


def test_a_plan_hides_what_is_asked(model):
    raw = torch.from_numpy(samples(2))
    plan = plan_to_fill(model, raw, "words", torch.tensor([[True, False, True, True], [False, True, False, False]]))
    for row, (hidden, kept) in enumerate((({4, 6}, {0, 1, 2, 3, 5}), ({5}, {0, 1, 2, 3, 4, 6}))):
        assert set(plan.hide[row][plan.hide_ok[row]].tolist()) == hidden
        assert set(plan.keep[row][plan.keep_ok[row]].tolist()) == kept
