"""Whole words are hidden together."""

import torch

from mae_core.cells import Cells
from mae_core.draws import Draws
from mae_core.masking.groups import WholeWordMasker
from mae_core.masking.plan import plan_from_scores

WORDS = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 3, 4, 4, 5])


def hidden(ratio: float, n: int = 400) -> torch.Tensor:
    cells = Cells(None, torch.arange(12.0).view(12, 1), group=WORDS.expand(n, -1))
    plan = plan_from_scores(WholeWordMasker().score(cells, Draws(0, 0, torch.arange(n))).scores, ratio)
    return torch.zeros(n, 12, dtype=torch.bool).scatter_(1, plan.hide, True)


def test_at_most_one_word_is_cut():
    maps = hidden(0.5)
    cut = torch.stack([(maps[:, w == WORDS].any(1) & ~maps[:, w == WORDS].all(1)) for w in range(6)]).sum(0)
    assert int(cut.max()) == 1 and (maps.sum(1) == 6).all()


def test_every_word_is_hidden_about_as_often():
    often = hidden(0.5, 4000).float().mean(0)
    assert (often - 0.5).abs().max() < 0.12


def test_cells_without_groups_are_hidden_alone():
    cells = Cells(None, torch.arange(12.0).view(12, 1))
    scores = WholeWordMasker().score(cells, Draws(0, 0, torch.arange(3))).scores
    assert scores.shape == (3, 12) and scores.unique().numel() == 36
