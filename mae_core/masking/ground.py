"""What learners of masks stand on beside the batches of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from mae_core.cells import Taught


class Ground(NamedTuple):
    """Of one worker."""

    samples: Any
    """(n, …): the train split."""
    labels: np.ndarray | None
    """(n,), −1 where there is none; None where nothing is known."""
    taught: Callable[[Tensor], Taught | None] = lambda raw: None
    """What the training's teachers say of raw samples."""
    rows: int = 0
    """The most samples of a forward pass; 0 = all at once."""


def in_passes(count: int, rows: int) -> Iterator[slice]:
    """Consecutive slices of ``count`` samples, of at most ``rows`` each."""
    rows = rows or count
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))
