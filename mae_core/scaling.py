"""How a loss falls with parameters and samples: L(N, D) = floor + a N^-alpha + b D^-beta, fitted to small runs.

Hoffmann et al. 2022 (approach 3): the Huber loss of log L, from many starts. ``best`` says how a budget of compute is spent best.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

HUBER = 1e-3
"""Of log L: where errors begin to count by their size and no longer by its square, so that a run that went wrong does not bend the law."""
LEAST_RUNS = 6
"""Five numbers are fitted."""


class Run(NamedTuple):
    """A finished training."""

    parameters: float
    samples: float
    """Seen, in all epochs together."""
    loss: float
    """On held-out data, above 0."""


class Law(NamedTuple):
    """The five numbers."""

    floor: float
    """What no size and no data removes."""
    a: float
    alpha: float
    b: float
    beta: float

    def loss(self, parameters: float, samples: float) -> float:
        """What a run is expected to reach."""
        return self.floor + self.a * parameters**-self.alpha + self.b * samples**-self.beta

    def best(self, flops: float, per_parameter: float) -> Run:
        """The run of lowest loss among those that cost ``flops`` where a sample costs ``per_parameter`` FLOPs for each parameter.

        Raises ValueError where an exponent is 0: then one of both is worth nothing, and more of the other is always better.
        """
        if min(self.alpha, self.beta) <= 0:
            raise ValueError(
                f"no best size: alpha is {self.alpha:g} and beta {self.beta:g}; runs that differ more are needed"
            )
        whole = flops / per_parameter
        ratio = self.alpha * self.a / (self.beta * self.b)
        parameters = ratio ** (1 / (self.alpha + self.beta)) * whole ** (self.beta / (self.alpha + self.beta))
        return Run(parameters, whole / parameters, self.loss(parameters, whole / parameters))


def fit_law(runs: Sequence[Run]) -> Law:
    """The law nearest to ``runs``. Raises ValueError where there are too few, or they do not differ in both sizes."""
    from scipy.optimize import least_squares

    sizes, amounts = ({getattr(run, name) for run in runs} for name in ("parameters", "samples"))
    if len(runs) < LEAST_RUNS or min(len(sizes), len(amounts)) < 2:
        raise ValueError(
            f"a law is fitted to {LEAST_RUNS} runs or more of several sizes and amounts, there are {len(runs)} runs of "
            f"{len(sizes)} sizes and {len(amounts)} amounts"
        )
    if min(run.loss for run in runs) <= 0:
        raise ValueError("losses have to be above 0, as a share of an error is")
    n, d, loss = (np.log(np.array(column, float)) for column in zip(*runs))
    n0, d0 = n.mean(), d.mean()  # from their middle, so that the numbers to be found are alike in size

    def terms(x: np.ndarray) -> np.ndarray:
        """(3, runs) logarithms of the parts of the loss."""
        return np.stack([np.full_like(n, x[0]), x[1] - x[2] * (n - n0), x[3] - x[4] * (d - d0)])

    def off(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.logaddexp.reduce(terms(x)) - loss)

    low = float(loss.min())
    starts = product((low - 0.1, low - 1.0), (low - 1.0, low - 3.0), (0.1, 0.5), (low - 1.0, low - 3.0), (0.1, 0.5))
    bounds = ([-np.inf, -np.inf, 0.0, -np.inf, 0.0], [np.inf, np.inf, 3.0, np.inf, 3.0])
    fits = [least_squares(off, start, loss="huber", f_scale=HUBER, bounds=bounds) for start in starts]
    floor, a, alpha, b, beta = min(fits, key=lambda fit: float(fit.cost)).x
    return Law(*(float(x) for x in (np.exp(floor), np.exp(a + alpha * n0), alpha, np.exp(b + beta * d0), beta)))
