"""What every mask hides, drawn on real or made-up samples: what ``maestro masks`` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mae_core.atomic import replace_file, write_text
from mae_core.data.dataset import open_dataset
from mae_core.masking.gallery import gallery, text_gallery
from mae_core.modalities import MODALITIES
from mae_core.registry import resolve

WIDTH = 64
"""Of an embedding that nothing reads."""


def draw_masks(
    out: Path, modality: str, dataset: str | None, ratio: float | None, count: int, root: Path = Path()
) -> str:
    """Writes the gallery of a modality's maskers and says where: a picture, in letters where ``out`` ends in .txt.

    With a dataset, its modality counts.
    """
    if count < 1:
        raise ValueError(f"--count {count}: at least one sample is wanted")
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
    picture = gallery(cut, raw, ratio)
    with replace_file(out) as staging:
        Image.fromarray(picture).save(staging, format="PNG")
    return f"{out}: a row for each mask, {len(raw)} samples"
