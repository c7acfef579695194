"""Pixel targets and their losses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mae_core.cells import Cells, Plan
from mae_core.targets.pixels import NormPixels, Pixels

PLAN = Plan(torch.tensor([[0], [1]]), torch.tensor([[2, 1], [0, 2]]))


def cells(scale: float = 1.0) -> Cells:
    return Cells(torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)) * scale + 2, torch.zeros(3, 2))


def test_pixels():
    target = Pixels(SimpleNamespace(values_per_cell=8))
    c = cells()
    assert target.target(c, PLAN) is c.values
    prediction = torch.zeros(2, 2, 8)
    loss = target.cell_loss(prediction, c.values, PLAN)
    assert loss[0, 0] == c.values[0, 2].square().mean() and loss[1, 0] == c.values[1, 0].square().mean()
    assert not target.decode(prediction, c, PLAN).used_true_statistics


def test_norm_pixels():
    """The unbiased variance, with 1e-6 inside the root, over all values of a patch."""
    c = cells()
    found = NormPixels(SimpleNamespace(values_per_cell=8)).target(c, PLAN)
    patch = c.values[1, 2]
    variance = (patch - patch.mean()).square().sum() / 7
    torch.testing.assert_close(found[1, 2], (patch - patch.mean()) / (variance + 1e-6).sqrt())


def test_flat_patches_stay_finite():
    flat = Cells(torch.full((1, 2, 8), 0.7, requires_grad=True), torch.zeros(2, 2))
    found = NormPixels(SimpleNamespace(values_per_cell=8)).target(flat, PLAN)
    assert found.abs().max() < 1e-3
    found.sum().backward()
    assert torch.isfinite(flat.values.grad).all()


def test_decoding_undoes_the_target():
    c = cells(scale=3.0)
    target = NormPixels(SimpleNamespace(values_per_cell=8))
    hidden = target.target(c, PLAN).gather(1, PLAN.hide[..., None].expand(-1, -1, 8))
    decoded = target.decode(hidden, c, PLAN)
    assert decoded.used_true_statistics
    torch.testing.assert_close(decoded.values[0, 1], c.values[0, 1])


def test_loss_is_float32_whatever_the_prediction():
    c = cells()
    prediction = torch.randn(2, 2, 8).bfloat16()
    for target in (Pixels(SimpleNamespace(values_per_cell=8)), NormPixels(SimpleNamespace(values_per_cell=8))):
        assert target.cell_loss(prediction, target.target(c, PLAN), PLAN).dtype == torch.float32
        assert target.decode(prediction, c, PLAN).values.dtype == torch.float32


def test_one_value_has_no_variance():
    with pytest.raises(ValueError, match="no variance to normalise by"):
        NormPixels(SimpleNamespace(values_per_cell=1))
