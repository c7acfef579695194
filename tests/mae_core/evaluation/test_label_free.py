"""Measures without labels, against cases whose answer is known."""

import numpy as np
import pytest
import torch

from mae_core.evaluation.label_free import explained, explains, lidar, masked_views
from mae_core.model import MaskedAutoencoder
from mae_core.registry import resolve
from mae_core.targets import TARGETS


def test_views_differ_by_mask_and_repeat(model, images):
    samples, _ = images(6)
    views = masked_views(model, samples, views=3)
    assert views.shape == (6, 3, 16) and views.dtype == np.float32
    np.testing.assert_array_equal(views, masked_views(model, samples, views=3))
    assert not np.allclose(views[:, 0], views[:, 1])


def test_lidar_counts_directions_in_which_samples_differ_more_than_views():
    rng = np.random.default_rng(0)
    noise = 0.01 * rng.normal(size=(400, 4, 6))
    directions = np.zeros((400, 1, 6))
    directions[:, 0, :3] = rng.normal(size=(400, 3))
    assert lidar(directions + noise, delta=1e-6) == pytest.approx(3, abs=0.2)
    assert lidar(np.broadcast_to(directions[:, :, :1], (400, 4, 6)) + noise) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("n", "q", "width"), [(1000, 8, 64), (400, 8, 128), (100, 8, 128), (60, 3, 8)])
def test_lidar_of_what_sees_nothing_is_one(n, q, width):
    """Views that differ by their masks alone, at any size: whitened, their means would have nearly full rank."""
    rng = np.random.default_rng(2)
    scale = np.exp(rng.normal(size=width))
    views = 3 + scale * rng.normal(size=(n, q, width))
    assert lidar(views) < 2
    seen = views + 2 * scale * rng.normal(size=(n, 1, width)) * (np.arange(width) < width // 4)
    assert width // 8 < lidar(seen) < width // 4 + 2


def test_lidar_of_too_few_samples_tells_nothing():
    assert lidar(np.random.default_rng(3).normal(size=(9, 2, 20))) == 1


def test_lidar_does_not_change_when_features_are_shifted():
    views = np.random.default_rng(1).normal(size=(50, 3, 5))
    assert lidar(views + 7) == pytest.approx(lidar(views))


def test_lidar_needs_two_of_each():
    for shape in ((1, 3, 4), (3, 1, 4)):
        with pytest.raises(ValueError, match="needs 2 samples of 2 views"):
            lidar(np.zeros(shape))


def test_explained_is_one_for_a_perfect_fill_and_nothing_for_the_best_constant(model, images, monkeypatch):
    samples, _ = images(8)
    model.modality.mean.fill_(0.4)
    monkeypatch.setattr(type(model.modality), "paste", lambda self, raw, values, plan: raw)
    assert explained(model, samples) == pytest.approx(1)

    def constant(self, raw, values, plan):
        return torch.where(self.covers(raw, plan.hide), 102, raw)

    monkeypatch.setattr(type(model.modality), "paste", constant)
    assert explained(model, samples) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("part", ["picture", "words"])
def test_parts_count_alike_whatever_the_unit_and_number_of_their_entries(config, monkeypatch, part):
    """One part filled in perfectly, the best constant in the other: squared pixels and right or wrong pieces do not add up."""
    picture = {"channels": 1, "size": [8, 8], "patch": 4, "mean": [0.5], "std": [0.3]}
    words = {"context": 6, "tokens": {"kind": "characters", "known": "abc"}, "log_shares": [-5.0, -1.0, -2.0, -2.0]}
    parts = [{"name": "picture", "kind": "image", **picture}, {"name": "words", "kind": "text", **words}]
    joint = {"modality": {"kind": "joint", "parts": parts}, "objective": {"reconstruction": 1.0, "target": "parts"}}
    model = MaskedAutoencoder.build({**config, **joint})
    random = np.random.default_rng(0)
    raw = np.concatenate([random.integers(0, 256, (12, 64)), random.integers(0, 4, (12, 6))], 1).astype(np.float32)
    raw[3:6, :64] = raw[6:8, 64:] = np.nan

    def paste(self, raw, values, plan):
        filled, entries = self.trivial(raw, self.covers(raw, plan.hide, plan.hide_ok)), self.layout.entries
        at = entries[self.names.index(part)]
        filled[:, at] = raw[:, at]
        return filled

    monkeypatch.setattr(type(model.modality), "paste", paste)
    assert explained(model, raw) == pytest.approx(0.5, abs=1e-6)
    alone = model.modality.only(torch.from_numpy(raw[:3]), part).numpy()
    assert explained(model, alone) == pytest.approx(1), "a part of which nothing is hidden says nothing"


def test_nothing_is_explained_by_what_hidden_cells_lend(model, images):
    """A head that says nothing would explain most of a picture by each cell's own mean, the more the smaller the cells."""
    samples, _ = images(8)
    assert [name for name in TARGETS if not explains(resolve(TARGETS, name, "target"))] == [
        "norm_pixels", "hog", "norm_values", "latent", "features",
    ]  # fmt: skip
    for target in ("norm_pixels", "hog"):
        with pytest.raises(ValueError, match=f"target '{target}' has no variance explained"):
            explained(
                MaskedAutoencoder.build({**model.config, "objective": {"reconstruction": 1.0, "target": target}}),
                samples,
            )


def test_explained_does_not_depend_on_how_samples_are_cut_into_batches(model, images, monkeypatch):
    samples, _ = images(9)
    whole = explained(model, samples)
    monkeypatch.setattr("mae_core.evaluation.label_free.BATCH", 4)
    assert explained(model, samples) == pytest.approx(whole, rel=1e-5)
