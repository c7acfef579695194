"""Series to cells and back: gaps, short samples, levels of what is visible, fills whose answer is known."""

import math

import numpy as np
import pytest
import torch

from mae_core.cells import Plan
from mae_core.data.augment import Augmentation
from mae_core.draws import Draws
from mae_core.modalities.series import SeriesModality
from mae_core.model import MaskedAutoencoder

NAN = math.nan


def series(channels=1, length=8, patch=2, **more):
    facts = {"mean": [0.0] * channels, "std": [1.0] * channels} | more
    return SeriesModality(16, channels, length, patch, **facts)


def test_cells_hold_moments_and_whether_they_are_there():
    raw = torch.tensor([[[1.0, 2, NAN, 4, NAN, NAN, 7, 8]]])
    cells = series().split(raw)
    assert cells.values[0].tolist() == [[1, 2, 1, 1], [0, 4, 0, 1], [0, 0, 0, 0], [7, 8, 1, 1]]
    assert cells.valid.tolist() == [[True, True, False, True]]
    assert cells.coords.tolist() == [[0, 0], [0, 1], [0, 2], [0, 3]]


def test_shorter_samples_are_padded():
    modality = series(length=8)
    assert modality.split(torch.ones(2, 1, 5)).valid.tolist() == [[True, True, True, False]] * 2
    filled = modality.paste(
        torch.ones(2, 1, 5), torch.full((2, 1, 2), 9.0), Plan(torch.zeros(2, 1).long(), torch.full((2, 1), 2))
    )
    assert filled.shape == (2, 1, 5) and filled[0, 0].tolist() == [1, 1, 1, 1, 9]
    with pytest.raises(ValueError, match=r"shape \(1, 1, 9\) given, this model takes \(B, 1, up to 8\)"):
        modality.split(torch.ones(1, 1, 9))


def test_the_level_is_that_of_what_is_visible():
    modality = series(channels=2, length=4, patch=2, mean=[0.0, 50.0], std=[1.0, 5.0])
    raw = torch.tensor([[[1.0, 3, 100, 100], [7, 7, 7, 7]]])
    keep = torch.tensor([[0]])
    level = modality.level(modality.split(raw), keep)
    assert level.mean[0, :, 0].tolist() == [2, 2, 50, 50]  # nothing of the second channel is visible: train's
    assert level.std[0, :, 0].tolist() == [1, 1, 5, 5]
    whole = modality.level(modality.split(raw))
    assert whole.mean[0, 0, 0] == 51 and whole.mean[0, 2, 0] == 7
    assert whole.std[0, 2, 0] == pytest.approx(0.05 * 5)  # flat: floored, not zero


