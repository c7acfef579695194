"""The encoder and the decoder of a recipe: which of their keys the chosen kind takes, and what those become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.recipe import DecoderSection, EncoderSection, RecipeError
from mae_core.building import options_of
from mae_core.decoders import DECODERS
from mae_core.encoders import ENCODERS

TABLES = {"encoder": ENCODERS, "decoder": DECODERS}
KINDS = tuple(f"model.{what}.kind" for what in TABLES)
"""Keys that name them."""
PER_HEAD = {"encoder": 32, "decoder": 16}
"""Channels of an attention head, where a recipe leaves the number of heads open."""


def network(section: EncoderSection | DecoderSection, what: str, pick: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The config of the encoder or decoder (``what``); ``pick`` gives the value of a dotted key, or its default.

    Keys that the kind does not take are left out. Raises RecipeError where the recipe itself asks for one of those and for the kind.
    """
    defaults = {name: field.default for name, field in type(section).model_fields.items()}
    defaults |= {"width": 128, "depth": 6} if what == "encoder" else {"width": 64, "depth": 1}
    kind = pick(f"model.{what}.kind", defaults.pop("kind"))
    defaults["heads"] = _heads(pick(f"model.{what}.width", defaults["width"]), PER_HEAD[what])
    values = {name: pick(f"model.{what}.{name}", default) for name, default in defaults.items()}
    takes = options_of(TABLES[what], kind, what)
    for name, default in refused(section, what, kind).items() if section.kind != "auto" else ():
        known = ", ".join(sorted(takes & type(section).model_fields.keys()))
        raise RecipeError(f"model.{what}.{name}: {what} {kind!r} does not take it (it takes {known}): write {default}")
    return {"kind": kind, **{name: value for name, value in values.items() if name in takes}}


def refused(section: EncoderSection | DecoderSection, what: str, kind: str) -> dict[str, Any]:
    """Keys that a recipe sets and ``kind`` does not take, by name, each with what to write instead."""
    takes = options_of(TABLES[what], kind, what)
    return {
        name: default
        for name, default in type(section)().model_dump().items()
        if name != "kind" and name not in takes and getattr(section, name) not in (default, "auto")
    }


def _heads(width: int, channels: int) -> int:
    """The most heads of at least so many channels that ``width`` can be split into."""
    return next((heads for heads in range(width // channels, 1, -1) if width % heads == 0), 1)


def idle(key: str, kinds: Mapping[str, Sequence[str]]) -> str:
    """Why searching the dotted ``key`` would change nothing, '' where it would; ``kinds`` are those that the two ``kind`` keys can be."""
    _, what, name = (*key.split("."), "", "")[:3]
    of = f"model.{what}.kind"
    if what not in TABLES or name == "kind" or any(name in options_of(TABLES[what], kind, what) for kind in kinds[of]):
        return ""
    return f"{what} {' or '.join(map(repr, kinds[of]))} does not take it"
