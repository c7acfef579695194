"""The mean over valid hidden cells."""

from types import SimpleNamespace

import torch

from mae_core.cells import Cells, Latent, Plan, View
from mae_core.objectives.reconstruction import Reconstruction
from mae_core.targets.pixels import Pixels


def view(hide_ok) -> View:
    values = torch.arange(24.0).view(2, 3, 4)
    plan = Plan(torch.tensor([[0], [0]]), torch.tensor([[1, 2], [1, 2]]), torch.ones(2, 1).bool(), hide_ok)
    if hide_ok is None:
        plan = plan._replace(keep_ok=None)
    return View(Cells(values, torch.zeros(3, 2)), plan, Latent(torch.zeros(0), torch.zeros(0)), torch.zeros(2, 2, 4))


EACH = torch.arange(24.0).view(2, 3, 4)[:, 1:].square().mean(-1)


def test_every_hidden_cell_counts_alike():
    terms = Reconstruction(Pixels(SimpleNamespace(values_per_cell=4))).forward((view(None),))
    assert terms.total == EACH.mean() and terms.hidden == 4
    assert torch.equal(terms.per_cell, EACH) and terms.parts == {"reconstruction": terms.total}


def test_padding_does_not_count():
    terms = Reconstruction(Pixels(SimpleNamespace(values_per_cell=4))).forward(
        (view(torch.tensor([[True, False], [True, True]])),)
    )
    assert terms.total == (EACH[0, 0] + EACH[1, 0] + EACH[1, 1]) / 3 and terms.hidden == 3


def test_nothing_hidden_is_a_loss_of_zero():
    terms = Reconstruction(Pixels(SimpleNamespace(values_per_cell=4))).forward((view(torch.zeros(2, 2).bool()),))
    assert terms.total == 0 and terms.hidden == 0
