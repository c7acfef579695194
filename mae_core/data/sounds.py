"""Decoding sounds that nobody vouches for: wav, flac, ogg and whatever else libsndfile reads, as one channel at one rate."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from mae_core.data.quarantine import ItemProblem

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"})
RATES = (1_000, 768_000)
"""Samples a second: fewer carry no speech, more are a damaged header."""
MAX_CHANNELS = 64
CANCELS = 0.01
"""Of the channels' mean power: where their mean has less, they are in opposite phase and the mean says nothing of them."""
FINEST = 1000
"""Largest factor of the ratio of two rates; an odd rate is taken as the nearest such ratio, which no one hears."""


class SoundProblem(ItemProblem):
    """A sound that is not used."""


class Sound(NamedTuple):
    """What a file holds."""

    wave: np.ndarray
    """(samples,) float32 in −1..1, one channel."""
    rate: int
    """Samples a second, of the file."""
    seconds: float
    """Of the whole file, of which ``wave`` may be the beginning."""
    cancelled: bool
    """Whether the channels cancel out, so that ``wave`` is the loudest of them instead of their mean."""
    short: str
    """What the header promises beyond what is there; '' where nothing is missing."""


def open_sound(data: bytes, seconds: float) -> Sound:
    """The first ``seconds`` of a sound file, however long it says it is; SoundProblem names what is wrong."""
    import soundfile

    if not data:
        raise SoundProblem("empty file")
    short = _check_wav(data) if data[:4] == b"RIFF" and data[8:12] == b"WAVE" else ""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels, declared = file.samplerate, file.channels, file.frames
            _check_numbers(rate, channels)
            samples = file.read(int(seconds * rate) + 1, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as problem:
        if "not recognised" in str(problem):
            raise SoundProblem("not a sound", f"starts with {data[:12]!r}") from None
        raise SoundProblem("damaged sound", problem.error_string) from None
    if not len(samples):
        raise SoundProblem("no samples", "the header is whole, but there is no sound behind it")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise SoundProblem("samples are not finite", f"{bad} of {samples.size} are NaN or infinite")
    if len(samples) < min(declared, int(seconds * rate)):
        short = short or f"{declared} samples declared, {len(samples)} are there"
    wave, cancelled = mix_down(samples)
    return Sound(wave, rate, max(declared, len(samples)) / rate, cancelled, short)


def mix_down(samples: np.ndarray) -> tuple[np.ndarray, bool]:
    """(samples, channels) → (samples,): the mean, or where the channels cancel out the loudest of them, and whether they do."""
    mean = samples.mean(1)
    powers = np.square(samples, dtype=np.float64).mean(0)
    cancelled = bool(np.square(mean, dtype=np.float64).mean() < CANCELS * powers.mean())
    return (samples[:, powers.argmax()] if cancelled else mean), cancelled


def resample(wave: np.ndarray, rate: int, to: int) -> np.ndarray:
    """(samples,) of ``rate`` → float32 of the rate ``to``, what lies above its half filtered away (polyphase)."""
    if rate == to:
        return wave
    from scipy.signal import resample_poly

    ratio = Fraction(to, rate).limit_denominator(FINEST)
    return resample_poly(wave, max(ratio.numerator, 1), ratio.denominator).astype(np.float32)


def _check_numbers(rate: int, channels: int) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise SoundProblem("sample rate", f"{rate} Hz declared, {RATES[0]} to {RATES[1]} are taken")
    if not 1 <= channels <= MAX_CHANNELS:
        raise SoundProblem("channel count", f"{channels} declared, 1 to {MAX_CHANNELS} are taken")


def _check_wav(data: bytes) -> str:
    """Rate and channels, which libsndfile refuses in riddles; what the data chunk promises beyond the end of the file."""
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack("<4sI", data[at : at + 8])
        if kind == b"fmt " and at + 16 <= len(data):
            channels, rate = struct.unpack("<HI", data[at + 10 : at + 16])
            _check_numbers(rate, channels)
        if kind == b"data":
            there = len(data) - at - 8
            return f"{size} bytes of sound declared, {there} are there" if size > there else ""
        at += 8 + size + size % 2
    return ""
