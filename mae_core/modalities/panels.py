"""How people look at a sample: plain records that the app draws, the command line writes to files and a notebook can show.

A modality's ``view`` makes a list of panels for each sample. ``Text``, ``Row`` and ``Curves`` hold what was filled in beside the truth;
a ``Picture`` or a ``Sound`` is looked at beside the original.
"""

from __future__ import annotations

import io
import math
import wave
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from mae_core.modalities.audio_signal import Spectrum

LOUDEST = 32767


class Picture(NamedTuple):
    """Something to look at."""

    rgb: np.ndarray
    """(H, W, 3) uint8."""
    name: str = ""
    """What it is where it is not the sample itself."""


class Sound(NamedTuple):
    """Something to listen to."""

    levels: np.ndarray
    """(T, F) float32 dB, without NaN."""
    spectrum: Spectrum

    def wav(self) -> bytes:
        """A mono WAV file of a sound whose spectrogram is near ``levels``; to find it takes about a tenth of a second."""
        import torch

        from mae_core.modalities.audio_signal import griffin_lim

        heard = griffin_lim(torch.from_numpy(self.levels), self.spectrum).clamp(-1, 1).numpy()
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setparams((1, 2, self.spectrum.rate, 0, "NONE", ""))
            file.writeframes((heard * LOUDEST).astype("<i2").tobytes())
        return buffer.getvalue()


class Piece(NamedTuple):
    """One token of a text, or several whose bytes are a character together."""

    text: str
    hidden: bool = False
    true: str = ""
    """Of a hidden one that was filled in: what should be there; '' where that is not known."""
    probability: float = math.nan
    """Of a hidden one: what the model gave to ``text``."""
    right: bool | None = None
    """Of a hidden one whose truth is known: whether the tokens are the same; None where texts have to say."""

    @property
    def wrong(self) -> bool:
        """Whether something else should be there."""
        return bool(self.true) and not (self.true == self.text if self.right is None else self.right)


class Text(NamedTuple):
    """Something to read."""

    pieces: list[Piece]

    def marked(self) -> str:
        """The text with what was filled in marked: ``[right]``, ``[wrong|true]``."""
        return "".join(
            _marked(one.text, one.true if one.wrong else "") if one.hidden else one.text for one in self.pieces
        )


class Value(NamedTuple):
    """One entry of a row, in words."""

    name: str
    """Of its column."""
    text: str
    hidden: bool = False
    true: str = ""
    """Of a hidden one: what should be there; '' where that is not known."""
    between: tuple[str, str] | None = None
    """Of a hidden number: the ends of the interval that holds it with probability ``SHARE`` of ``cells``, as far as the model knows."""
    probability: float = math.nan
    """Of a hidden category."""
    grade: str = ""
    """Of a hidden one whose truth is known: ``near``, ``off`` or ``far``."""

    @property
    def sure(self) -> str:
        """'1.2 to 3.4' of numbers, '72 %' of categories; '' where it is not known."""
        if self.between is not None:
            return " to ".join(self.between)
        return "" if math.isnan(self.probability) else f"{100 * self.probability:.0f} %"

    def marked(self) -> str:
        """The value, marked where it was filled in: ``[2.4 (1.2 to 3.4)|2.5]``."""
        sure = f" ({self.sure})" if self.sure else ""
        return _marked(self.text + sure, self.true) if self.hidden else self.text


def _marked(text: str, true: str) -> str:
    return f"[{text}|{true}]" if true else f"[{text}]"


class Row(NamedTuple):
    """A row of a table."""

    values: list[Value]


class Curves(NamedTuple):
    """Channels over time; NaN where there is nothing."""

    seen: np.ndarray
    """(C, T) float."""
    filled: np.ndarray
    """(C, T): what was filled in, where ``seen`` is NaN."""
    true: np.ndarray
    """(C, T): what should be there, likewise."""


Panel = Picture | Sound | Text | Row | Curves
