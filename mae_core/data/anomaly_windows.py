"""Stretches of recordings that people marked as anomalous, as the Numenta Anomaly Benchmark writes them (Ahmad et al. 2017).

One JSON object: the name of a series → a list of [first stamp, last stamp], both belonging to the stretch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_core.data.quarantine import Refused
from mae_core.data.sources import SourceError
from mae_core.data.ticks import SECOND, microseconds


class Stretch(NamedTuple):
    """Unix seconds, both ends within."""

    first: float
    last: float


class Marked(NamedTuple):
    """What a file of windows says."""

    stretches: Mapping[str, list[Stretch]]
    """By series."""
    refused: list[Refused]
    """Stretches that mean nothing, each with the name of its series."""


def unix_seconds(text: str) -> float:
    """Of an ISO stamp, UTC unless it says otherwise. Raises ValueError."""
    return microseconds(datetime.fromisoformat(text.strip())) / SECOND


def read_windows(path: Path) -> Marked:
    """The stretches of a file. Raises SourceError where it is no JSON object, with the position of the first mistake."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SourceError(f"{path} is missing") from None
    except json.JSONDecodeError as problem:
        raise SourceError(
            f"{path} is no whole JSON: {problem.msg} at line {problem.lineno}, column {problem.colno}"
        ) from problem
    if not isinstance(content, dict):
        raise SourceError(f"{path} holds a {type(content).__name__}: an object of series is needed")
    stretches: dict[str, list[Stretch]] = {}
    refused = []
    for series, windows in content.items():
        stretches[series] = []
        for window in windows if isinstance(windows, list) else [windows]:
            try:
                stretches[series].append(_stretch(window))
            except (TypeError, ValueError) as problem:
                refused.append(Refused(f"{path.name}: {series}", "no window of time", str(problem)))
    return Marked(stretches, refused)


def within(stretches: list[Stretch], first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """(n,) bool: which of the spans ``first``..``last`` (n,), in Unix seconds, meet any stretch."""
    met = np.zeros(len(first), bool)
    for one in stretches:
        met |= (first <= one.last) & (last >= one.first)
    return met


def _stretch(window: Any) -> Stretch:
    if not (isinstance(window, list) and len(window) == 2 and all(isinstance(end, str) for end in window)):
        raise ValueError(f"{window!r} is not [first stamp, last stamp]")
    first, last = (unix_seconds(end) for end in window)
    if last < first:
        raise ValueError(f"it ends ({window[1]}) before it begins ({window[0]})")
    return Stretch(first, last)
