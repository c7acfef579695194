"""Fills against surfaces that are known, quality against numbers made by hand, pictures of the right pixels."""

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from mae_core.evaluation.image_quality import CELL, GAP, _schedule, harmonic_fill, heat, mean_fill, measure


def hole(shape, rows, columns):
    hidden = torch.zeros(shape, dtype=torch.bool)
    hidden[..., rows, columns] = True
    return hidden


def test_mean_fill_takes_the_visible_mean_of_each_image_and_channel():
    raw = torch.tensor([10, 20, 30, 200], dtype=torch.uint8).view(1, 1, 2, 2)
    raw = torch.cat([raw, raw + 40], 1)
    filled = mean_fill(raw, hole(raw.shape, 1, 1))
    assert filled[0, :, 1, 1].tolist() == [20, 60]
    assert torch.equal(filled[..., 0, :], raw[..., 0, :])
    assert mean_fill(raw, torch.ones_like(raw, dtype=torch.bool)).max() == 0  # nothing seen, nothing known


@pytest.mark.parametrize("direction", ["down", "across", "slanted"])
def test_harmonic_fill_is_exact_on_linear_ramps(direction):
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    ramp = {"down": 10 * y, "across": 7 * x + 20, "slanted": 4 * y + 8 * x}[direction].to(torch.uint8)[None, None]
    hidden = hole(ramp.shape, slice(4, 12), slice(3, 13))
    assert torch.equal(harmonic_fill(ramp, hidden), ramp)
    assert (mean_fill(ramp, hidden) != ramp).any()


def surface(raw, hidden):
    """(H, W) float: the harmonic surface through the visible pixels of (H, W), solved as one linear system."""
    place = -np.ones(raw.shape, int)
    place[hidden] = np.arange(hidden.sum())
    system, known = lil_matrix((hidden.sum(),) * 2), np.zeros(hidden.sum())
    for row, column in zip(*np.nonzero(hidden)):
        at = place[row, column]
        for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= y < raw.shape[0] and 0 <= x < raw.shape[1]:
                system[at, at] += 1
                if hidden[y, x]:
                    system[at, place[y, x]] = -1
                else:
                    known[at] += raw[y, x]
    filled = raw.astype(float)
    filled[hidden] = spsolve(system.tocsr(), known)
    return filled


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("hole_of", ["half", "all but a row", "block"])
def test_harmonic_fill_settles_in_large_holes(side, hole_of):
    y, x = np.mgrid[:side, :side] / side
    noise = np.random.default_rng(0).normal(0, 10, (side, side))
    raw = (128 + 60 * np.sin(5 * x + 2) * np.cos(4 * y) + noise).clip(0, 255).astype(np.uint8)
    rows = {"half": slice(side // 2, None), "all but a row": slice(1, None), "block": slice(8, -8)}[hole_of]
    hidden = hole((side, side), rows, slice(8, -8) if hole_of == "block" else slice(None))
    filled = harmonic_fill(torch.from_numpy(raw)[None, None], hidden[None, None])[0, 0].numpy()
    assert np.abs(filled - surface(raw, hidden.numpy())).max() < 0.65, "half a level is rounded away"


def test_small_images_are_filled_as_they_always_were():
    assert _schedule(28) == _schedule(60) == (200, 1.9)


def test_harmonic_fill_keeps_between_its_borders_and_reflects_at_the_edge():
    raw = torch.randint(50, 100, (2, 1, 12, 12), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    filled = harmonic_fill(raw, hole(raw.shape, slice(0, 6), slice(0, 12)))
    assert filled.min() >= 50 and filled.max() <= 99
    flat = torch.full((1, 1, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(harmonic_fill(flat, hole(flat.shape, slice(0, 7), slice(None))), flat)


def test_psnr_by_hand():
    truth = np.zeros((1, 1, 8, 8), np.uint8)
    image, hidden = truth.copy(), np.zeros(truth.shape, bool)
    image[..., :2, :], hidden[..., :4, :] = 51, True  # an error of 0.2 in a quarter of the image, in half of the hole
    found = measure(image, truth, hidden)
    assert found["psnr"][0] == pytest.approx(-10 * np.log10(0.04 / 4))
    assert found["psnr_hidden"][0] == pytest.approx(-10 * np.log10(0.04 / 2))
    perfect = measure(truth, truth, hidden)
    assert (
        perfect["psnr"][0] == pytest.approx(100) and perfect["ssim"][0] == pytest.approx(1) == perfect["ssim_hidden"][0]
    )


def test_ssim_falls_with_noise_and_small_images_have_a_window():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (3, 2, 9, 9)).astype(np.uint8)
    noisy = np.clip(truth + rng.normal(0, 40, truth.shape), 0, 255).astype(np.uint8)
    found = measure(noisy, truth, np.ones(truth.shape, bool))
    assert found["ssim"].shape == (3,) and (found["ssim"] < 0.99).all() and (found["ssim"] > 0.3).all()
    small = truth[..., :4, :4]
    assert measure(small, small, np.zeros(small.shape, bool))["ssim_hidden"] == pytest.approx(np.ones(3))


def test_picture_shows_original_masked_reconstruction_and_error(model, images):
    samples, _ = images(3)
    raw = torch.from_numpy(samples)
    made = raw.clone()
    made[:, :, 0, 0] = 255 - made[:, :, 0, 0]
    picture = model.modality.picture(raw, raw // 2, made)
    scale = -(-CELL // 8)
    side = 8 * scale
    assert picture.dtype == np.uint8 and picture.shape == (3 * side + 2 * GAP, 4 * side + 3 * GAP, 3)
    second = picture[side + GAP : 2 * side + GAP]
    tiles = [second[:, i * (side + GAP) : i * (side + GAP) + side] for i in range(4)]
    np.testing.assert_array_equal(tiles[0][::scale, ::scale, 0], samples[1, 0])
    np.testing.assert_array_equal(tiles[1][::scale, ::scale, 2], samples[1, 0] // 2)
    np.testing.assert_array_equal(tiles[2][::scale, ::scale, 1], made[1, 0].numpy())
    heat = tiles[3][::scale, ::scale].astype(int).sum(-1)
    assert heat[0, 0] > heat[1, 1] and len(np.unique(heat)) == 2
    assert (picture[side : side + GAP] == 255).all()


def test_error_colours_are_black_where_right():
    truth = np.zeros((2, 2, 3), np.uint8)
    made = truth.copy()
    made[0, 0] = 255
    found = heat(made, truth).astype(int).sum(-1)
    assert found[1, 1] <= 4 and found[0, 0] > 600
