"""Histograms of oriented gradients, against a loop over pixels in double precision."""

import math

import numpy as np
import pytest
import torch

from mae_core.cells import Plan
from mae_core.modalities.image import ImageModality
from mae_core.modalities.video import VideoModality
from mae_core.targets.hog import BINS, EPS, Hog, histograms, largest_divisor


def by_hand(picture, window):
    """(H, W) → (H / h, W / w, 9)."""
    height, width = picture.shape
    found = np.zeros((height // window[0], width // window[1], BINS))
    for y in range(height):
        for x in range(width):
            gx = picture[y, min(x + 1, width - 1)] - picture[y, max(x - 1, 0)]
            gy = picture[min(y + 1, height - 1), x] - picture[max(y - 1, 0), x]
            turn = (math.atan2(gy, gx) % math.pi) / math.pi * BINS - 0.5
            low = math.floor(turn)
            size = math.hypot(gx, gy)
            place = found[y // window[0], x // window[1]]
            place[low % BINS] += size * (1 - (turn - low))
            place[(low + 1) % BINS] += size * (turn - low)
    found /= window[0] * window[1]
    return found / (np.linalg.norm(found, axis=-1, keepdims=True) + EPS)


@pytest.mark.parametrize("window", [(4, 4), (2, 3), (8, 12)])
def test_as_a_loop_over_pixels(window):
    picture = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    found = histograms(picture, window)
    assert found.shape == (2, 3, 8 // window[0], 12 // window[1], 9)
    for i in range(2):
        for c in range(3):
            np.testing.assert_allclose(found[i, c], by_hand(picture[i, c].double().numpy(), window), atol=1e-5)


def test_brightness_and_contrast_change_nothing_and_flat_places_say_nothing():
    picture = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(histograms(picture, (4, 4)), histograms(30 * picture + 5, (4, 4)), atol=1e-3, rtol=0)
    assert not histograms(torch.full((1, 8, 8), 0.3), (4, 4)).any()


def test_an_edge_votes_for_its_direction():
    across = torch.zeros(16, 16)
    across[:, 8:] = 1
    # a gradient along x lies between the first orientation and the last, half a turn away
    assert set(histograms(across, (16, 16)).flatten().topk(2).indices.tolist()) == {0, BINS - 1}
    assert histograms(across.T, (16, 16)).flatten().argmax() == BINS // 2


@pytest.mark.parametrize(("side", "window"), [(16, 8), (7, 7), (4, 4), (14, 7), (1, 1), (11, 1)])
def test_windows_tile_a_patch(side, window):
    assert largest_divisor(side) == window


def test_cells_hold_the_windows_of_their_place():
    modality = ImageModality(8, 2, [32, 48], 16)
    raw = torch.randint(0, 256, (2, 2, 32, 48), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    target = Hog(modality)
    cells = modality.split(raw)
    found = target.target(cells, Plan(torch.zeros(2, 1).long(), torch.zeros(2, 1).long()))
    whole = histograms(modality.scale(raw), (8, 8))
    assert found.shape == (2, 6, 2 * 2 * 2 * 9) and target.head(8)(torch.zeros(2, 1, 8), None).shape[-1] == 72
    for cell, (row, column) in enumerate(modality.coords.long().tolist()):
        own = whole[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        torch.testing.assert_close(found[:, cell].view(2, 2, 2, 2, 9), own.permute(0, 2, 3, 1, 4))


def test_a_clip_has_histograms_for_every_frame():
    modality = VideoModality(8, 1, [4, 8, 8], [2, 4, 4])
    raw = torch.randint(0, 256, (1, 1, 4, 8, 8), generator=torch.Generator().manual_seed(3)).to(torch.uint8)
    found = Hog(modality).target(modality.split(raw), Plan(torch.zeros(1, 1).long(), torch.zeros(1, 1).long()))
    whole = histograms(modality.scale(raw), (4, 4))
    assert found.shape == (1, 8, 18)
    for cell, (moment, row, column) in enumerate(modality.coords.long().tolist()):
        torch.testing.assert_close(found[0, cell].view(2, 9), whole[0, 0, 2 * moment : 2 * moment + 2, row, column])


def test_it_cannot_be_shown():
    with pytest.raises(ValueError, match=r"'hog' predicts what cannot be shown .* objective\.targets"):
        Hog(ImageModality(8, 1, [8, 8], 4)).decode(torch.zeros(1, 1, 9), None, None)
    with pytest.raises(ValueError, match="is for pictures, not for object"):
        Hog(object())
