"""The errors of numbers, and that every target that takes one uses it."""

from types import SimpleNamespace

import pytest
import torch

from mae_core.cells import Cells, Plan
from mae_core.targets.errors import ERRORS, error_of
from mae_core.targets.latent import Latents
from mae_core.targets.pixels import NormPixels, Pixels
from mae_core.targets.values import NormValues, Values

FORMULAS = {
    "l2": lambda d: d * d,
    "l1": abs,
    "smooth_l1": lambda d: d * d / 2 if abs(d) < 1 else abs(d) - 0.5,
}
PLAN = Plan(torch.tensor([[0], [1]]), torch.tensor([[2, 1], [0, 2]]))


@pytest.mark.parametrize("name", ERRORS)
def test_as_the_formula_says(name):
    x = torch.linspace(-3, 3, 25)
    torch.testing.assert_close(ERRORS[name](x), torch.tensor([FORMULAS[name](float(d)) for d in x]))


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("made", [Pixels, NormPixels, Values, NormValues])
def test_a_cell_is_the_mean_over_its_values(made, name):
    cells = Cells(2 * torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 2))
    said = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(1))
    target = made(SimpleNamespace(values_per_cell=4), loss=name)
    true = target.target(cells, PLAN)
    found = target.cell_loss(said, true, PLAN)
    for sample in range(2):
        for m in range(2):
            wanted = true[sample, PLAN.hide[sample, m]]
            each = [FORMULAS[name](float(a - b)) for a, b in zip(said[sample, m], wanted)]
            assert float(found[sample, m]) == pytest.approx(sum(each) / 4, rel=1e-5)


def test_an_error_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"unknown objective\.loss 'l3'.*there are l2, l1, smooth_l1"):
        error_of("l3")


def test_every_table_row_is_a_default_somewhere_or_asked_for():
    assert Pixels(SimpleNamespace(values_per_cell=4)).error is ERRORS["l2"]
    assert Latents(None, 4).error is ERRORS["smooth_l1"]
