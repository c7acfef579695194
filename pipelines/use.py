"""Using a model on files: what ``maestro reconstruct`` and ``maestro embed`` do, whatever the files hold."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from experiments import words
from experiments.subjects import unlike
from mae_core.atomic import replace_file
from mae_core.data.dataset import open_dataset
from mae_core.evaluation.features import extract
from mae_core.model import MaskedAutoencoder

MOST_SHOWN = 16
"""Rows of a picture of reconstructions."""


class Read(NamedTuple):
    """What files held."""

    raw: np.ndarray
    """(n, …) in the shape that a model takes."""
    names: list[str]
    """(n,): the file of each, numbered where one file gave several."""
    refused: list[str]
    """A line for each file set aside."""


def read_files(files: list[Path], model: MaskedAutoencoder, base: Path | None = None) -> Read:
    """Reads files as the model's modality does; names are relative to ``base``. Raises ValueError where none is usable."""
    modality = model.modality
    blocks, names, refused = [], [], []
    for file in files:
        try:
            block = modality.read(file.read_bytes())
        except (OSError, ValueError) as problem:
            refused.append(f"{file}: {problem}")
            continue
        name = str(file.relative_to(base)) if base else str(file)
        blocks.append(block)
        names += [name] if len(block) == 1 else [f"{name}[{i}]" for i in range(len(block))]
    if not blocks:
        raise ValueError(f"no usable {modality.noun}:\n  " + "\n  ".join(refused or ["none given"]))
    return Read(np.concatenate(blocks), names, refused)


def reconstruct_files(
    folder: Path, files: list[Path], out: Path, ratio: float | None, strategy: str | None, seed: int
) -> str:
    """Writes a picture of originals, what was seen of them and reconstructions to ``out``; says how good they are."""
    model = MaskedAutoencoder.load(folder)
    found = read_files(files, model)
    raw = torch.from_numpy(found.raw)
    result = model.reconstruct(raw, ratio, strategy, seed)
    shown = slice(MOST_SHOWN)
    with replace_file(out) as staging:
        picture = model.modality.picture(raw[shown], result.masked[shown], result.filled[shown])
        Image.fromarray(picture).save(staging, "PNG")
    metric, values = next(iter(model.modality.quality(result.filled, raw, result.hidden).items()))
    lines = [
        f"{name}: {words.metric(metric)} {words.score(value, metric)}"
        for name, value in zip(found.names, values.tolist())
    ]
    said = model.modality.words(result.filled)
    lines = [f"{line}\n{text}" for line, text in zip(lines, said)] if said else lines
    notes = [result.note] if result.note else []
    if len(raw) > MOST_SHOWN:
        notes.append(f"the picture shows the first {MOST_SHOWN} of {len(raw)}")
    return "\n".join([*lines, *(f"set aside: {line}" for line in found.refused), *notes, str(out)])


def embed_files(folder: Path, source: Path, out: Path) -> str:
    """Writes ``origin, split, label, f0, f1, …`` for every sample of a prepared dataset or of a folder of files."""
    import pandas as pd

    model = MaskedAutoencoder.load(folder)
    frames: list[pd.DataFrame] = []
    refused: list[str] = []
    if (source / "dataset.json").is_file():
        dataset = open_dataset(source)
        if problem := unlike(model, dataset):
            raise ValueError(f"{folder} on {source}: {problem}")
        if tuple(dataset.shape) != model.modality.shape:
            raise ValueError(f"{source} holds samples of shape {dataset.shape}, {folder} takes {model.modality.shape}")
        for name in ("train", "validation", "test"):
            split = dataset.split(name)
            frames.append(_frame(extract(model, split.samples), list(split.names), name, split.labels.tolist()))
    else:
        if not source.is_dir():
            kind = f"a folder of {model.modality.noun}s"
            raise FileNotFoundError(f"{source} is neither a prepared dataset (data/NAME) nor {kind}")
        suffixes = model.modality.suffixes
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes)
        found = read_files(files, model, source)
        refused = found.refused
        frames.append(_frame(extract(model, found.raw), found.names, "", [-1] * len(found.names)))
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
