"""From a sound file to the log-mel frames that a model takes: what preparing a dataset and using a model on a file share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.data.sounds import Sound, open_sound, resample
from mae_core.modalities.audio_signal import Spectrum, log_mel

LENGTHS = ("pad", "stretch")
LONGEST = 30.0
"""Seconds of a clip that is stretched; the rest is cut."""
LOWEST = -60.0
"""dB: a level below drowns in the floor of the spectrogram."""


class Look(NamedTuple):
    """How sounds become samples of one shape."""

    spectrum: Spectrum
    frames: int
    """T."""
    length: str
    """``pad`` keeps the time axis: the first T frames, NaN behind a shorter sound. ``stretch`` draws every sound out to T frames."""
    level: float | None = None
    """dB of full scale that the root mean square of every sound is brought to; None keeps them as loud as they were recorded."""

    @property
    def seconds(self) -> float:
        """How much of a clip is looked at, at most."""
        padded = self.frames * self.spectrum.hop / self.spectrum.rate
        return padded if self.length == "pad" else LONGEST

    def check(self) -> None:
        """Raises ValueError for a look that makes no sense."""
        self.spectrum.check()
        if self.frames < 1 or self.length not in LENGTHS:
            raise ValueError(
                f"frames is {self.frames} and length {self.length!r}: at least 1, and one of {', '.join(LENGTHS)}"
            )
        if self.level is not None and not LOWEST <= self.level <= 0:
            raise ValueError(f"level is {self.level}: between {LOWEST:g} and 0 dB of full scale, or left out")


class Heard(NamedTuple):
    """A sound as a sample."""

    frames: Tensor
    """(T, F) float32 dB, NaN behind the end."""
    sound: Sound
    cut: bool
    """Whether the clip is longer than what was looked at."""


def hear(data: bytes, look: Look) -> Heard:
    """A sound file → a sample. Raises SoundProblem where it is not usable."""
    rate = look.spectrum.rate
    sound = open_sound(data, look.seconds)
    wave = resample(sound.wave, sound.rate, rate)[: int(look.seconds * rate + 0.5)]
    wave = wave if look.level is None else at_level(wave, look.level)
    frames = log_mel(torch.from_numpy(np.ascontiguousarray(wave)), look.spectrum)
    return Heard(fit_length(frames, look.frames, look.length), sound, sound.seconds > look.seconds + 1 / rate)


def at_level(wave: np.ndarray, level: float) -> np.ndarray:
    """``wave`` with a root mean square of ``level`` dB of full scale; silence stays silence."""
    loud = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))) if len(wave) else 0.0
    return wave if loud == 0 else (wave * (10 ** (level / 20) / loud)).astype(np.float32)


def fit_length(frames: Tensor, count: int, length: str) -> Tensor:
    """(any, F) → (``count``, F): padded with NaN and cut, or stretched by linear interpolation between frames."""
    if length == "stretch":
        return F.interpolate(frames.T[None], size=count, mode="linear", align_corners=False)[0].T.contiguous()
    return F.pad(frames[:count], (0, 0, 0, max(count - len(frames), 0)), value=float("nan"))
