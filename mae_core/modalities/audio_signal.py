"""From a waveform to its log-mel spectrogram, and from that back to something one can listen to.

The mel scale is that of Slaney's Auditory Toolbox (1998): linear below 1 kHz, logarithmic above. Phase is found by Griffin & Lim (1984).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = -90.0
"""dB of a full-scale square; whatever is quieter, silence too, is called this loud."""
BREAK, STEP = 1000.0, 200 / 3
"""Hz at which the mel scale turns logarithmic, and Hz of one mel below it."""
LOG_STEP = math.log(6.4) / 27
LINE_ROUNDS, PHASE_ROUNDS, MOMENTUM = 200, 32, 0.99
"""Of the way back to sound: three times as many rounds bring the spectrogram of a spoken digit 0.1 dB nearer."""
TINY = 1e-20


class Spectrum(NamedTuple):
    """How sound is looked at."""

    rate: int
    """Samples a second."""
    window: int
    """Samples of a frame (Hann)."""
    hop: int
    """Samples from one frame to the next."""
    mels: int
    """F: bands, of triangular filters that are equally wide in mel."""
    low: float
    high: float
    """Hz where the first band begins and the last one ends."""

    @property
    def fft(self) -> int:
        """Points of the transform: the power of two that holds a window."""
        return 1 << (self.window - 1).bit_length()

    def frames(self, samples: int) -> int:
        """How many frames so many samples make: every hop begun is one."""
        return -(-samples // self.hop)

    def check(self) -> None:
        """Raises ValueError for settings that describe no spectrogram."""
        if min(self.rate, self.window, self.hop, self.mels) < 1 or self.hop > self.window:
            raise ValueError(
                f"{self}: rate, window, hop and mels are at least 1, and the hop is no longer than the window"
            )
        if not 0 <= self.low < self.high <= self.rate / 2:
            raise ValueError(f"{self}: bands lie between 0 and half the rate, {self.rate / 2:g} Hz")
        empty = int((mel_filters(self).sum(1) == 0).sum())
        if empty:
            raise ValueError(
                f"{self}: {empty} of {self.mels} bands lie between two lines of the transform: use fewer bands or a longer window"
            )


def to_mel(hertz: float) -> float:
    """Hz → mel."""
    return hertz / STEP if hertz < BREAK else BREAK / STEP + math.log(hertz / BREAK) / LOG_STEP


def to_hertz(mel: Tensor) -> Tensor:
    """The inverse, of a tensor."""
    knee = BREAK / STEP
    return torch.where(mel < knee, mel * STEP, BREAK * torch.exp(LOG_STEP * (mel - knee)))


@lru_cache(8)
def mel_filters(spectrum: Spectrum) -> Tensor:
    """(F, fft / 2 + 1) float64 on the CPU, whatever the default device: the weights of each band."""
    low, high, exact = to_mel(spectrum.low), to_mel(spectrum.high), torch.float64
    hertz = to_hertz(torch.linspace(low, high, spectrum.mels + 2, dtype=exact, device="cpu"))
    lines = torch.linspace(0, spectrum.rate / 2, spectrum.fft // 2 + 1, dtype=exact, device="cpu")
    rising = (lines - hertz[:-2, None]) / (hertz[1:-1] - hertz[:-2])[:, None]
    falling = (hertz[2:, None] - lines) / (hertz[2:] - hertz[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp_min(0)


def log_mel(wave: Tensor, spectrum: Spectrum) -> Tensor:
    """(samples,) in −1..1 → (frames, F) float32 dB, at least ``FLOOR``. Frame i is centred on the middle of hop i; outside is silence."""
    power = _transform(wave.double(), spectrum).abs().square() / _loudest(spectrum)
    return (10 * (power @ mel_filters(spectrum).T).clamp_min(10 ** (FLOOR / 10)).log10()).float()


def griffin_lim(decibels: Tensor, spectrum: Spectrum) -> Tensor:
    """(frames, F) dB without NaN → (frames · hop,) float32 whose spectrogram is near it; levels below ``FLOOR`` + 1 dB are silence.

    The linear spectrum is the non-negative least-squares one (multiplicative updates, Lee & Seung 2001). Phases start at random, always
    the same, and are found with momentum (Perraudin et al. 2013).
    """
    filters = mel_filters(spectrum)
    mel = torch.where(decibels > FLOOR + 1, 10 ** (decibels.double() / 10), 0.0)
    power = mel @ filters
    for _ in range(LINE_ROUNDS):
        power = power * (mel @ filters) / (power @ filters.T @ filters).clamp_min(TINY)
    size = (power * _loudest(spectrum)).sqrt()
    angle = 2 * math.pi * torch.rand(size.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    phase = torch.polar(torch.ones_like(size), angle)
    before = torch.zeros_like(phase)
    for _ in range(PHASE_ROUNDS):
        lines = _transform(_inverse(size * phase, spectrum), spectrum)
        phase = torch.sgn(lines + MOMENTUM * (lines - before))
        before = lines
    return _inverse(size * phase, spectrum).float()


def _loudest(spectrum: Spectrum) -> float:
    """Power of a line where a full-scale square meets its phase, so that 0 dB is as loud as can be."""
    return float(_hann(spectrum).sum() ** 2)


def _hann(spectrum: Spectrum) -> Tensor:
    return torch.hann_window(spectrum.window, dtype=torch.float64)


def _margins(spectrum: Spectrum) -> tuple[int, int]:
    """Samples of silence before and after, so that frames are centred on hops."""
    before = (spectrum.window - spectrum.hop) // 2
    return before, spectrum.window - spectrum.hop - before


def _transform(wave: Tensor, spectrum: Spectrum) -> Tensor:
    """(samples,) → (frames, fft / 2 + 1) complex."""
    before, after = _margins(spectrum)
    missing = spectrum.frames(len(wave)) * spectrum.hop - len(wave)
    padded = torch.nn.functional.pad(wave, (before, after + missing))
    return torch.fft.rfft(padded.unfold(0, spectrum.window, spectrum.hop) * _hann(spectrum), spectrum.fft)


def _inverse(lines: Tensor, spectrum: Spectrum) -> Tensor:
    """(frames, fft / 2 + 1) complex → (frames · hop,): overlap-add, each sample over the sum of its squared windows."""
    frames, window = len(lines), _hann(spectrum)
    before, after = _margins(spectrum)
    pieces = torch.fft.irfft(lines, spectrum.fft)[:, : spectrum.window] * window
    at = torch.arange(frames)[:, None] * spectrum.hop + torch.arange(spectrum.window)
    total = torch.zeros(before + frames * spectrum.hop + after, dtype=torch.float64)
    weight = torch.zeros_like(total)
    total.index_add_(0, at.flatten(), pieces.flatten())
    weight.index_add_(0, at.flatten(), window.square().expand(frames, -1).flatten())
    return (total / weight.clamp_min(1e-3))[before : before + frames * spectrum.hop]
