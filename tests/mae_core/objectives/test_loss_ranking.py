"""Which of two hidden cells is reconstructed worse."""

import math

import pytest
import torch

from mae_core.cells import Cells, Plan, View
from mae_core.draws import Draws
from mae_core.modalities.joint import JointModality
from mae_core.model import MaskedAutoencoder
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
    term = LossRanking().forward((View(Cells(None, torch.zeros(4, 1)), plan, None, SAID.unsqueeze(-1), None, ERROR),))
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


def test_cells_of_different_kinds_are_no_pair():
    kind = torch.tensor([[0, 1, 0], [1, 1, 0]])
    found = pair_nats(SAID.unsqueeze(-1), ERROR, None, kind)
    assert found[0, 1] == 0 and found[1].tolist() == [0, 0, 0], "alone of its kind, or beside an equal error"
    wrong_way_round = math.log(1 + math.exp(float(SAID[0, 2] - SAID[0, 0])))
    assert found[0, [0, 2]].tolist() == pytest.approx([wrong_way_round] * 2, rel=1e-5)


def test_what_parts_weigh_in_the_loss_decides_nothing():
    example = JointModality.examples()["parts missing"]
    raw, totals = example.raw(8, torch.Generator().manual_seed(0)), []
    for weight in (1.0, 0.05):
        config = {
            "modality": {"kind": "joint", **example.config},
            "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
            "decoder": {"kind": "cross", "width": 8, "depth": 1, "heads": 2},
            "masking": {"strategy": "random", "ratio": 0.5},
            "objective": {"reconstruction": 1.0, "loss_ranking": 1.0, "target": "parts", "weights": {"words": weight}},
        }
        model = MaskedAutoencoder.build(config, 0)
        torch.nn.init.normal_(model.objectives.heads["loss_ranking"].weight, generator=torch.Generator().manual_seed(1))
        totals.append(float(model(raw, Draws(0, 0, torch.arange(8))).parts["loss_ranking"]))
    assert totals[0] == totals[1] > 0
