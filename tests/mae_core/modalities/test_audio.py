"""Spectrograms to cells and back, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from mae_core.cells import Plan
from mae_core.data.augment import Augmentation
from mae_core.draws import Draws
from mae_core.modalities.audio import AudioModality
from mae_core.modalities.audio_signal import FLOOR
from mae_core.model import MaskedAutoencoder

SPECTRUM = {"rate": 8000, "window": 256, "hop": 128, "mels": 8, "low": 50, "high": 4000}
NAN = float("nan")


def audio(**more) -> AudioModality:
    return AudioModality(
        16, **{"frames": 8, "spectrum": SPECTRUM, "patch": [2, 4], "mean": [-60.0] * 8, "std": [10.0] * 8, **more}
    )


def noise(lengths: list[int], frames: int = 8, bands: int = 8, seed: int = 0) -> Tensor:
    raw = (
        -60 + 10 * torch.randn(len(lengths), frames, bands, generator=torch.Generator().manual_seed(seed))
    ).clamp_min(FLOOR + 1)
    return torch.where((torch.arange(frames) < torch.tensor(lengths)[:, None])[..., None], raw, NAN)


def test_order_of_values_and_cells():
    """Time first; inside a cell (frame, band); normalised by each band's own statistics."""
    modality = audio(mean=list(range(8)), std=[2.0] * 8)
    raw = torch.arange(64.0).view(1, 8, 8)
    cells = modality.split(raw)
    assert cells.values.shape == (1, 8, 8) and cells.coords.tolist()[:3] == [[0, 0], [0, 1], [1, 0]]
    assert cells.values[0, 1].tolist() == [(raw[0, t, f].item() - f) / 2 for t in (0, 1) for f in (4, 5, 6, 7)]
    assert cells.valid.all()


def test_a_cell_is_valid_if_a_frame_of_it_lies_within_the_sound():
    cells = audio().split(noise([3, 8, 1]))
    assert cells.valid.sum(1).tolist() == [4, 8, 2]
    assert cells.values[0, 2].isnan().tolist() == [False] * 4 + [True] * 4


def test_what_a_cell_lacks_is_the_mean_of_its_band():
    modality, raw = audio(), noise([3])
    filled = torch.where(raw.isnan(), -60.0, raw)
    torch.testing.assert_close(modality.embed(modality.split(raw)), modality.embed(modality.split(filled)))


def test_embed_takes_kept_and_good_cells_alone():
    modality, raw = audio(), noise([8, 8])
    cells = modality.split(raw)
    keep, ok = torch.tensor([[5, 0], [3, 3]]), torch.tensor([[True, False], [True, True]])
    whole, found = modality.embed(cells), modality.embed(cells, keep, ok)
    torch.testing.assert_close(found[1, 0], whole[1, 3])
    torch.testing.assert_close(found[0, 1], modality.project.bias)


def test_covers_known_values_alone():
    raw = noise([3])
    found = audio().covers(raw, torch.tensor([[2, 0, 0]]), torch.tensor([[True, True, False]]))
    assert found[0].sum() == 8 + 4 and found[0, :2, :4].all() and found[0, 2, :4].all() and not found[0, 3:].any()


def test_paste_undoes_split_and_stops_at_the_floor():
    modality, raw = audio(), noise([3, 8])
    cells = modality.split(raw)
    plan = Plan(torch.tensor([[0], [0]]), torch.tensor([[2, 3], [5, 7]]))
    truth = cells.values.nan_to_num().gather(1, plan.hide[..., None].expand(-1, -1, 8))
    torch.testing.assert_close(modality.paste(raw, truth, plan), raw, equal_nan=True)
    low = modality.paste(raw, truth - 99, plan)
    hidden = modality.covers(raw, plan.hide)
    assert (low[hidden] == FLOOR).all() and torch.equal(low[~hidden].nan_to_num(), raw[~hidden].nan_to_num())


