"""Multinomial logistic regression for many strengths of regularisation over the same rows: scikit-learn's objective, solved faster.

L-BFGS (Liu & Nocedal 1989) whose first guess of the inverse Hessian is that of Böhning's bound (1992, §3): whatever the probabilities,
the Hessian of the mean loss lies below ½ XᵀX / n for each class, which is factored once a strength. Each strength starts from the
solution of the one before.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-4
"""Largest entry of the gradient of the mean objective at which a solution is one, as scikit-learn's default."""
ITERATIONS = 500
MEMORY = 10
"""Steps that the guess of the Hessian remembers."""
MOST_ROWS = 16_384
"""That the bound is made of: it only guides the search, and is spread evenly over all rows."""
SUFFICIENT = 1e-4
"""Share of the promised decrease that a step has to give (Armijo)."""
HALVINGS = 30
STALL = 1e-9
"""Share of the objective by which a step has to lower it: less is float32's noise."""


class Weights(NamedTuple):
    """A solution."""

    weight: np.ndarray
    """(classes, D) float32; of two classes, the first is the negative of the second."""
    bias: np.ndarray
    """(classes,) float32."""


class _Point(NamedTuple):
    theta: Tensor
    value: float
    grad: Tensor


class Logistic:
    """Minimises C · Σ loss + ½ ‖weight‖² over rows ``x`` (n, D) with codes ``y`` (n,) in 0..classes − 1.

    The bias is not regularised. Of two classes the penalty is that of one row of weights, as scikit-learn has it. Runs on torch's threads.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, classes: int) -> None:
        rows = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        self.x = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        self.y = torch.from_numpy(np.ascontiguousarray(y, np.int64))
        self.classes = classes
        self.theta = self.x.new_zeros(classes, self.x.shape[1])
        some = self.x[:: -(-len(rows) // MOST_ROWS)].double()
        self.bound = some.T @ some / (2 * len(some))

    def solve(self, c: float) -> Weights:
        """The solution of strength ``c``, starting from the last one."""
        penalty = 1 / (c * len(self.x)) * (2 if self.classes == 2 else 1)
        factor = self._factor(penalty)
        at, steps = self._at(self.theta, penalty), deque[tuple[Tensor, Tensor, Tensor]](maxlen=MEMORY)
        done = 0
        while done < ITERATIONS and float(at.grad.abs().max()) > TOLERANCE:
            direction = -_two_loops(at.grad, steps, factor)
            found = self._search(at, direction, penalty)
            if found is None:
                break
            moved, turned = found.theta - at.theta, found.grad - at.grad
            curvature = (moved * turned).sum()
            if float(curvature) > 0:
                steps.append((moved, turned, curvature))
            stalled = at.value - found.value <= STALL * abs(at.value)
            at, done = found, done + 1
            if stalled:
                break
        self.theta = at.theta
        doubled = at.theta * (2 if self.classes == 2 else 1)
        weight, bias = doubled[:, :-1].numpy().copy(), doubled[:, -1].numpy().copy()
        return Weights(weight, bias)

    def _factor(self, penalty: float) -> Tensor:
        """(D + 1, D + 1): the Cholesky factor of the bound."""
        ridge = torch.full((len(self.bound),), penalty, dtype=torch.float64)
        ridge[-1] = 0.0
        whole = self.bound + torch.diag(ridge + 1e-9 * self.bound.diagonal().mean())
        return torch.linalg.cholesky(whole).float()

    def _at(self, theta: Tensor, penalty: float) -> _Point:
        """Mean objective and its gradient."""
        logits = self.x @ theta.T
        log_sum = logits.logsumexp(1, keepdim=True)
        own = self.y.unsqueeze(1)
        loss = float((log_sum - logits.gather(1, own)).double().mean())
        residual = (logits - log_sum).exp_()
        residual.scatter_add_(1, own, residual.new_full((len(own), 1), -1.0))
        grad = residual.T @ self.x / len(self.x)
        grad[:, :-1] += penalty * theta[:, :-1]
        return _Point(theta, loss + 0.5 * penalty * float(theta[:, :-1].double().square().sum()), grad)

    def _search(self, at: _Point, direction: Tensor, penalty: float) -> _Point | None:
        """The first point along ``direction`` that is low enough; None where float32 can tell none from ``at``."""
        slope = float((at.grad * direction).sum())
        length = 1.0
        for _ in range(HALVINGS):
            found = self._at(at.theta + length * direction, penalty)
            if found.value <= at.value + SUFFICIENT * length * slope:
                return found
            length /= 2
        return None


def _two_loops(grad: Tensor, steps: deque[tuple[Tensor, Tensor, Tensor]], factor: Tensor) -> Tensor:
    """The inverse Hessian that ``steps`` tell of, times ``grad`` (Nocedal & Wright 2006, algorithm 7.4)."""
    shares = []
    for moved, turned, curvature in reversed(steps):
        share = (moved * grad).sum() / curvature
        grad = grad - share * turned
        shares.append(share)
    grad = torch.cholesky_solve(grad.T, factor).T
    for (moved, turned, curvature), share in zip(steps, reversed(shares)):
        grad = grad + (share - (turned * grad).sum() / curvature) * moved
    return grad
