"""What masks hide, every strategy or those of a trained model, on real or made-up samples: what ``maestro masks`` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from experiments.subjects import unlike
from mae_core.atomic import replace_file, write_text
from mae_core.data.dataset import open_dataset
from mae_core.masking.coverage import Coverage, coverage
from mae_core.masking.gallery import gallery, own_gallery, text_gallery
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder
from mae_core.registry import resolve

WIDTH = 64
"""Of an embedding that nothing reads."""
COUNTED = 256
"""Samples that a model's masks are counted over."""


def draw_masks(
    out: Path, modality: str, dataset: str | None, ratio: float | None, count: int, root: Path = Path()
) -> str:
    """Writes the gallery of a modality's maskers and says where: a picture, in letters where ``out`` ends in .txt.

    With a dataset, its modality counts.
    """
    _check(count, out)
    if dataset is None:
        kind = resolve(MODALITIES, modality, "modality")
        example = next(iter(kind.examples().values()))
        config, raw = example.config, example.raw(count, torch.Generator().manual_seed(0))
    else:
        found = open_dataset(root / "data" / dataset)
        kind = resolve(MODALITIES, found.modality, "modality")
        config = kind.configure(found.info, kind.default_patch(found.info))
        raw = torch.from_numpy(np.array(found.split("train").samples[:count]))
    cut = kind(width=WIDTH, **config)
    if out.suffix == ".txt":
        write_text(out, text_gallery(cut, raw, ratio) + "\n")
        return f"{out}: every mask of one sample"
    _save(gallery(cut, raw, ratio), out)
    return f"{out}: a row for each mask, {len(raw)} samples"


def draw_own_masks(out: Path, folder: Path, dataset: str | None, ratio: float | None, count: int, root: Path) -> str:
    """Writes a picture of what a trained model hides of the first samples of a dataset; returns how often it hides each cell.

    Raises ValueError where the dataset is none that the model takes.
    """
    _check(count, out)
    if out.suffix == ".txt":
        raise ValueError(f"--out {out}: masks of a model are drawn as a picture, name a .png")
    if dataset is None:
        raise ValueError("--model: name a prepared dataset too, with --dataset")
    model, found = MaskedAutoencoder.load(folder).eval(), open_dataset(root / "data" / dataset)
    if problem := unlike(model, found):
        raise ValueError(f"{folder}: {problem}")
    ratio = (model.ratio or model.modality.default_ratio) if ratio is None else ratio
    if not ratio:
        raise ValueError("--ratio 0 hides nothing, so there is no mask to draw: give one above 0")
    raw = torch.from_numpy(np.array(found.split("train").samples[: max(count, COUNTED)]))
    _save(own_gallery(model, raw[:count], ratio), out)
    return "\n".join([*_said(coverage(model, raw, ratio), ratio), str(out)])


def _check(count: int, out: Path) -> None:
    if count < 1:
        raise ValueError(f"--count {count}: at least one sample is wanted")
    if out.suffix.lower() not in (".png", ".txt"):
        raise ValueError(f"--out {out}: what is written is a .png picture or a .txt of letters, name it so")


def _save(picture: np.ndarray, out: Path) -> None:
    with replace_file(out) as staging:
        Image.fromarray(picture).save(staging, format="PNG")


def _said(found: Coverage, ratio: float) -> list[str]:
    """How often each cell is hidden, in percent, as cells lie."""
    rows = [" ".join("   " if np.isnan(one) else f"{100 * one:3.0f}" for one in row).rstrip() for row in found.grid()]
    return [
        f"how often each cell is hidden, % of {found.samples} samples at {ratio:.0%}:",
        *rows,
        f"evenness {found.evenness:.2f} (1: all cells alike)",
        f"agreement {found.agreement:.2f} (of two masks of a sample; 0: as two random ones, 1: the same)",
    ]
