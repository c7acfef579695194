"""How far a predicted number is from the true one. The one table of errors, for targets that are numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.registry import nearest

Error = Callable[[Tensor], Tensor]


def squared(difference: Tensor) -> Tensor:
    """``difference`` ** 2: what the mean minimises."""
    return difference.square()


def absolute(difference: Tensor) -> Tensor:
    """|``difference``|: what the median minimises; one wild value counts little."""
    return difference.abs()


def smooth(difference: Tensor) -> Tensor:
    """Half the square below 1, |``difference``| − ½ beyond (Girshick 2015, Fast R-CNN, Eq. 3)."""
    return F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none")


ERRORS: dict[str, Error] = {"l2": squared, "l1": absolute, "smooth_l1": smooth}


def error_of(loss: str) -> Error:
    """The row of ``ERRORS``. Raises ValueError naming those there are."""
    if loss not in ERRORS:
        raise ValueError(f"unknown objective.loss {loss!r}{nearest(loss, ERRORS)}: there are {', '.join(ERRORS)}")
    return ERRORS[loss]
