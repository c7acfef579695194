"""Which of two hidden cells is reconstructed worse."""

import math

import pytest
import torch

from mae_core.cells import Plan, View
from mae_core.objectives.loss_ranking import LossRanking, RankHead, pair_nats

SAID = torch.tensor([[0.3, -1.0, 2.0], [0.5, 0.1, 0.7]])
ERROR = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 4.0]])


def nats(sample, i, ok):
    """The mean over the other cells of −log σ of the difference the right way round."""
    found = []
    for j in range(3):
        if ok[sample][j] and ERROR[sample, j] != ERROR[sample, i]:
            difference = float(SAID[sample, i] - SAID[sample, j])
            sign = 1 if ERROR[sample, i] > ERROR[sample, j] else -1
            found.append(math.log(1 + math.exp(-sign * difference)))
    return sum(found) / max(len(found), 1)


@pytest.mark.parametrize("ok", [None, torch.tensor([[True, True, True], [True, True, False]])], ids=["all", "padded"])
def test_as_the_formula_says(ok):
    known = torch.ones(2, 3, dtype=torch.bool) if ok is None else ok
    found = pair_nats(SAID.unsqueeze(-1), ERROR, ok)
    for sample in range(2):
        for i in range(3):
            if known[sample, i]:
                assert float(found[sample, i]) == pytest.approx(nats(sample, i, known), rel=1e-5)
    keep = torch.zeros(2, 1, dtype=torch.long)
    plan = Plan(keep, torch.tensor([[1, 2, 3], [1, 2, 3]]), None, ok)
    term = LossRanking().forward((View(None, plan, None, SAID.unsqueeze(-1), None, ERROR),))
    torch.testing.assert_close(term.total, found[known].mean())
    assert term.parts == {"loss_ranking": term.total}


def test_the_right_order_costs_less_and_only_the_order_counts():
    right, wrong = pair_nats(ERROR.unsqueeze(-1), ERROR, None), pair_nats(-ERROR.unsqueeze(-1), ERROR, None)
    assert right.mean() < 0.5 < wrong.mean()
    assert torch.equal(pair_nats(SAID.unsqueeze(-1), ERROR, None), pair_nats(SAID.unsqueeze(-1), ERROR.exp(), None))


def test_the_head_has_no_bias_that_could_learn_nothing():
    head = RankHead(5)
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert head(torch.ones(2, 3, 5), None).shape == (2, 3, 1)
