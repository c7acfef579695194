"""Cross-entropy of hidden tokens."""

import math

import torch

from mae_core.cells import Plan
from mae_core.modalities.text import TextModality
from mae_core.targets.tokens import Tokens


def parts():
    example = TextModality.examples()["padded"]
    modality = TextModality(8, **example.config)
    raw = example.raw(2, torch.Generator().manual_seed(0))
    plan = Plan(torch.tensor([[0, 1], [0, 3]]), torch.tensor([[2, 5], [1, 2]]), None, None)
    return modality, modality.split(raw), plan


def test_the_loss_is_the_negative_log_likelihood_in_nats():
    modality, cells, plan = parts()
    target = Tokens(modality)
    logits = torch.randn(2, 2, 7, generator=torch.Generator().manual_seed(1))
    loss = target.cell_loss(logits, target.target(cells, plan), plan)
    for b in range(2):
        for m in range(2):
            true = int(cells.values[b, plan.hide[b, m]])
            expected = -math.log(float(logits[b, m].exp()[true] / logits[b, m].exp().sum()))
            assert math.isclose(float(loss[b, m]), expected, rel_tol=1e-5)


def test_the_likeliest_token_is_decoded():
    modality, cells, plan = parts()
    logits = torch.zeros(2, 2, 7)
    logits[0, 0, 3] = logits[1, 1, 6] = 2.0
    decoded = Tokens(modality).decode(logits, cells, plan)
    assert decoded.values[..., 0].tolist() == [[3, 0], [0, 6]] and not decoded.used_true_statistics


def test_a_fresh_head_answers_with_the_frequencies_of_train():
    modality, _, plan = parts()
    head = Tokens(modality).head(4)
    found = head(torch.zeros(2, 2, 4), plan).softmax(-1)[0, 0]
    torch.testing.assert_close(found, modality.log_shares.exp())


def test_padding_never_counts():
    _, cells, _ = parts()
    assert (cells.values >= 0).all(), "an id that can be looked up, behind the end too"


def test_the_likeliest_token_comes_with_its_probability():
    target = Tokens(TextModality(8, 4, {"kind": "characters", "known": "ab"}))
    logits = torch.tensor([[[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]])
    plan = Plan(torch.tensor([[0, 1]]), torch.tensor([[3, 2]]), None, torch.tensor([[True, False]]))
    decoded = target.decode(logits, None, plan)
    torch.testing.assert_close(decoded.belief.probability, logits.softmax(-1).max(-1).values)
    everywhere = decoded.belief.of_all(plan, 4)
    assert everywhere.probability[0, 3] == decoded.belief.probability[0, 0]
    assert everywhere.probability[0, :3].isnan().all() and everywhere.low.isnan().all()
