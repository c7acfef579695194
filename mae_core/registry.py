"""How a name in a recipe becomes a class: plain tables from name to ``module:Name``, imported when first used."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any


def nearest(name: str, names: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the closest of ``names``, or an empty string."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def resolve(table: Mapping[str, str], name: str, what: str) -> Any:
    """The class that ``table`` names ``name``. Raises ValueError with the nearest right name."""
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}{nearest(name, table)}: there are {', '.join(sorted(table))}")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)


def allow(known: tuple[str, ...], name: str, what: str, modality: str) -> None:
    """Raises ValueError for a ``name`` that is registered, perhaps, but not among those ``known`` to fit the modality."""
    if name not in known:
        raise ValueError(
            f"{what} {name!r} does not fit the modality {modality!r}{nearest(name, known)}: there are {', '.join(known)}"
        )
