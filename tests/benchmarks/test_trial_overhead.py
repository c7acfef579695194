"""The benchmark of what a trial costs beside its training: every answer has its turn, and a failed trial is no figure."""

from __future__ import annotations

import pytest

from benchmarks import trial_overhead
from benchmarks.trial_overhead import Found, Queue, rows_of
from experiments.trials import Measured


def test_from_answer_to_answer_everything_counts(monkeypatch):
    times = iter([10.0, 18.0, 21.5])
    monkeypatch.setattr(trial_overhead.time, "perf_counter", lambda: next(times))
    queue = Queue(2)
    jobs = [queue.next(), queue.next()]
    assert queue.next() is None and not queue.found
    for job in jobs:
        queue.done(job, Measured({"knn": 0.5}, 1.0, 10, 3.0))
    assert queue.found and queue.turns == [8.0, 3.5]


def test_a_failed_trial_is_an_error():
    queue = Queue(1)
    with pytest.raises(RuntimeError, match="trial 0 failed: out of memory"):
        queue.done(queue.next(), Measured({}, None, 0, 0.1, "out of memory"))


def test_the_first_trial_is_told_apart():
    (row,) = rows_of(Found(4.0, [12.0, 4.5, 4.7, 4.5]), "command", 100)
    assert row.ours == 4.5 and row.baseline == 4.0 and row.n == 3
    assert row.facts["seconds_beside_the_work"] == pytest.approx(0.5)
    assert row.facts["seconds_of_the_first_beside_the_work"] == 8.0
