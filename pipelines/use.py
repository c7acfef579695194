"""Using a model on files: what ``maestro reconstruct`` and ``maestro embed`` do, whatever the files hold."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from experiments import words
from experiments.subjects import unlike
from mae_core.applications.impute import impute
from mae_core.atomic import replace_file
from mae_core.data.dataset import open_dataset
from mae_core.evaluation.features import extract
from mae_core.modalities.panels import Panel, Row, Sound, Text
from mae_core.model import MaskedAutoencoder, Reconstruction

MOST_SHOWN = 16
"""Rows of a picture of reconstructions, and sounds that are written."""


class File(NamedTuple):
    """One file that was read."""

    path: Path
    data: bytes
    name: str
    samples: int
    """How many samples it gave."""


class Read(NamedTuple):
    """What files held."""

    raw: np.ndarray
    """(n, …) in the shape that a model takes."""
    files: list[File]
    """In the order of ``raw``."""
    refused: list[str]
    """A line for each file set aside."""

    @property
    def names(self) -> list[str]:
        """(n,): the file of each sample, numbered where one gave several."""
        return [
            file.name if file.samples == 1 else f"{file.name}[{i}]" for file in self.files for i in range(file.samples)
        ]


def read_files(files: list[Path], model: MaskedAutoencoder, base: Path | None = None) -> Read:
    """Reads files as the model's modality does; names are relative to ``base``. Raises ValueError where none is usable."""
    modality = model.modality
    blocks, found, refused = [], [], []
    for file in files:
        try:
            data = file.read_bytes()
            block = modality.read(data)
        except (OSError, ValueError) as problem:
            refused.append(f"{file}: {problem}")
            continue
        blocks.append(block)
        found.append(File(file, data, str(file.relative_to(base)) if base else str(file), len(block)))
    if not blocks:
        raise ValueError(f"no usable {modality.noun}:\n  " + "\n  ".join(refused or ["none given"]))
    return Read(np.concatenate(blocks), found, refused)


def reconstruct_files(
    folder: Path, files: list[Path], out: Path, ratio: float | None, strategy: str | None, seed: int
) -> str:
    """Writes a picture of originals, what was seen of them and reconstructions to ``out``; says how good they are.

    Beside it come sounds as ``*-original.wav``, ``*-masked.wav`` and ``*-restored.wav``, and of a file that lacks values ``*-filled``,
    the same file with predictions in their places, numbered where files are named alike.
    """
    _spare(out, files, ".png")
    model = MaskedAutoencoder.load(folder)
    found = read_files(files, model)
    raw = torch.from_numpy(found.raw)
    result = model.reconstruct(raw, ratio, strategy, seed)
    shown = slice(MOST_SHOWN)
    with replace_file(out) as staging:
        picture = model.modality.picture(raw[shown], result.masked[shown], result.filled[shown])
        Image.fromarray(picture).save(staging, "PNG")
    metric, values = next(iter(model.modality.quality(result.filled, raw, result.hidden).items()))
    views = model.modality.view(result.filled, result.hidden, raw, result.belief)
    lines = [
        "\n".join([f"{name}: {words.metric(metric)} {words.score(value, metric)}", *_said(panels)])
        for name, value, panels in zip(found.names, values.tolist(), views)
    ]
    notes = [result.note] if result.note else []
    if len(raw) > MOST_SHOWN:
        notes.append(f"the picture shows the first {MOST_SHOWN} of {len(raw)}")
    notes += [f"set aside: {line}" for line in found.refused]
    return "\n".join(
        [*lines, *notes, *_sounds(model, found, raw, result, out), *_mended(model, found, raw, out), str(out)]
    )


def _spare(out: Path, read: Iterable[Path], suffix: str = "") -> None:
    """Raises ValueError where ``out`` is a file that is read, or ends in something else than ``suffix``, as other people's files do."""
    if suffix and out.suffix.lower() != suffix:
        raise ValueError(f"--out {out}: what is written is a {suffix} file, name it so")
    if out.resolve() in {path.resolve() for path in read}:
        raise ValueError(f"--out {out} would replace a file that is read: choose another name")


