"""Distributions of a table's values: they sum to one, stay finite, and say what they were told."""

import math

import pytest
import torch
from scipy import stats

from mae_core.cells import Cells, Plan
from mae_core.modalities.columns import RESOLUTION
from mae_core.modalities.table import OF_NUMBER, TableModality
from mae_core.targets.columns import PARTS, ColumnHead, Columns

MIXED = TableModality.examples()["mixed"].config


@pytest.fixture(scope="module")
def target():
    return Columns(TableModality(8, **MIXED))


def plan_of(*columns):
    return Plan(torch.tensor([[5]]), torch.tensor([list(columns)]))


def prediction(parts=(), logits=()):
    """(1, 1, 12): weights, centres and log-scales, or logits."""
    flat = [*logits] if logits else [value for triple in zip(*parts) for value in triple]
    return torch.tensor([[[*flat, *[0.0] * (3 * PARTS - len(flat))]]])


def number(parts):
    padded = [*parts, *[(-1e4, 0.0, 0.0)] * (PARTS - len(parts))]
    return prediction(padded)


def test_nats_of_a_number_are_those_of_its_interval(target):
    said = number([(0.0, 0.5, math.log(0.3))])
    value = torch.zeros(1, 7, 3)
    value[0, 0, 0] = 0.73
    found = float(target.cell_loss(said, value, plan_of(0)))
    logistic = stats.logistic(0.5, 0.3)
    assert found == pytest.approx(-math.log(logistic.cdf(0.75) - logistic.cdf(0.65)), abs=1e-5)


def test_probabilities_sum_to_one(target):
    said = number([(0.3, -1.0, -1.0), (0.0, 2.0, 0.2)])
    total = 0.0
    for k in range(-300, 300):
        value = torch.zeros(1, 7, 3)
        value[0, 0, 0] = k * RESOLUTION
        total += math.exp(-float(target.cell_loss(said, value, plan_of(0))))
    assert total == pytest.approx(1, abs=1e-4)
    logits = prediction(logits=[0.3, -1.0, 2.0, 0.5])
    shares = []
    for code in range(4):
        value = torch.zeros(1, 7, 3)
        value[0, 1, 2] = code
        shares.append(math.exp(-float(target.cell_loss(logits, value, plan_of(1)))))
    assert sum(shares) == pytest.approx(1) and shares[2] == max(shares)


@pytest.mark.parametrize("z", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("log_scale", [-50.0, 0.0, 50.0])
def test_far_values_have_finite_nats_and_gradients(target, z, log_scale):
    said = number([(0.0, 1.0, log_scale)]).requires_grad_()
    value = torch.zeros(1, 7, 3)
    value[0, 0, 0] = z
    loss = target.cell_loss(said, value, plan_of(0)).sum()
    loss.backward()
    assert torch.isfinite(loss) and loss >= 0 and torch.isfinite(said.grad).all()


def test_decoded_is_the_mean_within_train_and_a_category_that_train_holds(target):
    cells = Cells(None, torch.arange(7.0).unsqueeze(-1))
    middle = target.decode(number([(0.0, -1.0, 0.0), (math.log(3), 1.0, 0.0)]), cells, plan_of(0))
    assert float(middle.values) == pytest.approx(0.5) and not middle.used_true_statistics
    highest = (MIXED["columns"][0]["quantiles"][-1] - 1) / 2
    assert float(target.decode(number([(0.0, 99.0, 0.0)]), cells, plan_of(0)).values) == pytest.approx(highest)
    unseen = prediction(logits=[0.0, 1.0, 9.0, 9.0])
    assert float(target.decode(unseen, cells, plan_of(1)).values) == 1


def test_quantiles_are_those_of_the_mixture(target):
    said = target.distribution(number([(0.0, 0.5, math.log(0.3))]), plan_of(0))
    for share in (0.05, 0.5, 0.95):
        assert float(said.quantile(share)) == pytest.approx(stats.logistic(0.5, 0.3).ppf(share), abs=1e-4)
        assert float(said.below(said.quantile(share))) == pytest.approx(share, abs=1e-5)


def test_each_cell_takes_the_outputs_of_its_column(target):
    torch.manual_seed(0)
    head = ColumnHead(8, target.known)
    assert head.out_features == 4 * OF_NUMBER + 3 * 4 and OF_NUMBER == 3 * PARTS
    x = torch.randn(1, 2, 8)
    whole = torch.nn.functional.linear(x, head.weight, head.bias)
    found = head(x, plan_of(2, 1))
    assert torch.equal(found[0, 0], whole[0, 0, OF_NUMBER + 4 : 2 * OF_NUMBER + 4])
    assert torch.equal(found[0, 1, :4], whole[0, 1, OF_NUMBER : OF_NUMBER + 4])


def test_training_starts_at_the_shares_of_train(target):
    head = ColumnHead(8, target.known)
    value = torch.zeros(1, 7, 3)
    said = target.cell_loss(head(torch.zeros(1, 1, 8), plan_of(1)), value, plan_of(1))
    torch.testing.assert_close(said, target.marginal_loss(value, plan_of(1)))


def test_other_modalities_are_refused():
    with pytest.raises(ValueError, match="for tables"):
        Columns(torch.nn.Linear(2, 2))


def test_intervals_hold_nine_tenths_of_the_distribution():
    table = TableModality(8, **TableModality.examples()["mixed"].config)
    target = Columns(table)
    plan = Plan(torch.tensor([[1]]), torch.tensor([[0, 3, 2]]))
    prediction = torch.randn(1, 3, 12, generator=torch.Generator().manual_seed(0))
    decoded, said = target.decode(prediction, None, plan), target.distribution(prediction, plan)
    low, high = said.below(decoded.belief.low.nan_to_num()), said.below(decoded.belief.high.nan_to_num())
    torch.testing.assert_close((high - low)[0, [0, 2]], torch.tensor([0.9, 0.9]), atol=1e-3, rtol=0)
    assert decoded.belief.low[0, 1].isnan() and decoded.belief.probability[0, [0, 2]].isnan().all()
    torch.testing.assert_close(decoded.belief.probability[0, 1], said.category[0, 1].exp().max(), atol=1, rtol=0)
