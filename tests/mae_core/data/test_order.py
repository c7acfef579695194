"""The walk through shards: every sample once an epoch, the same for any number of workers and from any step, few shards at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mae_core.data.order import Lanes
from mae_core.training.world import World

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


@given(SIZES, st.integers(1, 30), st.integers(1, 5), st.integers(1, 3))
def test_every_sample_comes_once_an_epoch_and_batches_are_full(sizes, batch_size, lanes, window):
    order = Lanes(sizes, batch_size, 7, lanes, window)
    n = sum(sizes)
    walk = torch.cat([order.ids(step, range(batch_size)) for step in range(-(-3 * n // batch_size))])
    for epoch in range(3):
        assert sorted(walk[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


@given(SIZES, st.integers(4, 30), st.integers(1, 5), st.integers(1, 4), st.integers(0, 50))
def test_ranks_share_the_batch_of_one_from_any_step(sizes, batch_size, lanes, workers, step):
    whole = Lanes(sizes, batch_size, 7, lanes, 2)
    for before in range(3):
        whole.ids(before, range(batch_size))  # what was asked before changes nothing
    parts = [
        Lanes(sizes, batch_size, 7, lanes, 2).ids(step, World(rank, workers).share(batch_size))
        for rank in range(workers)
    ]
    assert torch.equal(torch.cat(parts), whole.ids(step, range(batch_size)))


@given(SIZES, st.integers(1, 30), st.integers(1, 5), st.integers(1, 3))
def test_what_is_held_is_where_the_samples_lie(sizes, batch_size, lanes, window):
    order = Lanes(sizes, batch_size, 7, lanes, window)
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    reading, held = order.reading(0, range(batch_size)), []
    for step, new in zip(range(20), reading):
        now = order.held(step, range(batch_size))
        assert set(shard_of[order.ids(step, range(batch_size)).numpy()]) <= set(now)
        assert not set(new) & set(held) and set(now) <= set(held) | set(new)
        held = now


def test_few_shards_are_held_and_epochs_and_seeds_differ():
    order = Lanes([10] * 60, 8, 7, 4, 2)
    for step in range(200):
        assert len(order.held(step, range(8))) <= 4 * 4, "two windows of a lane meet in a step at most"
    assert np.mean([len(order.held(step, range(8))) for step in range(200)]) < 4 * 3.2
    walks = [
        torch.cat([Lanes([10] * 60, 8, seed, 4, 2).ids(step, range(8)) for step in steps])
        for seed, steps in ((7, range(75)), (7, range(75, 150)), (8, range(75)))
    ]
    assert not torch.equal(walks[0], walks[1]) and not torch.equal(walks[0], walks[2])


def test_lanes_change_shards_at_different_steps():
    order = Lanes([64] * 64, 16, 7, 4, 2)
    changes = [step for step, new in zip(range(200), order.reading(0, range(16))) if new and step]
    assert len(changes) >= 20 and max(np.bincount(changes)) == 1


def test_neighbours_are_mixed():
    order = Lanes([50] * 40, 10, 7, 5, 2)
    walk = torch.cat([order.ids(step, range(10)) for step in range(200)])
    assert (walk.diff().abs() <= 2).float().mean() < 0.05


@pytest.mark.parametrize("workers", [2, 3])
def test_two_workers_read_disjoint_rows(workers):
    order = Lanes([10] * 24, 12, 7, 6, 2)
    seen = [
        {int(one) for step in range(20) for one in order.ids(step, World(rank, workers).share(12))}
        for rank in range(workers)
    ]
    assert sum(map(len, seen)) == 240 and len(set.union(*seen)) == 240
    shards = [
        {shard for step in range(20) for shard in order.held(step, World(rank, workers).share(12))}
        for rank in range(workers)
    ]
    assert all(len(one) <= 24 // workers + 1 for one in shards), "each reads its own part, and a shard on the border"