def _said(panels: list[Panel]) -> list[str]:
    """What can be said of a sample in words, what was filled in marked: ``[filled]``, ``[filled|true]``."""
    said = []
    for panel in panels:
        if isinstance(panel, Text):
            said.append(panel.marked())
        elif isinstance(panel, Row):
            said.append("  " + ", ".join(f"{one.name}: {one.marked()}" for one in panel.values))
    return said


def _sounds(model: MaskedAutoencoder, found: Read, raw: Tensor, result: Reconstruction, out: Path) -> list[str]:
    """Writes what can be listened to beside ``out``; the names of the files."""
    written = []
    shown = slice(MOST_SHOWN)
    for kind, samples in (("original", raw), ("masked", result.masked), ("restored", result.filled)):
        for i, panels in enumerate(model.modality.view(samples[shown])):
            number = f"-{i}" if len(raw) > 1 else ""
            for sound in (panel for panel in panels if isinstance(panel, Sound)):
                path = out.with_name(f"{out.stem}{number}-{kind}.wav")
                _spare(path, [file.path for file in found.files])
                with replace_file(path) as staging:
                    staging.write_bytes(sound.wav())
                written.append(str(path))
    return written


def _mended(model: MaskedAutoencoder, found: Read, raw: Tensor, out: Path) -> list[str]:
    """Writes files that lack values again, with predictions in their places; what was done, a line for each."""
    made = impute(model, raw)
    said = []
    names = {file.path.name.casefold() for file in found.files}
    ends = accumulate(file.samples for file in found.files)
    for i, (end, file) in enumerate(zip(ends, found.files)):
        here = slice(end - file.samples, end)
        if not made.missing[here].any():
            continue
        try:
            mended = model.modality.mended(file.data, made.filled[here].numpy())
        except ValueError as problem:
            raise ValueError(f"{file.name} cannot be filled: {problem}") from None
        if mended == file.data:
            continue
        number = f"-{i}" if len(names) < len(found.files) else ""  # as soon as two are named alike
        name = f"-{file.path.stem}" if len(found.files) > 1 else ""
        path = out.with_name(f"{out.stem}-filled{number}{name}{file.path.suffix}")
        _spare(path, [one.path for one in found.files])
        with replace_file(path) as staging:
            staging.write_bytes(mended)
        said.append(f"{path}: {file.name} with predictions where it lacks values")
    return said


def embed_files(folder: Path, source: Path, out: Path) -> str:
    """Writes ``origin, split, label, f0, f1, …`` for every sample of a prepared dataset, of a folder of files or of one file."""
    import pandas as pd

    _spare(out, [source], ".parquet")
    model = MaskedAutoencoder.load(folder)
    frames: list[pd.DataFrame] = []
    refused: list[str] = []
    if (source / "dataset.json").is_file():
        dataset = open_dataset(source)
        if problem := unlike(model, dataset):
            raise ValueError(f"{folder} on {source}: {problem}")
        for name in ("train", "validation", "test"):
            split = dataset.split(name)
            try:
                samples = model.modality.fitted(split.samples)
            except ValueError as problem:
                raise ValueError(f"{folder} on {source}: {problem}") from None
            frames.append(_frame(extract(model, samples), list(split.names), name, split.labels.tolist()))
    else:
        if not source.exists():
            kind = f"a folder of {model.modality.noun}s, nor a file"
            raise FileNotFoundError(f"{source} is neither a prepared dataset (data/NAME) nor {kind}")
        base = source if source.is_dir() else source.parent
        suffixes = model.modality.suffixes
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes)
        found = read_files(files if source.is_dir() else [source], model, base)
        refused = found.refused
        frames.append(_frame(extract(model, found.raw), found.names, "", [-1] * len(found.raw)))
    table = pd.concat(frames, ignore_index=True)
    with replace_file(out) as staging:
        table.to_parquet(staging, index=False)
    return "\n".join(
        [*(f"set aside: {line}" for line in refused), f"{out}: {len(table)} rows, {table.shape[1] - 3} features"]
    )


def _frame(features: np.ndarray, origins: list[str], split: str, labels: list[int]):
    import pandas as pd

    facts = pd.DataFrame({"origin": origins, "split": split, "label": labels})
    return pd.concat([facts, pd.DataFrame(features, columns=[f"f{i}" for i in range(features.shape[1])])], axis=1)
