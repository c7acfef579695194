"""Every masker of a modality at a glance: one picture with a row for each, or letters for where only text can be shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_core.cells import Context, Plan
from mae_core.draws import Draws
from mae_core.masking.making import context_for, make_masker, options_of
from mae_core.masking.plan import plan_from_scores
from mae_core.modalities.base import OWN, Modality

SIDE = 96
"""Least pixels a side of one sample."""
MOST_TIMES = 8
"""That a sample is enlarged."""
NAME, LINE, GAP = 110, 14, 6
"""Pixels: width of the names, height of a line, space around a sample."""
INK, PAPER = (32, 36, 44), (255, 255, 255)


HIDDEN, SEEN = "■", "·"


def masked_by(modality: Modality, raw: Tensor, strategy: str, ratio: float, seed: int = 0, **options: Any) -> Tensor:
    """Samples like ``raw``, in which what a strategy hides is the modality's ``blank``."""
    return _blanked(modality, raw, _plan(modality, raw, strategy, ratio, seed, **options))


def _blanked(modality: Modality, raw: Tensor, plan: Plan) -> Tensor:
    hidden = modality.covers(raw, plan.hide, plan.hide_ok)
    return torch.where(hidden, torch.full_like(raw, modality.blank), raw)


def _plan(modality: Modality, raw: Tensor, strategy: str, ratio: float, seed: int, **options: Any) -> Plan:
    rising = torch.arange(modality.coords.shape[-2]).float().tolist()  # of a map, so that it is seen
    masker = make_masker(
        {"strategy": strategy, "options": options, "weights": rising if strategy == "weight_map" else None}
    )
    cells = modality.split(raw)
    draws = Draws(seed, 0, torch.arange(len(raw), device=raw.device))
    scored = masker.score(cells, draws, context_for(masker, modality, cells, Context()))
    return plan_from_scores(scored.scores, ratio, cells.valid)


@torch.no_grad()
def gallery(modality: Modality, raw: Tensor, ratio: float | None = None, seed: int = 0) -> np.ndarray:
    """RGB uint8 (height, width, 3): the samples whole, then under each of the modality's maskers with its defaults.

    A map of weights rises from the first cell to the last. Masks that are a model's own are left out.
    """
    ratio = modality.default_ratio if ratio is None else ratio
    rows = {"whole": raw}
    for strategy, options in _shown(modality):
        name = "\n".join([strategy, *(f"{key}: {value}" for key, value in options.items())])
        rows[name] = masked_by(modality, raw, strategy, ratio, seed, **options)
    return _sheet({name: modality.render(shown).cpu().numpy() for name, shown in rows.items()})


@torch.no_grad()
def own_gallery(model: Any, raw: Tensor, ratio: float, seed: int = 0, draws: int = 3) -> np.ndarray:
    """RGB uint8 likewise: the samples whole, then under ``draws`` masks of the model, by the strategy and state of its training."""
    modality, strategy = model.modality, model.config["masking"]["strategy"]
    rows = {"whole": raw}
    for draw in range(draws):
        rows[f"{strategy}\nseed {seed + draw}"] = _blanked(modality, raw, model.plan(raw, ratio, strategy, seed + draw))
    return _sheet({name: modality.render(shown).cpu().numpy() for name, shown in rows.items()})


@torch.no_grad()
def text_gallery(modality: Modality, raw: Tensor, ratio: float | None = None, seed: int = 0, abreast: int = 4) -> str:
    """The same of the first sample in letters, ``abreast`` masks side by side.

    Raises ValueError where the cells do not lie in rows and columns.
    """
    coords = modality.coords.long()
    if coords.shape[-1] != 2 or int((coords.amax(0) + 1).prod()) != len(coords):
        raise ValueError(f"cells of {type(modality).__name__} do not lie in rows and columns: draw them as a picture")
    ratio = modality.default_ratio if ratio is None else ratio
    blocks = []
    for strategy, options in _shown(modality):
        marks = np.full(tuple((coords.amax(0) + 1).tolist()), SEEN)
        plan = _plan(modality, raw[:1], strategy, ratio, seed, **options)
        hidden = plan.hide[0] if plan.hide_ok is None else plan.hide[0][plan.hide_ok[0]]
        marks[tuple(coords[hidden].T.tolist())] = HIDDEN
        name = " ".join([strategy, *map(str, options.values())])
        blocks.append([name, *(" ".join(row) for row in marks)])
    wide = max(len(line) for block in blocks for line in block) + GAP // 2
    shelves = [blocks[i : i + abreast] for i in range(0, len(blocks), abreast)]
    texts = ["\n".join("".join(f"{line:<{wide}}" for line in lines).rstrip() for lines in zip(*one)) for one in shelves]
    return "\n\n".join(texts)


def _shown(modality: Modality) -> Iterator[tuple[str, dict[str, str]]]:
    """Maskers with the options that make another mask of them; those that are a model's own are left out."""
    for strategy in type(modality).maskers:
        if strategy not in OWN:
            yield strategy, {}
            if "hide" in options_of(strategy):
                yield strategy, {"hide": "little"}


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
