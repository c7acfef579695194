"""What objectives that compare samples have in common: they see one vector for each sample of a forward pass of all workers."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from mae_core.cells import Terms
from mae_core.objectives.options import DEFAULTS, Options


class Comparing:
    """Sees the pooled features of the masked view, and where it is ``paired`` those of another one too."""

    compares = True
    opposes: ClassVar[bool] = False
    """Whether it asks two samples to differ, which copies of one cannot."""
    paired: ClassVar[bool] = False

    def __init__(self, target: Any = None, options: Options = DEFAULTS) -> None:
        self.views: tuple[str, ...] = ("masked", options.pair) if self.paired else ("masked",)


def of_samples(name: str, total: Tensor) -> Terms:
    """The term ``name`` that knows samples alone, and no cells."""
    return Terms(total, {name: total.detach()}, total.detach().new_zeros(0, 0), 0)
