"""What modalities measure of cells, against the same by hand."""

from __future__ import annotations

import math

import torch

from mae_core.modalities.audio import AudioModality
from mae_core.modalities.image import ImageModality
from mae_core.modalities.series import SeriesModality
from mae_core.modalities.video import VideoModality


def test_variance_of_a_picture_is_that_of_its_patches():
    modality = ImageModality(16, 1, [4, 6], [2, 3])
    scaled = torch.arange(24.0).view(1, 1, 4, 6)
    found = modality.detail(modality.split(scaled), "variance")
    by_hand = scaled.view(2, 2, 2, 3).transpose(1, 2).reshape(1, 4, 6).var(-1, correction=0)
    torch.testing.assert_close(found, by_hand)


def test_edges_are_where_the_picture_changes():
    """A step between the second and third column: cells of the first two columns hold it, and nothing else does."""
    modality = ImageModality(16, 1, [4, 8], 2)
    scaled = torch.zeros(1, 1, 4, 8)
    scaled[..., 2:] = 3.0
    found = modality.detail(modality.split(scaled), "edges").view(2, 4)
    assert found.tolist() == [[1.5, 0, 0, 0], [1.5, 0, 0, 0]]


def test_motion_is_the_change_of_a_place():
    modality = VideoModality(16, 1, (3, 2, 4), (1, 2, 2))
    scaled = torch.zeros(1, 1, 3, 2, 4)
    scaled[0, 0, 1, :, :2] = 2.0
    found = modality.detail(modality.split(scaled), "motion").view(3, 2)
    assert found.tolist() == [[2, 0], [2, 0], [2, 0]]
    still = modality.detail(modality.split(torch.ones(1, 1, 3, 2, 4)), "motion")
    assert not still.any()


def test_sound_counts_what_is_known():
    config = AudioModality.examples()["any length"].config
    modality = AudioModality(16, **config)
    raw = torch.full((1, 8, 8), -60.0)
    raw[0, 2:4, :4] += torch.tensor([[-15.0], [15.0]])
    raw[0, 5:] = math.nan
    cells = modality.split(raw)
    variance, motion = (modality.detail(cells, name).view(4, 2) for name in ("variance", "motion"))
    assert variance[1, 0] == 1 and not variance[0].any() and not variance[1, 1] and torch.isfinite(variance).all()
    assert not motion.any(), "the mean of a cell stands still, also where half of it is behind the end"
    raw[0, 2:4, 4:] += 30
    assert modality.detail(modality.split(raw), "motion").view(4, 2).tolist() == [[0, 2], [0, 2], [0, 2], [0, 0]]


def test_series_are_measured_in_units_of_their_channel():
    modality = SeriesModality(16, 2, 6, 2, [0.0, 0.0], [1.0, 10.0])
    raw = torch.tensor([[[0.0, 0.0, 1.0, 3.0, 3.0, math.nan], [0.0, 0.0, 10.0, 30.0, 30.0, 30.0]]])
    cells = modality.split(raw)
    variance, motion = (modality.detail(cells, name).view(2, 3) for name in ("variance", "motion"))
    torch.testing.assert_close(variance, torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]))
    torch.testing.assert_close(motion, torch.tensor([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0]]))
