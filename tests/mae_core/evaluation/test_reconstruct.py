"""The bank of masks: everybody fills the same holes, and nothing else."""

import numpy as np
import pytest
import torch
from contract import EXAMPLES, KINDS

from mae_core.evaluation.reconstruct import fill_quality
from mae_core.modalities.image import ImageModality

BANK = ImageModality.bank


@pytest.mark.parametrize("mask", BANK, ids=lambda mask: mask.name)
def test_all_fill_the_same_holes_and_leave_the_rest(model, images, mask, monkeypatch):
    samples, _ = images(5)
    seen = []
    true = ImageModality.quality

    def watched(self, filled, raw, hidden):
        seen.append(hidden)
        assert (filled[~hidden] == raw[~hidden]).all()
        return true(self, filled, raw, hidden)

    monkeypatch.setattr(ImageModality, "quality", watched)
    found = fill_quality(model, samples, mask)
    assert set(found) == {"model", "mean_fill", "harmonic_fill"}
    assert len(seen) == 3 and all((seen[0] == hidden).all() for hidden in seen)
    assert seen[0].float().mean() == pytest.approx(mask.ratio, abs=0.13)  # of four cells
    assert all(values.shape == (5,) and np.isfinite(values).all() for values in found["model"].values())


def test_the_mask_bank_is_the_same_for_every_model(model, images):
    assert len({mask.name for mask in BANK}) == len(BANK)
    samples, _ = images(4)
    first, second = (fill_quality(model, samples, BANK[0])["mean_fill"] for _ in range(2))
    np.testing.assert_array_equal(first["psnr"], second["psnr"])


every_example = pytest.mark.parametrize(
    ("kind", "example"), [(kind, one) for kind, some in EXAMPLES.items() for one in some]
)


def half_hidden(kind, example):
    """A modality, three of its raw samples, and what of them is hidden where every second cell is."""
    one = EXAMPLES[kind][example]
    modality = KINDS[kind](width=8, **one.config)
    raw = one.raw(3, torch.Generator().manual_seed(0))
    return modality, raw, modality.covers(raw, torch.arange(modality.cells)[::2].expand(3, -1))


@every_example
def test_where_nothing_is_visible_fills_are_the_constant_of_train(kind, example):
    """A sample of which something is visible is filled as if it were alone."""
    modality, raw, hidden = half_hidden(kind, example)
    hidden[0] = modality.covers(raw, torch.arange(modality.cells).expand(3, -1))[0]
    constant = modality.trivial(raw, hidden)[0]
    for name, filled in modality.fills(raw, hidden).items():
        known = ~filled[0].isnan()
        assert torch.equal(filled[0][known], constant[known]), name
        alone = modality.fills(raw[1:], hidden[1:])[name]
        assert torch.equal(filled[1:].nan_to_num(), alone.nan_to_num()), name


@every_example
def test_fills_and_measures_stay_where_the_samples_are(kind, example):
    """What is made without a device lies elsewhere than samples on a GPU: here it is the meta device, which mixes with no other."""
    modality, raw, hidden = half_hidden(kind, example)
    with torch.device("meta"):
        fills = {**modality.fills(raw, hidden), "trivial": modality.trivial(raw, hidden)}
        measured = [modality.quality(filled, raw, hidden) for filled in fills.values()]
    assert all(filled.device == raw.device for filled in fills.values())
    assert all(len(values) == 3 for found in measured for values in found.values())
