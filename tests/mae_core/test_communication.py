"""What workers send: as counted while two of them train, and what follows for a step."""

from __future__ import annotations

import pytest
from two_ranks import gradient_bytes

from mae_core.communication import FLOAT, Links, sent_bytes, shared_step


def test_two_workers_sum_every_gradient_once(tmp_path):
    told, parameters = gradient_bytes(tmp_path)
    assert told == FLOAT * parameters
    assert sent_bytes(parameters, 2, "ddp") == told  # of two in a ring each sends half of it twice


@pytest.mark.parametrize(("strategy", "times"), [("ddp", 2), ("fsdp2", 3)])
def test_a_ring_sends_each_byte_so_often(strategy, times):
    assert sent_bytes(1000, 1, strategy) == 0
    assert sent_bytes(1000, 4, strategy) == times * FLOAT * 1000 * 3 / 4


def test_another_strategy_is_refused():
    with pytest.raises(ValueError, match="unknown strategy 'zero': there are ddp, fsdp2"):
        sent_bytes(1000, 4, "zero")


def test_one_worker_tells_nobody():
    step = shared_step(64, 1, 1e-3, 10**6, 4)
    assert (step.rows, step.sent_bytes, step.talking_s) == (64, 0, 0)
    assert step.fastest_s == step.slowest_s == pytest.approx(0.064)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_hiding_never_makes_a_step_shorter_than_its_computing_or_longer_than_both(strategy):
    for workers in (2, 8, 64):
        step = shared_step(256, workers, 1e-3, 3 * 10**8, 24, strategy)
        assert step.computing_s <= step.fastest_s <= step.slowest_s == step.computing_s + step.talking_s


def test_machines_are_joined_more_slowly_than_the_gpus_within():
    links = Links(message_s=0.0)
    near, far = (shared_step(256, n, 1e-3, 10**8, 12, links=links) for n in (8, 16))
    assert near.talking_s == pytest.approx(near.sent_bytes / links.inside)
    assert far.talking_s == pytest.approx(far.sent_bytes / links.between)


def test_more_workers_than_samples_are_refused():
    with pytest.raises(ValueError, match="a batch of 64 cannot be shared by 512 workers"):
        shared_step(64, 512, 1e-3, 10**6, 4)
