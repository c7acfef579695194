"""What objectives cost beside the masked view, from a config, before anything is built. Comparisons are left out (under 2 %)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mae_core.masking import MASKERS
from mae_core.modalities import MODALITIES
from mae_core.objectives import OBJECTIVES
from mae_core.objectives.options import Wanted, wanted
from mae_core.registry import resolve
from mae_core.targets import TARGETS

PAIRS = 6.0
"""Values that ``loss_ranking`` holds of every two cells, at most at once."""


class TeacherLooks(NamedTuple):
    """What teachers do for each training sample, which they see whole."""

    encoders: int
    """Passes through an encoder; a frozen model is counted as one like the model's own."""
    decoder: bool
    """Whether the decoder follows, asked for every cell."""


def extra_looks(config: Mapping[str, Any], kept: int, hidden: int) -> list[int]:
    """The cells that are encoded in each view beside the masked one, which keeps ``kept`` and hides ``hidden``."""
    asked = wanted(config["objective"])
    found: list[int] = []
    for view in sorted(_views(asked)):
        if view == "parts":
            found += _cells_of_parts(config["modality"])
        else:
            found.append(
                {"second": kept, "augmented": kept, "complement_of_0": hidden, "full": _cells(config["modality"])}[view]
            )
    return found


def teacher_looks(config: Mapping[str, Any]) -> TeacherLooks:
    """What a model of ``config`` asks of its teachers."""
    asked = wanted(config["objective"])
    names = {getattr(resolve(TARGETS, name, "target"), "taught", "") for name in (asked.target, *asked.targets)}
    names.add(getattr(resolve(MASKERS, config["masking"]["strategy"], "masking strategy"), "taught", ""))
    copies = int(bool(names & {"latent", "attention", "difficulty"}))
    return TeacherLooks(copies + ("features" in names), "difficulty" in names)


def summaries(config: Mapping[str, Any]) -> int:
    """How many views of a sample objectives see as one vector, each of which goes through the projector where there is one."""
    asked = wanted(config["objective"])
    made = [resolve(OBJECTIVES, name, "objective")(None, asked.options) for name in asked.comparing]
    views = {view for one in made for view in one.views}
    return sum(len(_cells_of_parts(config["modality"])) if view == "parts" else 1 for view in views)


def pairs_kept(config: Mapping[str, Any], asked: int) -> float:
    """Values a sample that comparing ``asked`` predicted cells with each other keeps for backward, and what backward begins with."""
    return PAIRS * asked**2 if "loss_ranking" in wanted(config["objective"]).weights else 0.0


def _views(asked: Wanted) -> set[str]:
    made = [resolve(OBJECTIVES, name, "objective")(None, asked.options) for name in asked.weights]
    return {view for one in made for view in one.views} - {"masked"}


def _cells(modality: Mapping[str, Any]) -> int:
    options = {key: value for key, value in modality.items() if key not in ("name", "kind")}
    return resolve(MODALITIES, modality["kind"], "modality").geometry(options).cells


def _cells_of_parts(modality: Mapping[str, Any]) -> list[int]:
    return [_cells(part) for part in modality.get("parts", ())]