def test_facts_are_of_known_frames_of_train():
    samples = noise([3, 8, 5], seed=3).numpy()
    found = AudioModality.facts(samples, np.array([0, 1]), {}).entries
    known = np.concatenate([samples[0, :3], samples[1]])
    np.testing.assert_allclose(found["mean"], known.mean(0), atol=1e-3)
    np.testing.assert_allclose(found["std"], known.std(0), atol=1e-3)
    assert found["lengths"] == {"shortest": 3, "median": 5, "longest": 8}
    flat = AudioModality.facts(np.full((2, 8, 8), -80.0, np.float32), np.arange(2), {}).entries
    assert flat["std"] == [1.0] * 8


def test_plain_features():
    raw = noise([3])
    raw[0, 0, 0] = 0.0
    found = AudioModality.plain(raw.numpy(), {})
    assert found.shape == (1, 64) and found.dtype == np.float32 and found[0, 0] == 1 and (found[0, 24:] == 0).all()


@pytest.mark.parametrize(
    ("shape", "patch"), [([32, 40], [4, 8]), ([48, 40], [4, 8]), ([30, 21], [3, 7]), ([7, 11], [1, 1])]
)
def test_default_patch(shape, patch):
    assert AudioModality.default_patch({"sample": {"shape": shape}}) == patch


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (4, ""),
        ([4, 8], ""),
        (5, "5 does not divide 32 frames"),
        (16, "fewer than 4 cells along 32"),
        ([4, 40], "fewer than 2"),
    ],
)
def test_misfit(patch, reason):
    found = AudioModality.misfit({"sample": {"shape": [32, 40]}}, patch)
    assert reason in found and bool(found) == bool(reason)


def test_jitter_moves_time_and_pitch():
    modality, raw = audio(), noise([8] * 200)
    moved = modality.jitter(raw, Draws(0, 0, torch.arange(200)), 1)
    moves = {(dt, df) for dt in (-1, 0, 1) for df in (-1, 0, 1)}
    seen = {
        next(m for m in moves if torch.equal(new[1:-1, 1:-1], old[1 + m[0] : 7 + m[0], 1 + m[1] : 7 + m[1]]))
        for new, old in zip(moved, raw)
    }
    assert seen == moves and modality.jitter(raw, Draws(0, 0, torch.arange(200)), 0) is raw


def test_jitter_does_not_lengthen_a_sound_by_more_than_it_moves():
    moved = audio().jitter(noise([4] * 30), Draws(0, 0, torch.arange(30)), 2)
    assert set((~moved.isnan()).any(2).sum(1).tolist()) == {2, 3, 4, 5, 6}


def test_render():
    modality, raw = audio(), noise([3])
    raw[0, 0, 0] = modality.blank
    raw[0, 1, 0], raw[0, 2, 0] = FLOOR, 0.0
    shown = modality.render(raw)
    assert shown.shape == (1, 8, 8, 3) and shown.dtype == torch.uint8
    assert shown[0, -1, 0].tolist() == [150] * 3, "low notes below, hidden grey"
    assert shown[0, -1, 1].tolist() == [68, 1, 84] and shown[0, -1, 2].tolist() == [253, 231, 37]
    assert (shown[0, :, 3:] == 255).all(), "white behind the end"


def test_excerpts_stretch_time_and_pitch():
    """Of a plane, an excerpt is a plane of smaller slope that lies within it."""
    draws = Draws(0, 0, torch.arange(50))
    plane = (10 * torch.arange(8.0)[:, None] + torch.arange(8.0)).expand(50, -1, -1)
    found = audio().augment(plane, draws, Augmentation(crop=0.36))
    over_time, over_bands = found[:, 4, 4] - found[:, 3, 4], found[:, 4, 4] - found[:, 4, 3]
    assert (over_time > 5.99).all() and (over_time < 10.01).all() and over_time.std() > 0.5
    assert (over_bands > 0.599).all() and (over_bands < 1.001).all() and not torch.allclose(over_time, 10 * over_bands)
    assert found.min() >= 0 and found.max() <= 77
    assert audio().augment(plane, draws, Augmentation()) is plane


