"""Cells compared as spectra, against the transform written out as a sum."""

import cmath
import math

import numpy as np
import pytest
import torch

from mae_core.cells import Plan
from mae_core.modalities.image import ImageModality
from mae_core.targets.fourier import Fourier

PLAN = Plan(torch.tensor([[0], [1]]), torch.tensor([[2, 1], [0, 3]]))


@pytest.fixture
def target():
    return Fourier(ImageModality(8, 2, [4, 6], [2, 3]))


def by_hand(difference):
    """(h, w, C) → the mean over frequencies and channels of |F|² |F| / max |F|."""
    height, width, channels = difference.shape
    spectrum = []
    for c in range(channels):
        for u in range(height):
            for v in range(width):
                terms = (
                    difference[y, x, c] * cmath.exp(-2j * math.pi * (u * y / height + v * x / width))
                    for y in range(height)
                    for x in range(width)
                )
                spectrum.append(abs(sum(terms)) / math.sqrt(height * width))
    largest = max(spectrum)
    return sum(s**3 / largest for s in spectrum) / len(spectrum)


def test_as_the_sum_says(target):
    generator = torch.Generator().manual_seed(0)
    true, said = torch.randn(2, 4, 12, generator=generator), torch.randn(2, 2, 12, generator=generator)
    found = target.cell_loss(said, true, PLAN)
    for sample in range(2):
        for m in range(2):
            difference = (said[sample, m] - true[sample, PLAN.hide[sample, m]]).double().numpy().reshape(2, 3, 2)
            assert float(found[sample, m]) == pytest.approx(by_hand(difference), rel=1e-5)


def test_one_frequency_alone_is_the_squared_error(target):
    """Parseval: a weight of one everywhere would give the squared error of pixels."""
    true, said = torch.zeros(2, 4, 12), torch.zeros(2, 2, 12)
    said[..., ::2] = 0.7
    torch.testing.assert_close(target.cell_loss(said, true, PLAN), said.square().mean(-1))
    noise = torch.randn(2, 2, 12, generator=torch.Generator().manual_seed(1))
    assert (target.cell_loss(noise, true, PLAN) < noise.square().mean(-1)).all()


def test_a_perfect_prediction_costs_nothing_and_has_a_finite_gradient(target):
    said = torch.zeros(2, 2, 12, requires_grad=True)
    loss = target.cell_loss(said, torch.zeros(2, 4, 12), PLAN)
    assert not loss.any()
    loss.sum().backward()
    assert np.isfinite(said.grad.numpy()).all()


def test_the_weight_has_no_gradient(target):
    """A single frequency: the loss is d², its gradient 2 d, as if the weight were a constant."""
    said = torch.full((2, 2, 12), 0.5, requires_grad=True)
    target.cell_loss(said, torch.zeros(2, 4, 12), PLAN).sum().backward()
    torch.testing.assert_close(said.grad, torch.full_like(said, 2 * 0.5 / 12))


def test_it_is_for_pixels_alone():
    with pytest.raises(ValueError, match="is for cells of pixels, not for object"):
        Fourier(object())
