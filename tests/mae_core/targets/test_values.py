"""Targets of cells that lack some of their values."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from mae_core.cells import Cells, Plan
from mae_core.targets.pixels import NormPixels, Pixels
from mae_core.targets.values import NormValues, Values

PLAN = Plan(torch.tensor([[0], [1]]), torch.tensor([[2, 1], [0, 2]]))
OF_EIGHT = SimpleNamespace(values_per_cell=8)
NAN = float("nan")


def cells(missing: int = 0) -> Cells:
    values = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)) * 3 + 2
    values[0, 2, 8 - missing :] = NAN
    return Cells(values, torch.zeros(3, 2))


def test_whole_cells_are_as_with_pixels():
    c, prediction = cells(), torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(1))
    for ours, theirs in ((Values(OF_EIGHT), Pixels(OF_EIGHT)), (NormValues(OF_EIGHT), NormPixels(OF_EIGHT))):
        a, b = (t.cell_loss(prediction, t.target(c, PLAN), PLAN) for t in (ours, theirs))
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(ours.decode(prediction, c, PLAN).values, theirs.decode(prediction, c, PLAN).values)


def test_missing_values_count_for_nothing():
    c = cells(missing=3)
    prediction = torch.zeros(2, 2, 8, requires_grad=True)
    loss = Values(OF_EIGHT).cell_loss(prediction, c.values, PLAN)
    torch.testing.assert_close(loss[0, 0].detach(), c.values[0, 2, :5].square().mean())
    loss.sum().backward()
    assert (
        torch.isfinite(prediction.grad).all()
        and (prediction.grad[0, 0, 5:] == 0).all()
        and prediction.grad[0, 0, :5].all()
    )


def test_statistics_are_of_known_values():
    c = cells(missing=3)
    found = NormValues(OF_EIGHT).target(c, PLAN)[0, 2]
    known = c.values[0, 2, :5]
    torch.testing.assert_close(found[:5], (known - known.mean()) / (known.var() + 1e-6).sqrt())
    assert found[5:].isnan().all()
    decoded = NormValues(OF_EIGHT).decode(found.nan_to_num().view(1, 1, 8), c, Plan(PLAN.keep[:1], torch.tensor([[2]])))
    torch.testing.assert_close(decoded.values[0, 0, :5], known)
    assert decoded.used_true_statistics


def test_a_single_known_value_and_none_stay_finite():
    for missing in (7, 8):
        c = cells(missing)
        for target in (Values(OF_EIGHT), NormValues(OF_EIGHT)):
            prediction = torch.ones(2, 2, 8)
            assert torch.isfinite(target.cell_loss(prediction, target.target(c, PLAN), PLAN)).all()
            assert torch.isfinite(target.decode(prediction, c, PLAN).values).all()
