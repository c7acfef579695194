"""Batches of a split in shards, made ahead of the step that asks for them, with a bounded number of shards in memory.

The shards come through a feed: a generator that is given, step by step and without end, the numbers of the shards that are needed from
that step on, and yields what they hold in that order. The one here reads them on threads of its own.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from mae_core.data.order import Lanes
from mae_core.data.shards import Shards
from mae_core.draws import Draws

READERS = 4
"""Threads, each with a shard in hand."""
AHEAD = 8
"""Shards that are read before they are needed."""
STEPS = 4096
"""Steps that are looked ahead at most: where all shards are at hand, no further one is ever needed."""
BATCHES = 2
"""Batches that are made before they are asked for."""

Steps = Iterator[list[int]]
Feed = Callable[[Shards, Steps], Generator[Any]]


class Made(NamedTuple):
    """One rank's share of a global batch, in the host's memory."""

    ids: Tensor
    raw: Tensor


def direct(shards: Shards, steps: Steps) -> Generator[Any]:
    """Reads shards on threads, ``AHEAD`` of them before they are needed."""
    pool = ThreadPoolExecutor(READERS, "shards")
    waiting: deque[list[Future[Any]]] = deque()
    count = 0
    try:
        for new in steps:
            waiting.append([pool.submit(shards.read, number) for number in new])
            count += len(new)
            while count > AHEAD or len(waiting) > STEPS:
                for future in waiting.popleft():
                    count -= 1
                    yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


class Ahead:
    """What ``make`` gives for a step, made on a thread of its own before it is asked for, as long as steps come in order."""

    def __init__(self, make: Callable[[int], Made]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1, "batches")
        self._made: deque[tuple[int, Future[Made]]] = deque()

    def __call__(self, step: int) -> Made:
        """The batch of ``step``. Raises what making it raised."""
        if not self._made or self._made[0][0] != step:
            self._forget()
        while len(self._made) <= BATCHES:
            number = step + len(self._made)
            self._made.append((number, self._pool.submit(self._make, number)))
        return self._made.popleft()[1].result()

    def close(self, last: Callable[[], None] | None = None) -> None:
        """Ends the making; ``last`` is what that thread does at the end."""
        self._forget()
        if last is not None:
            self._pool.submit(last).result()
        self._pool.shutdown(cancel_futures=True)

    def _forget(self) -> None:
        for _, made in self._made:
            made.cancel()
        self._made.clear()


class Stream:
    """The batches of a rank, which fills ``rows`` of each. Steps in order are made ahead; any other one starts the reading anew."""

    def __init__(self, shards: Shards, order: Lanes, rows: range, feed: Feed = direct, pin: bool = False) -> None:
        self.shards, self.order, self.rows, self.feed, self.pin = shards, order, rows, feed, pin
        self._ahead = Ahead(self._make)
        self._next = -1
        self._new: Steps = iter(())
        self._contents: Any = None
        self._held: dict[int, Any] = {}

    def __call__(self, step: int) -> Made:
        """The batch of ``step``. Raises what reading it raised."""
        return self._ahead(step)

    def close(self) -> None:
        """Ends the reading."""
        self._ahead.close(self._stop)

    def _make(self, step: int) -> Made:
        """Runs on the one thread that touches what was read."""
        if step != self._next:
            self._start(step)
        try:
            new = next(self._new)
            self._held |= {number: next(self._contents) for number in new}
            self._next = step + 1
        except BaseException:
            self._next = -1  # the feed has ended with the problem
            raise
        held = self.order.held(step, self.rows)
        self._held = {number: self._held[number] for number in held}
        ids = self.order.ids(step, self.rows)
        numbers = self.shards.numbers(ids.numpy())
        found, of = np.unique(numbers, return_inverse=True)
        at = ids.numpy() - (self.shards.ends - self.shards.sizes)[numbers]
        draws = Draws(self.order.seed, step, ids)
        raw = self.shards.encoding.batch([self._held[int(number)] for number in found], of, at, draws)
        return Made(ids, raw.pin_memory() if self.pin else raw)

    def _start(self, step: int) -> None:
        """Each walker has an order of its own, since an order remembers where it was asked last."""
        self._stop()
        self._contents = self.feed(self.shards, copy.deepcopy(self.order).reading(step, self.rows))
        self._new = copy.deepcopy(self.order).reading(step, self.rows)

    def _stop(self) -> None:
        if self._contents is not None:
            self._contents.close()
        self._contents, self._held = None, {}
