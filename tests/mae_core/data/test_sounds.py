"""Every hostile sound gets its answer; good ones become one channel at one rate."""

import csv
import io

import numpy as np
import pytest
import soundfile

from mae_core.data.sounds import MAX_CHANNELS, SoundProblem, mix_down, open_sound, resample

REFUSED = {
    "text.wav": "not a sound: starts with b'not a RIFF",
    "empty.wav": "empty file",
    "zero-frames.wav": "no samples",
    "zero-rate.wav": "sample rate: 0 Hz declared",
    "zero-channels.wav": "channel count: 0 declared",
    "float32-nan.wav": "samples are not finite: 2 of 800",
}
ACCEPTED = {
    "wrong-length-header.wav": (8000, 4000),
    "truncated.wav": (8000, 1989),
    "stereo-44100.wav": (44100, 4000),
    "pcm24.wav": (8000, 4000),
    "pcm8.wav": (8000, 4000),
    "list-chunk.wav": (8000, 4000),
    "silence.wav": (8000, 4000),
}
"""Rate and samples."""


def test_the_two_lists_cover_every_hostile_sound(shared_data):
    with open(shared_data / "broken" / "EXPECTED.tsv") as file:
        named = {row["file"][6:] for row in csv.DictReader(file, delimiter="\t") if row["file"].startswith("audio/")}
    assert named == set(REFUSED) | set(ACCEPTED)


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_bad_sounds_are_refused_with_a_reason(shared_data, name, reason):
    with pytest.raises(SoundProblem, match=reason):
        open_sound((shared_data / "broken" / "audio" / name).read_bytes(), 10)


@pytest.mark.parametrize(("name", "facts"), ACCEPTED.items())
def test_odd_sounds_are_read(shared_data, name, facts):
    sound = open_sound((shared_data / "broken" / "audio" / name).read_bytes(), 10)
    assert (sound.rate, len(sound.wave)) == facts and sound.wave.dtype == np.float32 and np.isfinite(sound.wave).all()
    assert abs(sound.wave.mean()) < 0.01, "centred on zero, also where silence is 128"
    assert (0.3 < np.abs(sound.wave).max() < 0.4) == (name != "silence.wav"), "24 bits over 2^23, 8 bits over 2^7"
    assert sound.cancelled == (name == "stereo-44100.wav")
    assert bool(sound.short) == (name in ("wrong-length-header.wav", "truncated.wav"))


def test_declared_and_found_lengths_are_named(shared_data):
    folder = shared_data / "broken" / "audio"
    assert (
        open_sound((folder / "truncated.wav").read_bytes(), 10).short == "8000 bytes of sound declared, 3978 are there"
    )
    assert "2147483392 bytes" in open_sound((folder / "wrong-length-header.wav").read_bytes(), 10).short


def test_one_chunk_before_the_sound_changes_nothing(shared_data):
    folder = shared_data / "broken" / "audio"
    a, b = (
        open_sound((folder / f"{name}.wav").read_bytes(), 10).wave for name in ("list-chunk", "wrong-length-header")
    )
    np.testing.assert_array_equal(a, b)


def encoded(samples: np.ndarray, rate: int, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_formats(kind):
    tone = np.sin(np.arange(4000) * 0.2) / 2
    sound = open_sound(encoded(tone, 8000, kind), 10)
    assert sound.seconds == 0.5 and len(sound.wave) == 4000
    assert np.abs(sound.wave - tone).max() < (0.1 if kind == "OGG" else 1e-3)


def test_a_truncated_flac_is_refused_or_said_to_be_short():
    whole = encoded(np.random.default_rng(0).normal(0, 0.1, 20000), 8000, "FLAC")
    try:
        sound = open_sound(whole[: len(whole) // 2], 10)
    except SoundProblem as problem:
        assert problem.reason == "damaged sound"
    else:
        assert "20000 samples declared" in sound.short and len(sound.wave) < 20000


def test_no_more_than_asked_for_is_read():
    sound = open_sound(encoded(np.zeros(80000), 8000), 2)
    assert len(sound.wave) == 16001 and sound.seconds == 10 and not sound.short


def test_too_many_channels():
    with pytest.raises(SoundProblem, match=f"channel count: {MAX_CHANNELS + 1} declared"):
        open_sound(encoded(np.zeros((10, MAX_CHANNELS + 1)), 8000), 1)


def test_mix_down():
    tone = np.sin(np.arange(1000) * 0.3).astype(np.float32)
    wave, cancelled = mix_down(np.stack([tone, tone / 2], 1))
    np.testing.assert_allclose(wave, 0.75 * tone, rtol=1e-6)
    assert not cancelled
    wave, cancelled = mix_down(np.stack([-0.999 * tone, tone], 1))
    np.testing.assert_array_equal(wave, tone)
    assert cancelled
    wave, cancelled = mix_down(np.zeros((9, 2), np.float32))
    assert not cancelled and not wave.any()


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 44101, 48000, 4000])
def test_resampling_keeps_length_and_pitch(rate):
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    found = resample(tone, rate, 8000)
    assert found.dtype == np.float32 and abs(len(found) - 8000) <= 1
    assert abs(int(np.abs(np.fft.rfft(found[:8000], 8000)).argmax()) - 440) <= 1
    assert 0.65 < found[1000:7000].std() < 0.75


def test_what_a_low_rate_cannot_hold_is_filtered_away():
    tone = np.sin(2 * np.pi * 7000 * np.arange(44100) / 44100).astype(np.float32)
    assert np.abs(resample(tone, 44100, 8000)[500:-500]).max() < 0.02
