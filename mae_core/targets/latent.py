"""Features as what is predicted: an averaged copy's (Baevski et al. 2022, data2vec; Assran et al. 2023, I-JEPA), or a frozen model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mae_core.cells import Cells, Plan, gather_cells
from mae_core.targets.errors import error_of
from mae_core.targets.pixels import LinearHead, NotShown


class Latents(NotShown):
    """What an averaged copy of the model makes of each hidden cell when it sees the whole sample.

    Args:
        modality: any.
        width: D of the encoder.
        loss: a row of ``ERRORS``.
    """

    name = "latent"
    takes: tuple[str, ...] = ("loss", "width")
    taught = "latent"
    """The field of ``Taught`` that is predicted."""

    def __init__(self, modality: Any, width: int, loss: str = "smooth_l1") -> None:
        self.width, self.error = width, error_of(loss)

    def head(self, width: int) -> nn.Module:
        """D_dec → D."""
        return LinearHead(width, self.width)

    def target(self, cells: Cells, plan: Plan) -> Tensor:
        """(B, N, D), without a gradient. Raises ValueError where no teacher has spoken."""
        said = None if cells.taught is None else getattr(cells.taught, self.taught)
        if said is None:
            raise ValueError(
                f"target {self.name!r} needs a teacher: give its folder to `start`, or what it says to the model"
            )
        return said

    def cell_loss(self, prediction: Tensor, target: Tensor, plan: Plan) -> Tensor:
        """(B, M): the mean error over the features, in float32."""
        return self.error(prediction.float() - gather_cells(target, plan.hide)).mean(-1)


class Features(Latents):
    """What a frozen model of the same cells makes of them.

    Args:
        modality: any.
        source: ``folder``, ``sha256`` and ``width`` of the model, as a recipe's ``features_from`` was resolved.
        loss: a row of ``ERRORS``.
    """

    name = "features"
    takes = ("loss", "source")
    taught = "features"

    def __init__(self, modality: Any, source: Mapping[str, Any] | None = None, loss: str = "smooth_l1") -> None:
        if source is None:
            raise ValueError("target 'features' needs objective.features_from: the folder of a saved model")
        super().__init__(modality, int(source["width"]), loss)
