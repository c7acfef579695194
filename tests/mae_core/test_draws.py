"""Random numbers are functions of (seed, step, sample, stream) and look random."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mae_core.draws import Draws, key, permutation

NUMBERS = st.integers(-(2**63), 2**63 - 1)


def draw(
    seed: int = 0, step: int = 0, n: int = 500, stream: str = "mask", width: int = 64, look: int = 0
) -> torch.Tensor:
    return Draws(seed, step, torch.arange(n), look=look).uniform(stream, width)


@pytest.mark.parametrize("stream", ["mask", "rectangles"])
def test_uniform(stream):
    u = draw(stream=stream).flatten().numpy()
    assert u.dtype == np.float32 and u.min() >= 0 and u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    counts = np.bincount((u * 100).astype(int), minlength=100)
    assert stats.chisquare(counts).pvalue > 1e-3
    low_bits = (u * 2**24).astype(np.int64) % 16  # weak generators fail in the last bits
    assert stats.chisquare(np.bincount(low_bits, minlength=16)).pvalue > 1e-3


@pytest.mark.parametrize("axis", [0, 1], ids=["within a position, over samples", "within a sample, over positions"])
def test_each_row_and_column_is_uniform(axis):
    u = draw(n=400, width=400).numpy()
    p = np.array([stats.kstest(row, "uniform").pvalue for row in np.moveaxis(u, axis, 0)])
    assert stats.kstest(p, "uniform").pvalue > 1e-3


OTHERS = {
    "the next seed": {"seed": 1},
    "the next step": {"step": 1},
    "another stream": {"stream": "phase"},
    "a stream with nearly that name": {"stream": "masks"},
    "another look": {"look": 1},
}


@pytest.mark.parametrize("other", OTHERS)
def test_independent(other):
    a, b = draw().flatten().numpy(), draw(**OTHERS[other]).flatten().numpy()
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / len(a) ** 0.5
    table = np.histogram2d(a, b, bins=8, range=[[0, 1], [0, 1]])[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3
    assert len(set(a[:2000]) & set(b[:2000])) < 10  # no shifted copy either


def test_neighbours_are_independent():
    u = draw(n=300, width=300).numpy()
    bound = 4 / u.size**0.5
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < bound
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < bound
    assert abs(np.corrcoef(u[:-1, 1:].ravel(), u[1:, :-1].ravel())[0, 1]) < bound


@given(seed=NUMBERS, step=st.integers(0, 2**40), ids=st.lists(NUMBERS, min_size=1, max_size=8))
def test_a_sample_draws_the_same_in_any_company(seed, step, ids):
    together = Draws(seed, step, torch.tensor(ids)).uniform("mask", 5, 2)
    assert together.shape == (len(ids), 5, 2)
    backwards = Draws(seed, step, torch.tensor(ids[::-1])).uniform("mask", 5, 2)
    assert torch.equal(together.flip(0), backwards)
    alone = Draws(seed, step, torch.tensor(ids[:1])).uniform("mask", 5, 2)
    assert torch.equal(together[:1], alone)
    assert torch.equal(together[..., 0].flatten(), together.flatten()[::2])
    longer = Draws(seed, step, torch.tensor(ids)).uniform("mask", 20)
    assert torch.equal(longer[:, :10], together.flatten(1)), "more numbers asked for, the first stay"


def test_integers_of_any_kind():
    ids = torch.arange(3)
    expected = Draws(5, 7, ids).uniform("mask", 4)
    for kind in (torch.int32, torch.uint8):
        assert torch.equal(Draws(5, 7, ids.to(kind)).uniform("mask", 4), expected)
    assert torch.equal(Draws(np.int64(5), np.int32(7), ids).uniform("mask", 4), expected)
    assert torch.equal(Draws(5, 7, ids).uniform("mask", 4), expected)


def test_known_values():
    """The same on every machine and in every version: a change here changes every published number."""
    assert key(0) == 0xE220A8397B1DCDAF  # splitmix64's first output from state 0 (Steele, Lea & Flood 2014)
    assert (key("mask"), key(1, 2, "mask")) == (14615607550865103113, 15196286954821581763)
    assert Draws(1, 2, torch.tensor([3, 2**40])).uniform("mask", 2).tolist() == [
        [0.6711490154266357, 0.1054115891456604],
        [0.46234554052352905, 0.5377148985862732],
    ]
    assert permutation(6, 1, 2, "order").tolist() == [2, 4, 0, 1, 3, 5]


@given(parts=st.lists(st.one_of(NUMBERS, st.text(max_size=5)), min_size=1, max_size=4), extra=NUMBERS)
def test_keys(parts, extra):
    found = key(*parts)
    assert 0 <= found < 2**64 and found == key(*parts)
    assert key(*parts, extra) != found
    if len(parts) > 1 and parts[0] != parts[1]:
        assert key(parts[1], parts[0], *parts[2:]) != found


def test_shared():
    """One number for all workers, whatever samples they hold; uniform over steps."""
    assert Draws(1, 5, torch.arange(3)).shared("ratio") == Draws(1, 5, torch.arange(100, 104)).shared("ratio")
    values = [Draws(1, step, torch.arange(1)).shared("ratio") for step in range(2000)]
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert Draws(1, 5, torch.arange(1)).shared("a") != Draws(1, 5, torch.arange(1)).shared("b")
    assert Draws(1, 5, torch.arange(1), look=1).shared("a") == Draws(1, 5, torch.arange(1)).shared("a")


@given(n=st.integers(1, 200), seed=NUMBERS)
def test_permutation(n, seed):
    order = permutation(n, seed, 0, "order")
    assert sorted(order.tolist()) == list(range(n))
    state = torch.random.get_rng_state()
    assert torch.equal(order, permutation(n, seed, 0, "order"))
    assert torch.equal(state, torch.random.get_rng_state()), "the global generator is left alone"


def test_permutations_differ():
    orders = {tuple(permutation(20, seed, epoch, "order").tolist()) for seed in range(5) for epoch in range(20)}
    assert len(orders) == 100
    firsts = [int(permutation(10, 0, epoch, "order")[0]) for epoch in range(2000)]
    assert stats.chisquare(np.bincount(firsts, minlength=10)).pvalue > 1e-3


def test_a_clock_says_the_step():
    for step in (0, 7, 2**40):
        plain = Draws(3, step, torch.arange(9))
        timed = plain._replace(step=-1, clock=torch.tensor(step))
        assert torch.equal(plain.uniform("mask", 5), timed.uniform("mask", 5))
        assert torch.equal(
            plain._replace(seed=key(3, "x")).uniform("y", 2), timed._replace(seed=key(3, "x")).uniform("y", 2)
        )