def test_a_visible_level_is_undone():
    """A shift and a scale of the whole sample are invisible to the network: prediction moves with the level."""
    modality = {"kind": "series", "channels": 1, "length": 24, "patch": 4, "mean": [0.0], "std": [1.0]}
    config = {
        "modality": modality,
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": 0.5},
        "objective": {"reconstruction": 1.0, "target": "series"},
    }
    model = MaskedAutoencoder.build(config).eval()
    raw = torch.randn(3, 1, 24, generator=torch.Generator().manual_seed(0))
    plain, moved = model.reconstruct(raw, seed=1), model.reconstruct(raw * 4 + 100, seed=1)
    torch.testing.assert_close(moved.filled, plain.filled * 4 + 100, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(model.encode(raw), model.encode(raw * 4 + 100), rtol=1e-4, atol=1e-4)


def test_only_what_is_there_is_scored():
    modality = series(length=4, patch=2)
    raw = torch.tensor([[[1.0, NAN, 5, 6]]])
    assert modality.covers(raw, torch.tensor([[0]])).tolist() == [[[True, False, False, False]]]
    assert modality.error(torch.full_like(raw, 3.0), raw).tolist() == [[[4, 0, 4, 9]]]


def test_fills_by_hand():
    raw = torch.tensor([[[0.0, 1, 2, 3, 4, 5, 9, NAN]]])
    hidden = torch.tensor([[[False, False, True, True, False, True, True, False]]])
    fills = series().fills(raw, hidden)
    assert fills["linear_fill"][0, 0, :7].tolist() == [0, 1, 2, 3, 4, 4, 4]
    assert fills["last_fill"][0, 0, :7].tolist() == [0, 1, 1, 1, 4, 4, 4]
    assert fills["mean_fill"][0, 0, 2] == pytest.approx(5 / 3)
    assert all(fill[0, 0, 7].isnan() for fill in fills.values())
    quality = series().quality(fills["last_fill"], raw, hidden)
    assert quality["rmse_hidden"] == pytest.approx([math.sqrt((1 + 4 + 1 + 25) / 4)])


def test_facts_are_of_what_is_there_and_constant_channels_are_said():
    x = np.array([[[1, 3, NAN], [5, 5, 5]], [[1, 3, 2], [5, 5, 5]], [[99, 99, 99], [0, 0, 0]]], np.float32)
    facts = SeriesModality.facts(x, np.array([0, 1]), {})
    assert facts.entries == {"mean": [2.0, 5.0], "std": [pytest.approx(np.sqrt(0.8), rel=1e-5), 1.0]}
    assert facts.notes[0] == "channel 1 is constant in train" and facts.notes[1].startswith("8.3%")


@pytest.mark.parametrize("unit", [1e-14, 1.0, 1e14])
def test_a_channel_is_flat_by_its_own_scale(unit):
    """A signal, a large level with nothing but rounding around it, and the signal with a gap, in any unit."""
    wave = np.random.default_rng(0).normal(0, 10, (40, 12))
    level = np.broadcast_to(7.3, wave.shape)
    x = np.stack([wave, level * (1 + 1e-8 * wave), np.where(wave > 15, NAN, wave)], 1)
    facts = SeriesModality.facts((x * unit).astype(np.float32), np.arange(40), {})
    assert [note for note in facts.notes if "constant" in note] == ["channel 1 is constant in train"]
    assert facts.entries["std"] == pytest.approx([wave.std() * unit, 1.0, np.nanstd(x[:, 2]) * unit], rel=1e-4)
    plain = SeriesModality.plain((x * unit).astype(np.float32), {}).reshape(x.shape)
    assert (plain[:, 1] == 0).all() and plain.dtype == np.float32
    np.testing.assert_allclose(plain[:, 0].std(1), 1, rtol=1e-4)
    np.testing.assert_allclose(plain, SeriesModality.plain(x.astype(np.float32), {}).reshape(x.shape), atol=1e-5)


@pytest.mark.parametrize(("length", "patch"), [(144, 6), (24, 1), (99, 9), (97, 5), (2, 1)])
def test_default_patch_leaves_at_most_24_cells(length, patch):
    assert SeriesModality.default_patch({"sample": {"shape": [1, length]}}) == patch


def test_plain_features_have_no_level():
    x = np.array([[[1, 2, 3, NAN]], [[10, 20, 30, NAN]]], np.float32)
    plain = SeriesModality.plain(x, {})
    np.testing.assert_allclose(plain[0], plain[1], rtol=1e-5)
    assert plain.shape == (2, 4) and plain[0, 3] == 0


def test_files_of_lines_are_read():
    modality = series(length=4)
    np.testing.assert_array_equal(modality.read(b"1,2,,4\n5\t6\n"), [[[1, 2, NAN, 4]], [[5, 6, NAN, NAN]]])
    for data, words in ((b"1,x\n", "line 1"), (b"1,2,3,4,5", "at most 4"), (b"", "empty")):
        with pytest.raises(ValueError, match=words):
            modality.read(data)


def test_pictures_shade_what_is_hidden():
    modality = series(channels=2)
    raw = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    masked = raw.clone()
    masked[:, :, 4:] = NAN
    picture = modality.picture(raw, masked, raw)
    assert picture.shape == (3 * 2 * 90, 560, 3) and picture.dtype == np.uint8
    left, right = picture[:90, 20:200], picture[:90, 400:540]
    assert np.median(left) == 255 and np.median(right) < 250
    assert modality.render(raw).shape == (3, 180, 560, 3)
    assert abs(modality.render(raw * 1e-14).int() - modality.render(raw).int()).max() <= 4  # the unit is not seen


def test_excerpts_stretch_time_alone():
    """Of straight lines, an excerpt is a line of smaller slope that lies within it; each channel keeps its own."""
    draws = Draws(0, 0, torch.arange(50))
    lines = torch.stack([torch.arange(12.0), 100 - 10 * torch.arange(12.0)]).expand(50, -1, -1)
    modality = SeriesModality(8, channels=2, length=12, patch=3, mean=[0.0, 0.0], std=[1.0, 1.0])
    found = modality.augment(lines, draws, Augmentation(crop=0.5))
    slope = found[:, 0, 6] - found[:, 0, 5]
    assert (slope > 0.499).all() and (slope < 1.001).all() and slope.std() > 0.1
    assert torch.allclose(found[:, 1], 100 - 10 * found[:, 0], atol=1e-3)
    assert found[:, 0].min() >= 0 and found[:, 0].max() <= 11
    assert modality.augment(lines, draws, Augmentation()) is lines


def test_statistics_of_a_level_far_from_nought_are_exact():
    samples = (1000004.5 + 2 * np.random.default_rng(0).normal(size=(200, 1, 24))).astype(np.float32)
    facts = SeriesModality.facts(samples, np.arange(200), {}).entries
    assert facts["mean"] == [samples.astype(float).mean()] and facts["std"] == pytest.approx([2], rel=0.05)
    made, raw = SeriesModality(8, 1, 24, 4, facts["mean"], facts["std"]), torch.from_numpy(samples)
    hidden = torch.ones_like(raw, dtype=torch.bool)
    assert made.quality(made.trivial(raw, hidden), raw, hidden)["rmse_hidden"].mean() < 1.1


def test_nothing_hidden_is_no_perfect_fill():
    raw = torch.zeros(2, 1, 24)
    hidden = torch.zeros_like(raw, dtype=torch.bool)
    hidden[0, 0, :4] = True
    made = SeriesModality(8, 1, 24, 4, [0.0], [1.0])
    np.testing.assert_array_equal(made.quality(raw, raw, hidden)["rmse_hidden"], [0, np.nan])
