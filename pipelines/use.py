"""Using a model on files: what ``maestro reconstruct`` and ``maestro embed`` do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mae_core.atomic import replace_file
from mae_core.data.dataset import open_dataset
from mae_core.data.images import SUFFIXES, ImageProblem, decode_image
from mae_core.evaluation.features import extract
from mae_core.model import MaskedAutoencoder


def read_images(files: list[Path], model: MaskedAutoencoder) -> tuple[torch.Tensor, list[Path], list[str]]:
    """(n, C, H, W) uint8 in the shape a model takes, the files they came from, and a line for each file set aside."""
    height, width = model.modality.size
    images, used, refused = [], [], []
    for file in files:
        try:
            images.append(decode_image(file.read_bytes(), (height, width), model.modality.channels))
            used.append(file)
        except (OSError, ImageProblem) as problem:
            refused.append(f"{file}: {problem}")
    if not images:
        raise ValueError("no usable picture:\n  " + "\n  ".join(refused or ["none given"]))
    return torch.from_numpy(np.stack(images)), used, refused


def reconstruct_files(
    folder: Path, files: list[Path], out: Path, ratio: float | None, strategy: str | None, seed: int
) -> str:
    """Writes a grid of original, masked, reconstruction and error to ``out`` and says how good it is."""
    model = MaskedAutoencoder.load(folder)
    raw, used, refused = read_images(files, model)
    result = model.reconstruct(raw, ratio, strategy, seed)
    with replace_file(out) as staging:
        Image.fromarray(model.modality.picture(raw, result.masked, result.filled)).save(staging, "PNG")
    lines = [f"{file}: PSNR of hidden pixels {psnr:.1f} dB" for file, psnr in zip(used, result.psnr.tolist())]
    notes = [result.note] if result.note else []
    return "\n".join([*lines, *(f"set aside: {line}" for line in refused), *notes, str(out)])


def embed_files(folder: Path, source: Path, out: Path) -> str:
    """Writes ``origin, split, label, f0, f1, …`` for every picture of a prepared dataset or of a folder of images."""
    import pandas as pd

    model = MaskedAutoencoder.load(folder)
    frames: list[pd.DataFrame] = []
    refused: list[str] = []
    if (source / "dataset.json").is_file():
        dataset = open_dataset(source)
        if tuple(dataset.shape) != (model.modality.channels, *model.modality.size):
            raise ValueError(
                f"{source} holds {dataset.shape} images, {folder} takes {model.modality.channels, *model.modality.size}"
            )
        for name in ("train", "validation", "test"):
            split = dataset.split(name)
            frames.append(_frame(extract(model, split.samples), list(split.names), name, split.labels.tolist()))
    else:
        if not source.is_dir():
            raise FileNotFoundError(f"{source} is neither a prepared dataset (data/NAME) nor a folder of images")
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
        raw, used, refused = read_images(files, model)
        names = [str(file.relative_to(source)) for file in used]
        frames.append(_frame(extract(model, raw.numpy()), names, "", [-1] * len(names)))
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
