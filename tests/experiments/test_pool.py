"""Jobs on processes: in order, on one thread each, and gone when something fails."""

import operator
import os
import signal
import time
from multiprocessing import active_children

import pytest
import torch

from experiments.pool import Job, pool


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers):
    with pool(workers) as run_all:
        assert list(run_all([Job(operator.mul, (i, i)) for i in range(9)])) == [i * i for i in range(9)]
        assert list(run_all([])) == []
        pids = set(run_all([Job(os.getpid, ()) for _ in range(4)]))
        threads = set(run_all([Job(torch.get_num_threads, ())]))
    assert (pids == {os.getpid()}) == (workers == 1) and threads == {1}


def test_this_process_gets_its_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pool(1) as run_all:
            assert list(run_all([Job(torch.get_num_threads, ())])) == [1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_failure_is_told_at_once_and_leaves_no_process():
    before = set(active_children())
    with pytest.raises(ZeroDivisionError), pool(2) as run_all:
        list(run_all([Job(operator.truediv, (1, 0)), Job(time.sleep, (60,)), Job(time.sleep, (60,))]))
    _gone(before)


def test_a_killed_worker_is_told_in_words_and_leaves_no_process():
    before = set(active_children())
    with pytest.raises(RuntimeError, match=r"a worker process was killed.*memory.*run it again"), pool(2) as run_all:
        list(run_all([Job(signal.raise_signal, (signal.SIGKILL,)), Job(time.sleep, (60,))]))
    _gone(before)


def _gone(before):
    patience = time.monotonic() + 30
    while set(active_children()) - before and time.monotonic() < patience:
        time.sleep(0.05)
    assert set(active_children()) == before
