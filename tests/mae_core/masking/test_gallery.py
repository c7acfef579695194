"""The gallery: a row for every masker of every modality, of samples that are masked as the plan says."""

from __future__ import annotations

import pytest
import torch

from mae_core.masking.gallery import GAP, NAME, gallery, masked_by
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
