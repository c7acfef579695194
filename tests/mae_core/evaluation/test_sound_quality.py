"""Fills and measures of spectrograms, and their picture."""

from __future__ import annotations

import numpy as np
import torch

from mae_core.evaluation.sound_quality import linear_fill, mean_fill, measure, picture_rows

NAN = float("nan")


def test_mean_fill_goes_by_band():
    raw = torch.tensor([[[1.0, 10.0], [3.0, 20.0], [9.0, 90.0], [NAN, NAN]]])
    hidden = torch.tensor([[[False, True], [False, True], [True, True], [False, False]]])
    found = mean_fill(raw, hidden)
    assert found[0, :3].tolist() == [[1, 2], [3, 2], [2, 2]], (
        "a band without a visible value gets the mean of the sound"
    )
    assert found[0, 3].isnan().all()


def test_linear_fill_draws_straight_lines_over_time():
    ramp = torch.arange(8.0).view(1, 8, 1) * 2 + torch.tensor([0.0, 100.0])
    hidden = torch.zeros_like(ramp, dtype=torch.bool)
    hidden[0, 2:5, 0] = hidden[0, 0, 1] = hidden[0, 6:, 1] = True
    found = linear_fill(ramp, hidden)
    assert torch.equal(found[0, :, 0], ramp[0, :, 0])
    assert found[0, :, 1].tolist() == [102, 102, 104, 106, 108, 110, 110, 110], "flat beyond the outermost"


def test_a_band_without_anything_visible_is_filled_from_its_neighbours():
    raw = torch.tensor([[[0.0, 5.0, 8.0], [2.0, 5.0, 6.0], [NAN, NAN, NAN]]])
    hidden = torch.zeros_like(raw, dtype=torch.bool)
    hidden[0, :2, 1] = True
    found = linear_fill(raw, hidden)
    assert found[0, :2, 1].tolist() == [4, 4] and found[0, 2].isnan().all()


def test_fills_are_blind_to_what_is_hidden():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(3, 10, 6, generator=generator)
    hidden = torch.rand(3, 10, 6, generator=generator) < 0.7
    for fill in (mean_fill, linear_fill):
        a, b = fill(raw, hidden), fill(torch.where(hidden, 99.0, raw), hidden)
        assert torch.equal(a, b) and torch.equal(a[~hidden], raw[~hidden]) and torch.isfinite(a).all()
        assert torch.isfinite(fill(raw, torch.ones_like(hidden))).all()


def test_measures():
    raw = torch.zeros(2, 4, 4)
    raw[0, 3] = NAN
    filled, hidden = raw.clone(), torch.zeros(2, 4, 4, dtype=torch.bool)
    hidden[0, 0] = True
    filled[0, 0] = torch.tensor([3.0, -3.0, 3.0, 5.0])
    found = measure(filled, raw, hidden)
    np.testing.assert_allclose(found["rmse_db_hidden"], [np.sqrt(13), NAN])
    np.testing.assert_allclose(found["mae_db_hidden"], [3.5, NAN])
    assert next(iter(found)) == "rmse_db_hidden"


def test_picture():
    shown = np.zeros((2, 40, 32, 3), np.uint8)
    error = np.zeros((2, 32, 40), np.float32)
    error[0, 0, 0], error[0, 1, 0], error[1, 16:] = 99.0, 10.0, NAN
    picture = picture_rows(shown, shown, shown, error)
    assert picture.shape == (2 * 200 + 4, 4 * 160 + 12, 3) and picture.dtype == np.uint8
    heat = picture[:, -160:]
    assert heat[199, 0].tolist() == [252, 255, 164] and heat[0, 0].tolist() == [0, 0, 4]
    assert heat[199, 5].tolist() == [87, 16, 110] and (heat[204:, 80:] == 255).all()
