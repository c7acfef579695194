"""Objectives that compare samples, against formulas written out in double precision."""

import math

import pytest
import torch

from mae_core.cells import Summary
from mae_core.objectives.contrastive import MaskContrastive, info_nce
from mae_core.objectives.options import Options
from mae_core.objectives.uniformity import Uniformity
from mae_core.objectives.vicreg import Covariance, Invariance, Variance

OK = torch.tensor([True, True, False, True, True, True])


def features(seed=0, n=6):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)) * 0.7 + 0.3


def summary(x, ok=None, ids=None):
    every = torch.ones(len(x), dtype=torch.bool) if ok is None else ok
    return Summary(x, every, torch.arange(len(x)) if ids is None else ids)


def kept(x, ok):
    return (x if ok is None else x[ok]).double()


@pytest.mark.parametrize("ok", [None, OK], ids=["all", "one lacking"])
def test_uniformity_is_the_mean_squared_cosine_of_pairs(ok):
    x = kept(features(), ok)
    cosines = [
        float(x[i] @ x[j] / (x[i].norm() * x[j].norm())) ** 2 for i in range(len(x)) for j in range(len(x)) if i != j
    ]
    terms = Uniformity().forward((summary(features(), ok),))
    assert float(terms.total) == pytest.approx(sum(cosines) / len(cosines), rel=1e-5)
    assert terms.parts["uniformity"] == terms.total and not terms.parts["uniformity"].requires_grad


def test_uniformity_of_right_angles_is_zero_and_of_equal_samples_one():
    assert Uniformity().forward((summary(torch.eye(4)),)).total == 0
    assert float(Uniformity().forward((summary(torch.ones(3, 4)),)).total) == pytest.approx(1, rel=1e-6)
    assert Uniformity().forward((summary(features(n=1)),)).total == 0, "one sample has no other"


IDS = torch.tensor([7, 3, 5, 7, 7, 3])


@pytest.mark.parametrize("ok", [torch.ones(6, dtype=torch.bool), OK], ids=["all", "one lacking"])
def test_copies_are_no_pair_to_spread(ok):
    x = torch.nn.functional.normalize(features().double(), dim=1)
    there = [i for i in range(6) if ok[i]]
    cosines = [float(x[i] @ x[j]) ** 2 for i in there for j in there if IDS[i] != IDS[j]]
    found = Uniformity().forward((summary(features(), ok, IDS),)).total
    assert float(found) == pytest.approx(sum(cosines) / len(cosines), rel=1e-5)
    assert Uniformity().forward((summary(torch.ones(2, 4), ids=torch.tensor([1, 1])),)).total == 0


@pytest.mark.parametrize("ok", [torch.ones(6, dtype=torch.bool), OK], ids=["all", "one lacking"])
def test_copies_are_no_wrong_answers(ok):
    a, b = (torch.nn.functional.normalize(features(seed).double(), dim=1) for seed in (0, 1))
    nats = []
    for i in range(6):
        if ok[i]:
            rest = [i, *(j for j in range(6) if ok[j] and IDS[j] != IDS[i])]
            for ours, theirs in ((a, b), (b, a)):
                right, *wrong = (math.exp(float(ours[i] @ theirs[j]) / 0.1) for j in rest)
                nats.append(math.log((right + sum(wrong)) / right))
    found = MaskContrastive().forward((summary(features(), ok, IDS), summary(features(1), ok, IDS))).total
    assert float(found) == pytest.approx(sum(nats) / len(nats), rel=1e-5)


@pytest.mark.parametrize("ok", [None, OK], ids=["all", "one lacking"])
def test_variance_is_a_hinge_on_each_standard_deviation(ok):
    x = kept(features(), ok)
    expected = 0.0
    for column in x.T:
        variance = sum(float(v - column.mean()) ** 2 for v in column) / (len(column) - 1)
        expected += max(0.0, 1 - math.sqrt(variance + 1e-4)) / x.shape[1]
    assert float(Variance().forward((summary(features(), ok),)).total) == pytest.approx(expected, rel=1e-5)
    assert Variance().forward((summary(100 * features(), ok),)).total == 0
    assert float(Variance().forward((summary(features(n=1)),)).total) == pytest.approx(0.99, rel=1e-5)


@pytest.mark.parametrize("ok", [None, OK], ids=["all", "one lacking"])
def test_covariance_counts_pairs_of_features(ok):
    x = kept(features(), ok)
    x = x - x.mean(0)
    expected = sum(float((x[:, i] * x[:, j]).sum() / (len(x) - 1)) ** 2 for i in range(4) for j in range(4) if i != j)
    assert float(Covariance().forward((summary(features(), ok),)).total) == pytest.approx(expected / 4, rel=1e-5)


@pytest.mark.parametrize("ok", [None, OK], ids=["all", "one lacking"])
def test_invariance_is_the_squared_difference(ok):
    a, b = kept(features(), ok), kept(features(1), ok)
    found = Invariance().forward((summary(features(), ok), summary(features(1))))
    assert float(found.total) == pytest.approx(float((a - b).square().mean()), rel=1e-5)
    assert Invariance().forward((summary(features()), summary(features()))).total == 0


def test_two_masks_find_each_other_at_the_stated_temperature():
    a, b = features(), features(1)
    found = MaskContrastive(options=Options(temperature=0.3)).forward((summary(a), summary(b)))
    unit = [x / x.norm(dim=1, keepdim=True) for x in (a, b)]
    torch.testing.assert_close(found.total, info_nce(*unit, torch.ones(6, dtype=torch.bool), temperature=0.3))
    near = MaskContrastive().forward((summary(a), summary(a + 0.01)))
    assert near.total < found.total


@pytest.mark.parametrize("made", [Invariance, MaskContrastive])
def test_a_pair_is_what_was_asked_for(made):
    assert made(options=Options(pair="full")).views == ("masked", "full")
    assert made().views == ("masked", "second")


@pytest.mark.parametrize("made", [Uniformity, Variance, Covariance, Invariance, MaskContrastive])
def test_a_sample_that_shows_nothing_gets_no_gradient_and_gives_none(made):
    x = features().requires_grad_()
    other = torch.where(OK[:, None], x.detach(), 50.0)
    views = [summary(x, OK), summary(features(1), OK)][: len(made().views)]
    changed = [summary(other, OK), summary(features(1), OK)][: len(made().views)]
    term = made().forward(tuple(views)).total
    torch.testing.assert_close(term.detach(), made().forward(tuple(changed)).total)
    term.backward()
    assert torch.isfinite(x.grad).all() and not x.grad[2].any() and x.grad[OK].any()
