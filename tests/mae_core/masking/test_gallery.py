"""The gallery: a row for every masker of every modality, of samples that are masked as the plan says."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch

from mae_core.masking.gallery import GAP, HIDDEN, NAME, gallery, masked_by, text_gallery
from mae_core.modalities import MODALITIES
from mae_core.modalities.base import OWN
from mae_core.modalities.image import ImageModality
from mae_core.registry import resolve


@pytest.mark.parametrize("name", MODALITIES)
def test_there_is_a_row_for_each_masker(name):
    kind = resolve(MODALITIES, name, "modality")
    example = next(iter(kind.examples().values()))
    modality = kind(width=16, **example.config)
    raw = example.raw(2, torch.Generator().manual_seed(0))
    sheet = gallery(modality, raw)
    led = [one for one in kind.maskers if one in ("variance", "edges", "motion")]
    rows = 1 + len([one for one in kind.maskers if one not in OWN]) + len(led)
    assert sheet.shape[0] % rows == 0 and sheet.shape[2] == 3 and sheet.dtype.name == "uint8"
    high = sheet.shape[0] // rows
    first = sheet[: high - GAP, NAME:]
    assert any((sheet[i * high : (i + 1) * high - GAP, NAME:] != first).any() for i in range(1, rows))


def test_as_much_is_blank_as_the_ratio_says():
    modality = ImageModality(16, 1, [8, 8], 2)
    raw = torch.randint(0, 100, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    shown = masked_by(modality, raw, "coarse", 0.75)
    blank = shown == modality.blank
    assert (blank.flatten(1).sum(1) == 48).all() and torch.equal(shown[~blank], raw[~blank])


def test_letters_show_the_same_masks():
    modality = ImageModality(16, 1, [8, 8], 2)
    raw = torch.randint(0, 100, (1, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    lines = text_gallery(modality, raw, 0.75, abreast=1).split("\n")
    marks = [line.split() for line in lines[lines.index("coarse") + 1 :][:4]]
    blank = (masked_by(modality, raw, "coarse", 0.75) == modality.blank)[0, 0, ::2, ::2]
    assert [[mark == HIDDEN for mark in row] for row in marks] == blank.tolist()


def test_letters_need_rows_and_columns():
    kind = resolve(MODALITIES, "text", "modality")
    example = next(iter(kind.examples().values()))
    with pytest.raises(ValueError, match="do not lie in rows and columns: draw them as a picture"):
        text_gallery(kind(width=16, **example.config), example.raw(1, torch.Generator().manual_seed(0)))


def test_the_page_shows_what_its_code_draws():
    page = (Path(__file__).parents[3] / "docs" / "masks.md").read_text(encoding="utf-8")
    code, shown = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL).groups()
    said = StringIO()
    with redirect_stdout(said):
        exec(code, {})
    assert said.getvalue() == shown
