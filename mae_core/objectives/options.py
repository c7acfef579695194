"""What a config says of objectives, read once: weights by name, and everything else that they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mae_core.objectives import OBJECTIVES
from mae_core.registry import nearest, resolve

PAIRS = ("second", "augmented", "complement_of_0", "full")
"""Views that a masked view may be compared with."""


class Options(NamedTuple):
    """How objectives compare; what a config does not say is as here."""

    pair: str = "second"
    """Of ``PAIRS``: what the objectives of two views compare the masked view with."""
    temperature: float = 0.1
    """Of ``mask_contrastive``."""


DEFAULTS = Options()


class Wanted(NamedTuple):
    """The section ``objective`` of a config."""

    weights: dict[str, float]
    """Of objectives, reconstruction first."""
    target: str
    """What reconstruction predicts."""
    targets: dict[str, float]
    """What is predicted beside it, with weights."""
    given: dict[str, Any]
    """What targets may take: ``weights`` of parts, ``loss``, ``source``."""
    projector: int
    """Width of the head between pooled features and the objectives that compare samples; 0: none."""
    latent_blocks: int
    """The teacher's last blocks, of which the target ``latent`` is the mean; 1: its output after the encoder's last norm."""
    options: Options

    @property
    def comparing(self) -> list[str]:
        """Objectives that compare the samples of a forward pass."""
        return self._that("compares")

    @property
    def opposing(self) -> list[str]:
        """Those of them that ask different samples to differ."""
        return self._that("opposes")

    def _that(self, does: str) -> list[str]:
        return [name for name in self.weights if getattr(resolve(OBJECTIVES, name, "objective"), does, False)]


def wanted(objective: Mapping[str, Any]) -> Wanted:
    """Reads the section. Raises ValueError for a name that is no objective, and for what cannot be."""
    rest = dict(objective)
    target = rest.pop("target")
    targets = {name: float(weight) for name, weight in (rest.pop("targets", None) or {}).items()}
    given: dict[str, Any] = {name: rest.pop(name) for name in ("weights", "loss", "source") if name in rest}
    projector, blocks = int(rest.pop("projector", 0)), int(rest.pop("latent_blocks", 4))
    options = Options(**{name: rest.pop(name) for name in Options._fields if name in rest})
    if unknown := [name for name in rest if name not in OBJECTIVES]:
        name = unknown[0]
        raise ValueError(f"unknown objective {name!r}{nearest(name, OBJECTIVES)}: there are {', '.join(OBJECTIVES)}")
    if target in targets:
        raise ValueError(f"target {target!r} is reconstruction's own: take it out of objective.targets")
    if options.pair not in PAIRS:
        raise ValueError(f"unknown pair {options.pair!r}{nearest(options.pair, PAIRS)}: there are {', '.join(PAIRS)}")
    weights = {name: float(rest[name]) for name in sorted(rest, key=lambda name: (name != "reconstruction", name))}
    if "reconstruction" not in weights:
        raise ValueError("objective.reconstruction is missing: every model predicts its hidden cells")
    found = Wanted(weights, target, targets, given, projector, blocks, options)
    if projector and not found.comparing:
        raise ValueError(
            f"objective.projector {projector} stands before objectives that compare samples: give one a weight, or set it to 0"
        )
    return found
