"""How fast a machine works: seconds for each kind of work, fitted to a few trainings that were timed.

A step is taken to last a sum: so much for each call, each FLOP of a product, each byte that is moved. Small models are ruled by calls,
large ones by products; the sum holds for both. No kind of work is faster than by itself, so a few trainings are enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mae_core.work import Work

HOLD = 0.01
"""How hard a rate is held to that of its work alone where the trainings do not tell it from others."""

SIDE = 768
"""Of the square matrices that are multiplied."""


class Timed(NamedTuple):
    """A training whose step was timed."""

    work: Work
    seconds: float
    """Of a step."""


class Rates(NamedTuple):
    """Seconds for one of each kind of work."""

    each: Work

    def seconds(self, work: Work) -> float:
        """Of so much work."""
        return sum(rate * amount for rate, amount in zip(self.each, work))


def fitted(trainings: Sequence[Timed], alone: Rates) -> Rates:
    """The rates under which the forecasts of ``trainings`` differ least from what was timed, in relative terms; none below ``alone``.

    Raises ValueError where nothing was timed, or a time is not positive.
    """
    from scipy.optimize import nnls

    times = np.array([one.seconds for one in trainings])
    if not len(times) or not (times > 0).all():
        raise ValueError(f"rates are fitted to trainings that took time, found {times.tolist()} seconds a step")
    least = np.array(alone.each)
    shares = np.array([one.work for one in trainings]) * least / times[:, None]  # of a step, at the least rates
    more, _ = nnls(
        np.vstack([shares, HOLD * np.eye(len(least))]), np.concatenate([1 - shares.sum(1), np.zeros(len(least))])
    )
    return Rates(Work(*(float(rate) for rate in least * (1 + more))))


def alone(seconds: float = 0.05) -> Rates:
    """CPU seconds of each kind of work when nothing else is done, the best of tries that take so many seconds each."""
    side, length = SIDE, 2**18
    low, full = (torch.ones(side, side, dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    one, line = torch.ones(1), torch.linspace(-1, 1, length)
    places, few = torch.randperm(length), torch.ones(64, 4096)
    vector = torch.ones(4096, 1)
    with torch.no_grad():
        products = _best(lambda: few @ vector, seconds) / ((64 * 4096 + 4096 + 64) * 4)
        return Rates(
            Work(
                calls=_best(lambda: one + one, seconds),
                views=_best(lambda: one.view(1), seconds),
                low_flops=_best(lambda: low @ low, seconds) / (2 * side**3),
                full_flops=_best(lambda: full @ full, seconds) / (2 * side**3),
                product_bytes=products,
                curved=_best(lambda: torch.nn.functional.gelu(line), seconds) / length,
                picked_bytes=_best(lambda: line[places], seconds) / (16 * length),
                plain_bytes=_best(lambda: line + line, seconds) / (12 * length),
            )
        )


def _best(work: Callable[[], object], seconds: float) -> float:
    """CPU seconds of one call."""
    found: list[float] = []
    times = 1
    ends = time.process_time() + seconds
    while time.process_time() < ends or len(found) < 3:
        begun = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - begun) / times)
        if found[-1] * times < 1e-4:
            times *= 4
    return max(min(found), 1e-12)
