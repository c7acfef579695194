"""Every masker of a modality at a glance: one picture, a row for each, the same samples in every row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_core.cells import Context
from mae_core.draws import Draws
from mae_core.masking.bandit import LEARNED
from mae_core.masking.making import context_for, make_masker, options_of
from mae_core.masking.plan import plan_from_scores
from mae_core.modalities.base import Modality

SIDE = 96
"""Least pixels a side of one sample."""
MOST_TIMES = 8
"""That a sample is enlarged."""
NAME, LINE, GAP = 110, 14, 6
"""Pixels: width of the names, height of a line, space around a sample."""
INK, PAPER = (32, 36, 44), (255, 255, 255)


def masked_by(modality: Modality, raw: Tensor, strategy: str, ratio: float, seed: int = 0, **options: Any) -> Tensor:
    """Samples like ``raw``, in which what a strategy hides is the modality's ``blank``."""
    rising = torch.arange(modality.coords.shape[-2]).float().tolist()  # of a map, so that it is seen
    masker = make_masker(
        {"strategy": strategy, "options": options, "weights": rising if strategy == "weight_map" else None}
    )
    cells = modality.split(raw)
    draws = Draws(seed, 0, torch.arange(len(raw), device=raw.device))
    scored = masker.score(cells, draws, context_for(masker, modality, cells, Context()))
    plan = plan_from_scores(scored.scores, ratio, cells.valid)
    hidden = modality.covers(raw, plan.hide, plan.hide_ok)
    return torch.where(hidden, torch.full_like(raw, modality.blank), raw)


@torch.no_grad()
def gallery(modality: Modality, raw: Tensor, ratio: float | None = None, seed: int = 0) -> np.ndarray:
    """RGB uint8 (height, width, 3): the samples whole, then under each of the modality's maskers with its defaults.

    A map of weights rises from the first cell to the last. Learned masks are left out: before training they are random.
    """
    ratio = modality.default_ratio if ratio is None else ratio
    rows = {"whole": raw}
    for strategy in type(modality).maskers:
        if strategy not in LEARNED:
            rows[strategy] = masked_by(modality, raw, strategy, ratio, seed)
            if "hide" in options_of(strategy):
                rows[f"{strategy}\nhide: little"] = masked_by(modality, raw, strategy, ratio, seed, hide="little")
    return _sheet({name: modality.render(shown).cpu().numpy() for name, shown in rows.items()})


def _sheet(rows: dict[str, np.ndarray]) -> np.ndarray:
    """Names to the left of (n, H, W, 3) pictures, enlarged by whole numbers."""
    from PIL import Image, ImageDraw, ImageFont

    count, height, width, _ = next(iter(rows.values())).shape
    times = min(max(-(-SIDE // min(height, width)), 1), MOST_TIMES)
    high, wide = height * times + GAP, width * times + GAP
    sheet = Image.new("RGB", (NAME + count * wide, len(rows) * high), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for i, (name, pictures) in enumerate(rows.items()):
        for j, line in enumerate(name.split("\n")):
            pen.text((GAP, i * high + GAP + j * LINE), line, fill=INK, font=font)
        for j, picture in enumerate(pictures):
            enlarged = Image.fromarray(picture.repeat(times, 0).repeat(times, 1))
            sheet.paste(enlarged, (NAME + j * wide, i * high))
    return np.asarray(sheet)
