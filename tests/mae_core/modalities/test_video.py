"""Clips to cells and back, fills, film strips, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shards import sharded
from torch import Tensor

from mae_core.cells import Context
from mae_core.data.augment import Augmentation
from mae_core.draws import Draws
from mae_core.evaluation.video_quality import motion_fill, nearest_fill
from mae_core.masking import MASKERS
from mae_core.masking.making import context_for
from mae_core.masking.plan import plan_from_scores
from mae_core.modalities.base import OWN
from mae_core.modalities.video import VideoModality
from mae_core.registry import resolve

SIDES = st.tuples(*(st.integers(1, 3) for _ in range(6))).filter(lambda s: s[0] * s[1] * s[2] > 1)


def noise(modality: VideoModality, n: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, *modality.shape), generator=generator).to(torch.uint8)


def video(channels: int = 1, size=(4, 8, 12), patch=(2, 4, 4), **more) -> VideoModality:
    return VideoModality(16, channels, size, patch, **more)


@given(sides=SIDES, channels=st.integers(1, 3))
def test_join_undoes_split(sides, channels):
    grid, patch = sides[:3], sides[3:]
    modality = video(channels, [g * p for g, p in zip(grid, patch)], patch, mean=[0.3] * channels, std=[0.2] * channels)
    raw = noise(modality)
    cells = modality.split(raw)
    assert cells.values.shape == (2, modality.cells, modality.values_per_cell) and cells.coords.shape[1] == 3
    assert torch.equal(modality.join(cells.values), raw)
    assert torch.equal(modality.to_map(cells.values), modality.scale(raw))


def test_order_of_values_and_cells():
    """Earliest tubelets first; inside one (frame, row, column, channel)."""
    modality = video(2, (4, 4, 6), (2, 2, 3))
    scaled = torch.arange(2 * 4 * 4 * 6).float().view(1, 2, 4, 4, 6)
    cells = modality.split(scaled)
    assert cells.coords.tolist()[:5] == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]] and cells.time == 0
    inside = cells.values[0, 6].view(2, 2, 3, 2)  # the cell (1, 1, 0)
    assert inside[1, 0, 2].tolist() == [scaled[0, 0, 3, 2, 2], scaled[0, 1, 3, 2, 2]]


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ((8, 4, 4), "larger than the clip 4x8x12"),
        ((3, 4, 4), "does not divide the clip time 4: choose one of 2, 4"),
        ((2, 4, 5), "does not divide the clip width 12"),
        ((4, 8, 12), "covers the whole clip"),
        ((4, 4), "time, height, width are wanted"),
    ],
)
def test_patches_that_do_not_fit(patch, said):
    with pytest.raises(ValueError, match=said):
        video(patch=patch)


def test_a_wrong_shape_or_type_is_refused():
    modality = video()
    with pytest.raises(ValueError, match=r"clips of shape \(1, 1, 8, 12\) given, this model takes \(B, 1, 4, 8, 12\)"):
        modality.split(torch.zeros(1, 1, 8, 12, dtype=torch.uint8))
    with pytest.raises(TypeError, match="raw clips are uint8"):
        modality.scale(torch.zeros(1, 1, 4, 8, 12, dtype=torch.int32))


@pytest.mark.parametrize("name", [name for name in VideoModality.maskers if name not in OWN])
def test_a_tubelet_is_hidden_whole_or_not_at_all(name):
    modality = video(size=(8, 16, 16))
    raw = noise(modality, 5)
    cells = modality.split(raw)
    masker = resolve(MASKERS, name, "masker")()
    context = context_for(masker, modality, cells, Context())
    plan = plan_from_scores(masker.score(cells, Draws(0, 0, torch.arange(5)), context).scores, 0.9)
    hidden = modality.covers(raw, plan.hide)
    share = hidden.view(5, 4, 2, 4, 4, 4, 4).float().mean((2, 4, 6))
    assert set(share.unique().tolist()) == {0.0, 1.0} and (share.sum((1, 2, 3)) == 58).all()


def test_defaults_and_misfits():
    info = {"sample": {"shape": [3, 16, 64, 48]}}
    assert VideoModality.default_patch(info) == [2, 16, 12]
    assert VideoModality.misfit(info, [4, 16, 12]) == "" and "frames" not in VideoModality.misfit(info, 8)
    assert "leaves fewer than 4 cells of 16 along time" in VideoModality.misfit(info, [8, 16, 12])
    assert "5 does not divide 64 along height" in VideoModality.misfit(info, [4, 5, 12])
    with pytest.raises(ValueError, match="3 along time"):
        VideoModality.default_patch({"sample": {"shape": [3, 3, 64, 64]}})


def test_plain_features_keep_every_frame():
    samples = noise(video(size=(16, 64, 64), patch=16), 3).numpy()
    plain = VideoModality.plain(samples, {})
    assert plain.shape == (3, 16 * 12 * 12) and plain.dtype == np.float32
    np.testing.assert_allclose(plain[1].reshape(16, 144).mean(1), samples[1, 0].mean((1, 2)) / 255, atol=0.01)


@pytest.mark.parametrize("size", [(4, 8, 8), (16, 16, 16)])
def test_plain_features_of_shards_are_those_of_an_array(size, tmp_path):
    samples = noise(video(size=size), 20).numpy()
    shards = sharded(tmp_path / "d", samples)
    np.testing.assert_array_equal(VideoModality.plain(shards, {}), VideoModality.plain(samples, {}))


def test_a_model_looks_at_clips_of_another_size_and_colour():
    modality = video(1, (4, 8, 12))
    colour = noise(video(3, (4, 16, 24), 4), 3).numpy()
    fitted = modality.fitted(colour)
    assert len(fitted) == 3 and fitted[0:2].shape == (2, 1, 4, 8, 12) and fitted[0:2].dtype == np.uint8
    with pytest.raises(ValueError, match="8 frames, the model takes 4"):
        modality.fitted(np.zeros((1, 1, 8, 8, 12), np.uint8))


def test_augmentation_moves_all_frames_alike():
    still = noise(video(size=(4, 8, 12)))[:, :, :1].expand(-1, -1, 4, -1, -1).contiguous()
    draws = Draws(0, 0, torch.arange(2))
    moved, recoloured = Augmentation(crop=0.5, flip=True), Augmentation(color_jitter=1.0)
    for changed in (
        video().augment(still, draws, moved),
        video().augment(still, draws, recoloured),
        video().jitter(still, draws, 2),
    ):
        assert changed.shape == still.shape and not torch.equal(changed, still)
        assert torch.equal(changed, changed[:, :, :1].expand_as(changed))


def square(frames: int = 8, down: float = 1.0, right: float = 2.0, side: int = 24) -> Tensor:
    """(1, 1, T, side, side): a bright square on the move."""
    clip = torch.zeros(1, 1, frames, side, side, dtype=torch.uint8)
    for t in range(frames):
        top, left = int(2 + down * t), int(1 + right * t)
        clip[0, 0, t, top : top + 5, left : left + 5] = 200
    return clip


def tail(clip: Tensor, frames: int) -> Tensor:
    hidden = torch.zeros_like(clip, dtype=torch.bool)
    hidden[:, :, -frames:] = True
    return hidden


class TestFills:
    @pytest.mark.parametrize(("down", "right"), [(1, 2), (2, -1), (0, 0)])
    def test_constant_velocity_is_exact_where_it_is_true(self, down, right):
        clip = square(down=down, right=right) if right >= 0 else square(right=-right, down=down).flip(-1)
        hidden = tail(clip, 3)
        assert torch.equal(motion_fill(torch.where(hidden, 128, clip), hidden), clip)

    def test_clips_of_a_batch_have_their_own_velocity_and_end(self):
        clips = torch.cat([square(), square().flip(-1), square(down=2)])
        hidden = torch.cat([tail(clips[:1], 3), tail(clips[1:2], 3), tail(clips[2:], 2)])
        assert torch.equal(motion_fill(torch.where(hidden, 128, clips), hidden), clips)

    def test_half_pixels_are_seen_over_a_gap(self):
        clip = square(right=0.5, down=0)
        hidden = tail(clip, 2)
        errors = [(motion_fill(clip, hidden, gap).float() - clip.float()).square().mean() for gap in (1, 2)]
        assert errors[1] < errors[0]

    def test_the_last_frame_is_copied(self):
        clip = square()
        hidden = tail(clip, 3)
        filled = nearest_fill(torch.where(hidden, 128, clip), hidden)
        assert torch.equal(filled[:, :, -3:], clip[:, :, 4:5].expand(-1, -1, 3, -1, -1))
        assert torch.equal(filled[:, :, :-3], clip[:, :, :-3])

    def test_the_nearest_moment_is_copied_place_by_place(self):
        clip = torch.arange(5, dtype=torch.uint8).view(1, 1, 5, 1, 1).expand(1, 1, 5, 2, 1) * 10
        hidden = torch.zeros_like(clip, dtype=torch.bool)
        hidden[0, 0, :3, 0], hidden[0, 0, 1:4, 1] = True, True
        filled = nearest_fill(torch.where(hidden, 255, clip), hidden)
        assert filled[0, 0, :, 0, 0].tolist() == [30, 30, 30, 30, 40]
        assert filled[0, 0, :, 1, 0].tolist() == [0, 0, 0, 40, 40], "the earlier of two"

    def test_a_place_that_is_never_seen_gets_the_mean(self):
        clip = torch.full((1, 1, 4, 1, 2), 50, dtype=torch.uint8)
        hidden = torch.zeros_like(clip, dtype=torch.bool)
        hidden[..., 0] = True
        assert (nearest_fill(torch.where(hidden, 255, clip), hidden) == 50).all()

    def test_what_is_hidden_does_not_matter(self):
        modality, clip = video(size=(8, 24, 24), patch=4), square()
        for hidden in (tail(clip, 3), torch.rand(clip.shape, generator=torch.Generator().manual_seed(0)) < 0.7):
            other = torch.where(hidden, 255 - clip, clip)
            for name, filled in modality.fills(clip, hidden).items():
                assert torch.equal(filled, modality.fills(other, hidden)[name]), name
                assert torch.equal(filled[~hidden], clip[~hidden]), name


def test_quality_of_hidden_pixels():
    modality, clip = video(size=(8, 24, 24), patch=4), square()
    hidden = tail(clip, 2)
    found = modality.quality(torch.where(hidden, clip + 51, clip), clip, hidden)
    assert next(iter(found)) == "psnr_hidden"
    assert found["mse_hidden"][0] == pytest.approx(0.04) and found["psnr_hidden"][0] == pytest.approx(13.979, abs=1e-3)
    assert found["psnr"][0] == pytest.approx(20.0, abs=1e-3)


def test_film_strips():
    modality = video(1, (12, 8, 10), (4, 4, 5))
    raw = noise(modality)
    shown = modality.render(raw)
    assert shown.shape == (2, 2 * 9 - 1, 8 * 11 - 1, 3) and shown.dtype == torch.uint8
    assert torch.equal(shown[1, 9:, 11:21, 0], raw[1, 0, 9]), "the tenth frame is the second of the second row"
    picture = modality.picture(raw, torch.full_like(raw, 128), raw)
    assert picture.dtype == np.uint8 and picture.shape == (2 * 4 * (8 * 5 + 4) - 4, (12 * 11 - 1) * 5, 3)