def test_an_excerpt_keeps_the_end_of_a_sound():
    raw = noise([4] * 20)
    found = audio().augment(raw, Draws(0, 0, torch.arange(20)), Augmentation(crop=0.5))
    known = ~found.isnan()
    assert torch.equal(known.any(2), known.all(2)) and known.all(2).sum(1).max() <= 6 and known.any((1, 2)).all()
    assert (known.all(2).int().diff(dim=1) <= 0).all(), "padding stays behind"


def test_reading_and_listening():
    modality = audio(length="stretch")
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.5 * np.sin(2 * np.pi * 400 * np.arange(22050) / 44100), 44100, format="WAV")
    raw = modality.read(buffer.getvalue())
    assert raw.shape == (1, 8, 8) and np.isfinite(raw).all()
    wave = modality.listen(torch.from_numpy(raw[0]))
    assert wave.shape == (8 * 128,) and wave.abs().max() > 0.1
    with pytest.raises(ValueError, match="not a sound"):
        modality.read(b"x" * 100)


def test_other_bands_mean_something_else():
    info = {"spectrum": SPECTRUM, "length": "pad"}
    assert audio().differs(info) == ""
    assert audio().differs({**info, "length": "stretch", "spectrum": {**SPECTRUM, "high": 3000}}) == (
        "high 3000 instead of 4000, length stretch instead of pad"
    )
    assert audio().differs({**info, "level": -25}) == "level -25 instead of None"


def test_a_small_model_learns_to_fill_a_pattern():
    """Sounds whose bands are all alike: a hidden cell can be read off its neighbours."""
    levels = -60 + 20 * torch.randn(64, 8, 1, generator=torch.Generator().manual_seed(0))
    raw = levels.expand(-1, -1, 8).contiguous()
    raw[:, 6:] = NAN
    config = {
        "modality": {
            "kind": "audio",
            "frames": 8,
            "spectrum": SPECTRUM,
            "patch": [2, 2],
            "mean": [-60.0] * 8,
            "std": [20.0] * 8,
        },
        "encoder": {"kind": "vit", "width": 32, "depth": 2, "heads": 2},
        "decoder": {"kind": "joint", "width": 32, "depth": 1, "heads": 2},
        "masking": {"strategy": "stripe", "ratio": 0.5},
        "objective": {"reconstruction": 1.0, "target": "values"},
    }
    model = MaskedAutoencoder.build(config)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(200):
        optimizer.zero_grad()
        model(raw, Draws(0, step, torch.arange(64))).total.backward()
        optimizer.step()
    made = model.reconstruct(raw, seed=9)
    found = model.modality.quality(made.filled, raw, made.hidden)["rmse_db_hidden"].mean()
    trivial = model.modality.quality(model.modality.trivial(raw, made.hidden), raw, made.hidden)[
        "rmse_db_hidden"
    ].mean()
    assert found < 0.4 * trivial and made.filled[:, 6:].isnan().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch": 3}, "patch 3 does not divide the 8 frames: choose one of 1, 2, 4, 8"),
        ({"patch": [2, 5]}, "does not divide the 8 bands"),
        ({"patch": 8}, "covers the whole spectrogram"),
        ({"mean": [0.5]}, "mean has 1 entries for 8 bands"),
        ({"std": [0.0] * 8}, "every band needs a positive one"),
        ({"length": "squeeze"}, "one of pad, stretch"),
        ({"spectrum": {**SPECTRUM, "hop": 999}}, "no longer than the window"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        audio(**settings)


@pytest.mark.parametrize("shape", [(2, 8, 9), (8, 8), (2, 1, 8, 8), (1, 16, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"this model takes \(B, 8, 8\)"):
        audio().split(torch.zeros(shape))
