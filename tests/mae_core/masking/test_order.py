"""The order in which cells are drawn is that of a stable sort, bit for bit, whatever the scores are."""

from __future__ import annotations

import math

import pytest
import torch

from mae_core.masking.order import ascending, ranks

SCORES = {
    "distinct": torch.randn(5, 301, generator=torch.Generator().manual_seed(0)),
    "ties": torch.randint(-3, 4, (6, 200), generator=torch.Generator().manual_seed(1)).float(),
    "zeros of both signs": torch.tensor([[0.0, -0.0, 1.0, -0.0, 0.0, -1.0]]),
    "ends": torch.tensor([[math.inf, -math.inf, 3e38, -3e38, 1e-45, -1e-45, math.inf, 0.0]]),
    "one": torch.zeros(3, 1),
    "whole numbers": torch.randint(-9, 9, (4, 50), generator=torch.Generator().manual_seed(2)),
    "double": torch.randn(4, 50, generator=torch.Generator().manual_seed(3)).double() * 1e-9 + 1,
    "expanded": torch.tensor([[2.0, 1.0, 3.0, 1.0]]).expand(4, -1),
    "transposed": torch.randn(20, 3, generator=torch.Generator().manual_seed(4)).T,
}


@pytest.mark.parametrize("name", SCORES)
def test_it_is_a_stable_sort(name):
    values = SCORES[name]
    before = values.clone()
    assert torch.equal(ascending(values), values.argsort(dim=1, stable=True))
    assert torch.equal(values, before)


def test_scores_that_are_learned_are_ordered_too():
    values = torch.randn(3, 9, generator=torch.Generator().manual_seed(5), requires_grad=True)
    assert torch.equal(ascending(values), values.detach().argsort(dim=1, stable=True))


def test_ranks_invert_the_order():
    assert ranks(torch.tensor([[0.5, -2.0, 0.5, 9.0]])).tolist() == [[1, 0, 2, 3]]
