"""Parts of one sample find each other; a sample that lacks one neither asks nor disturbs."""

import pytest
import torch
import torch.nn.functional as F

from mae_core.cells import Summary
from mae_core.objectives.contrastive import TEMPERATURE, Contrastive, info_nce


def features(n, seed=0):
    return F.normalize(torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_as_cross_entropy_both_ways():
    a, b = features(5), features(5, 1)
    logits = a @ b.T / TEMPERATURE
    right = torch.arange(5)
    expected = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
    torch.testing.assert_close(info_nce(a, b, torch.ones(5, dtype=torch.bool)), expected)


def test_rows_that_are_not_ok_are_as_if_not_there():
    a, b = features(6), features(6, 1)
    ok = torch.tensor([True, False, True, True, False, True])
    torch.testing.assert_close(info_nce(a, b, ok), info_nce(a[ok], b[ok], ok[ok]))
    assert info_nce(a, b, torch.zeros(6, dtype=torch.bool)) == 0
    assert info_nce(a[:1], b[:1], ok[:1]).abs() < 1e-6


def test_every_pair_of_parts_counts():
    parts = [features(4, seed) * 3 for seed in range(3)]
    there = [torch.ones(4, dtype=torch.bool), torch.tensor([True, True, True, False]), torch.ones(4, dtype=torch.bool)]
    found = Contrastive().forward(tuple(map(Summary, parts, there, [torch.arange(4)] * 3)))
    unit = [F.normalize(p, dim=1) for p in parts]
    pairs = [info_nce(unit[a], unit[b], there[a] & there[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(found.total, torch.stack(pairs).mean())
    assert found.parts["contrastive"] == pytest.approx(float(found.total)) and found.hidden == 0
