"""The bank of masks: everybody fills the same holes, and nothing else."""

import numpy as np
import pytest

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
