"""Sound files in folders: named by a pattern that says their class, or in one folder per class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_core.data.quarantine import Refused
from mae_core.data.sounds import SUFFIXES, SoundProblem
from mae_core.data.sources import Part, Source, SourceError, readable
from mae_core.data.sources.folder import Item, list_parts
from mae_core.modalities.audio_file import Heard, Look, hear
from mae_core.modalities.audio_signal import Spectrum

HELD_OUT = ("validation", "test")


class _Names(NamedTuple):
    """What file names say."""

    pattern: re.Pattern[str]
    label: str
    held_out: dict[str, dict[str, set[str]]]
    """Split → field → the values that put a file there."""

    def split_of(self, fields: Mapping[str, str]) -> str:
        """The first split all of whose conditions hold; else train."""
        for split, wanted in self.held_out.items():
            if all(fields[field] in values for field, values in wanted.items()):
                return split
        return "train"


def read(
    folder: Path,
    rate: int,
    frames: int,
    mels: int = 40,
    window_ms: float = 32,
    hop_ms: float = 16,
    low: float = 50,
    high: float | None = None,
    length: str = "pad",
    level: float | None = None,
    pattern: str | None = None,
    label: str | None = None,
    where: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
    parts: Mapping[str, str] | None = None,
    unlabelled: str = "ignore",
) -> Source:
    """Log-mel spectrograms (n, ``frames``, ``mels``) float32 in dB of the sounds below ``folder``, at any depth.

    Args:
        rate: samples a second to which every sound is brought; channels are mixed down to their mean, or where they cancel out to the
            loudest.
        window_ms, hop_ms, low, high: of the spectrogram, in milliseconds and Hz; ``high`` is half the rate by default.
        length: ``pad`` (NaN behind a shorter sound, a longer one cut) or ``stretch`` (every sound drawn out to ``frames``).
        level: dB of full scale that the root mean square of every sound is brought to, such as -25; None keeps how loud each was recorded.
        pattern: of file names, such as ``{digit}_{speaker}_{index}.wav``. Then ``label`` names the field that is the class, and ``where``
            says which values of which fields make a split: ``{test: {index: [0, 1]}}``; other files are train.
        parts, unlabelled: without a pattern, as for folders of pictures.
    """
    spectrum = Spectrum(rate, round(window_ms * rate / 1000), round(hop_ms * rate / 1000), mels, low, high or rate / 2)
    look = Look(spectrum, frames, length, level)
    try:
        look.check()
    except ValueError as problem:
        raise SourceError(str(problem)) from None
    refused: list[Refused] = []
    if pattern is None and (label or where):
        raise SourceError("label and where go by the fields of file names: give a pattern, such as {class}_{index}.wav")
    if pattern is not None and parts:
        raise SourceError("parts is for folders: with a pattern, say under `where` which files make a split")
    lists = list_parts(folder, parts, unlabelled, "sounds", SUFFIXES, classed=pattern is None)
    listings = {name: one.items for name, one in lists.parts.items()}
    if pattern is not None:
        listings = _by_name(listings["all"], _names(pattern, label, where), refused)
    classes = sorted({item.label for items in listings.values() for item in items if item.label is not None})
    remarks = _Remarks([], [], [])
    made = [_part(name, items, classes, look, refused, remarks) for name, items in listings.items()]
    described = {"spectrum": spectrum._asdict(), "length": length} | ({} if level is None else {"level": level})
    return Source(made, classes, refused, lists.ignored, [*lists.notes, *remarks.notes(look)], described)


class _Remarks(NamedTuple):
    """Files that are used, but not as they are."""

    cut: list[str]
    cancelled: list[str]
    short: list[str]

    def add(self, origin: str, heard: Heard) -> None:
        """Notes what happened to a file."""
        for happened, files in (
            (heard.cut, self.cut),
            (heard.sound.cancelled, self.cancelled),
            (heard.sound.short, self.short),
        ):
            if happened:
                files.append(f"{origin} ({heard.sound.short})" if files is self.short else origin)

    def notes(self, look: Look) -> list[str]:
        """A line for each thing that happened, with the first files."""
        lines = (
            (self.cut, f"are longer than {look.seconds:g} s: the rest is cut"),
            (self.cancelled, "have channels that cancel out: the loudest is used instead of their mean"),
            (self.short, "end before their header says: what is there is used"),
        )
        return [
            f"{len(files)} sounds {what}: {', '.join(files[:3])}{' …' * (len(files) > 3)}"
            for files, what in lines
            if files
        ]


def _part(
    name: str, items: Sequence[Item], classes: list[str], look: Look, refused: list[Refused], remarks: _Remarks
) -> Part:
    samples = np.empty((len(items), look.frames, look.spectrum.mels), np.float32)
    kept: list[Item] = []
    for item in items:
        try:
            heard = hear(item.path.read_bytes(), look)
        except OSError as problem:
            refused.append(Refused(item.origin, "unreadable", str(problem.strerror)))
        except SoundProblem as problem:
            refused.append(Refused(item.origin, problem.reason, problem.detail))
        else:
            samples[len(kept)] = heard.frames.numpy()
            kept.append(item)
            remarks.add(item.origin, heard)
    labels = np.array([-1 if item.label is None else classes.index(item.label) for item in kept], np.int64)
    return Part(name, samples[: len(kept)], labels, [item.origin for item in kept])


def _names(pattern: str, label: str | None, where: Mapping[str, Mapping[str, Sequence[Any]]] | None) -> _Names:
    """Raises SourceError for fields that the pattern does not have, and splits there are not."""
    pieces = re.split(r"\{(\w+)\}", pattern)
    fields = pieces[1::2]
    if len(set(fields)) < len(fields) or not fields:
        raise SourceError(f"pattern {pattern!r} needs fields in braces, each once, such as {{class}}_{{index}}.wav")
    text = "".join(f"(?P<{piece}>.+?)" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
    held_out = {
        split: {field: {str(value) for value in values} for field, values in wanted.items()}
        for split, wanted in (where or {}).items()
    }
    unknown = sorted({field for wanted in held_out.values() for field in wanted} - set(fields))
    if label is None or label not in fields or unknown:
        raise SourceError(
            f"pattern {pattern!r} has the fields {', '.join(fields)}, but not {', '.join(unknown) or f'label {label!r}'}"
        )
    if set(held_out) - set(HELD_OUT):
        raise SourceError(f"where makes {', '.join(held_out)}: it may make {' and '.join(HELD_OUT)}, the rest is train")
    return _Names(re.compile(text), label, held_out)


def _by_name(items: Sequence[Item], names: _Names, refused: list[Refused]) -> dict[str, list[Item]]:
    """Split → its files with their class; a name that does not fit the pattern is refused."""
    found: dict[str, list[Item]] = {split: [] for split in ("train", *names.held_out)}
    for item in items:
        fields = names.pattern.fullmatch(readable(item.path.name))
        if fields is None:
            refused.append(Refused(item.origin, "name does not fit the pattern", names.pattern.pattern))
        else:
            found[names.split_of(fields.groupdict())].append(item._replace(label=fields[names.label]))
    return found
