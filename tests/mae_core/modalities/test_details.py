"""What modalities measure of cells, against the same by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mae_core.cells import Context
from mae_core.draws import Draws
from mae_core.masking.content import EdgesMasker, MotionMasker
from mae_core.masking.plan import plan_from_scores
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


@pytest.mark.parametrize("sides", [(16, 16), (3, 16, 16)], ids=["picture", "video"])
@pytest.mark.parametrize("hide", ["much", "little"])
def test_no_side_of_noise_has_more_edges(sides, hide):
    """Pixels drawn alike: every row, column and corner of 8 × 8 cells of 2 × 2 pixels is hidden as often as the middle."""
    kind, patch = (ImageModality, 2) if len(sides) == 2 else (VideoModality, [1, 2, 2])
    modality = kind(None, 1, sides, patch)
    raw = torch.randint(0, 256, (4000, 1, *sides), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    cells = modality.split(raw)
    masker, draws = EdgesMasker(hide, sharpness=4.0), Draws(0, 0, torch.arange(4000))
    scores = masker.score(cells, draws, Context(details={"edges": modality.detail(cells, "edges")})).scores
    hidden = torch.zeros(scores.shape).scatter_(1, plan_from_scores(scores, 0.5).hide, 1.0).mean(0).view(-1, 8, 8)
    assert (hidden.mean((0, 2)) - 0.5).abs().max() < 0.02, "rows"
    assert (hidden.mean((0, 1)) - 0.5).abs().max() < 0.02, "columns"
    assert (hidden - 0.5).abs().max() < 0.05, "corners"


def test_edges_at_the_rim_go_on_as_they_come():
    modality = ImageModality(16, 1, [1, 4], [1, 1])
    found = modality.detail(modality.split(torch.tensor([0.0, 1.0, 3.0, 6.0]).view(1, 1, 1, 4)), "edges")
    assert found.tolist() == [[1, 2, 3, 3]]


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


def test_a_gap_of_a_series_does_not_move():
    """A cell is compared with the last one that is there, the first such with the next; what is not there shows 0, whatever the level."""
    modality = SeriesModality(16, 3, 14, 2, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    means = torch.tensor(
        [
            [math.nan, math.nan, 25.0, math.nan, 27.0, 26.0, math.nan],
            [20.0, 21.0, 20.0, 20.0, 20.0, 23.0, 20.0],
            [math.nan, 20.0] + 5 * [math.nan],
        ]
    )
    cells = modality.split(means.repeat_interleave(2, 1).unsqueeze(0))
    assert modality.detail(cells, "motion").view(3, 7).tolist() == [
        [0, 0, 2, 0, 2, 1, 0],
        [1, 1, 1, 0, 0, 3, 3],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert not modality.detail(cells, "variance").any()


def test_what_follows_a_gap_is_hidden_as_often_as_what_does_not():
    """Noise at a level of 20 with a gap of two cells: none of the others stands out."""
    modality = SeriesModality(16, 1, 64, 4, [20.0], [1.0])
    raw = 20 + torch.randn(4000, 1, 64, generator=torch.Generator().manual_seed(0))
    raw[:, :, 24:32] = math.nan
    cells, draws = modality.split(raw), Draws(0, 0, torch.arange(4000))
    scores = MotionMasker().score(cells, draws, Context(details={"motion": modality.detail(cells, "motion")})).scores
    plan = plan_from_scores(scores, 0.5, cells.valid)
    often = torch.zeros(4000, 16).scatter_add_(1, plan.hide, plan.hide_ok.float()).mean(0)
    assert not often[6:8].any() and (often[torch.arange(16) // 2 != 3] - 0.5).abs().max() < 0.05
