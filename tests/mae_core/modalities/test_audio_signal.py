"""Waveform to log-mel and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mae_core.modalities.audio_signal import FLOOR, Spectrum, griffin_lim, log_mel, mel_filters, to_hertz, to_mel

SPEECH = Spectrum(8000, 256, 128, 40, 50, 4000)


def tone(hertz: float, seconds: float = 0.5, rate: int = 8000) -> torch.Tensor:
    return (0.5 * torch.sin(2 * math.pi * hertz * torch.arange(int(seconds * rate)) / rate)).float()


def test_mel_scale():
    """Slaney's: 15 mel at 1 kHz, 27 more at 6.4 times that."""
    assert [to_mel(hertz) for hertz in (200, 1000, 6400)] == pytest.approx([3, 15, 42])
    hertz = torch.tensor([50.0, 999.0, 1000.0, 1001.0, 3999.0], dtype=torch.float64)
    back = to_hertz(torch.tensor([to_mel(float(h)) for h in hertz], dtype=torch.float64))
    torch.testing.assert_close(back, hertz)


def test_bands_overlap_and_cover_their_range():
    filters = mel_filters(SPEECH)
    assert filters.shape == (40, 129) and (filters >= 0).all() and (filters.max(1).values > 0.3).all()
    inner = filters.sum(0)[4:120]
    torch.testing.assert_close(inner, torch.ones_like(inner), msg="neighbouring triangles add up to one")


@pytest.mark.parametrize("hertz", [200, 440, 1000, 3000])
def test_a_tone_is_loudest_in_its_band(hertz):
    frames = log_mel(tone(hertz), SPEECH)
    assert frames.shape == (32, 40) and frames.dtype == torch.float32
    filters = mel_filters(SPEECH)
    wanted = int(filters[:, round(hertz / 4000 * 128)].argmax())
    assert (frames[2:-2].argmax(1) - wanted).abs().max() <= 1
    assert -16 < frames[16].max() < -8, (
        "half of full scale is 12 dB below a full-scale tone's −6 dB, less the band's slope"
    )


def test_twice_as_loud_is_six_decibels_more():
    quiet, loud = (log_mel(scale * tone(440), SPEECH) for scale in (0.1, 0.2))
    inside = quiet > FLOOR + 1
    torch.testing.assert_close((loud - quiet)[inside], torch.full((int(inside.sum()),), 6.0206), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (128, 1), (129, 2), (4000, 32)])
def test_every_hop_begun_is_a_frame(samples, frames):
    assert log_mel(torch.ones(samples), SPEECH).shape == (frames, 40) and SPEECH.frames(samples) == frames


def test_silence_is_the_floor():
    assert (log_mel(torch.zeros(1000), SPEECH) == FLOOR).all()
    assert not griffin_lim(log_mel(torch.zeros(1000), SPEECH), SPEECH).any()


def test_a_frame_sees_its_window_alone():
    wave = torch.zeros(128 * 20)
    wave[128 * 10 + 64] = 1.0
    heard = (log_mel(wave, SPEECH) > FLOOR).any(1)
    assert heard.nonzero().flatten().tolist() == [9, 10, 11] or heard.nonzero().flatten().tolist() == [10]


def test_odd_windows_and_hops():
    odd = Spectrum(16000, 401, 155, 24, 0, 8000)
    odd.check()
    frames = log_mel(tone(500, 0.3, 16000), odd)
    assert frames.shape == (31, 24) and griffin_lim(frames, odd).shape == (31 * 155,)


def test_back_to_sound():
    """The spectrogram of what comes back is near; its phases are new."""
    wave = tone(300) + 0.3 * tone(1200) * torch.linspace(0, 1, 4000)
    frames = log_mel(wave, SPEECH)
    again = log_mel(griffin_lim(frames, SPEECH)[:4000], SPEECH)
    loud = frames > frames.max() - 30
    assert (again - frames)[loud].square().mean().sqrt() < 3
    assert np.isfinite(griffin_lim(frames, SPEECH).numpy()).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop": 300}, "no longer than the window"),
        ({"mels": 0}, "at least 1"),
        ({"high": 4001}, "half the rate"),
        ({"low": 4000}, "half the rate"),
        ({"mels": 200}, "use fewer bands or a longer window"),
    ],
)
def test_impossible_settings(change, message):
    with pytest.raises(ValueError, match=message):
        SPEECH._replace(**change).check()
