"""Checks of what a recipe gives a masker beside its name. Each returns the value, or raises ValueError naming option and bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"option {name} is {value!r}: a whole number of at least {least} is wanted")
    return value


def number(name: str, value: Any, low: float, high: float = float("inf")) -> float:
    """A number within both bounds."""
    real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not real or not low <= value <= high:
        wanted = f"of at least {low:g}" if high == float("inf") else f"in [{low:g}, {high:g}]"
        raise ValueError(f"option {name} is {value!r}: a number {wanted} is wanted")
    return float(value)


def interval(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """Two numbers, the smaller first."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"option {name} is {value!r}: [least, most] is wanted")
    least, most = (number(name, one, low, high) for one in value)
    if least > most:
        raise ValueError(f"option {name} is {value!r}: the first is the larger one")
    return least, most


def several(name: str, value: Any) -> list[Any]:
    """A list of one or more, each once."""
    if not isinstance(value, list | tuple) or not value or len(set(map(str, value))) < len(value):
        raise ValueError(f"option {name} is {value!r}: a list of one or more, each once, is wanted")
    return list(value)


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of ``choices``."""
    if value not in tuple(choices):
        raise ValueError(f"option {name} is {value!r}: there are {', '.join(choices)}")
    return str(value)
