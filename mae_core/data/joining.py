"""Parts of samples put together into joint samples: float32, behind one another, NaN where a sample lacks a part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

GENERAL = frozenset(
    {"schema", "name", "modality", "splits", "classes", "licence", "source", "verified", "overlaps"}
    | {"duplicates", "quarantined", "ignored", "notes"}
)
"""Keys of a ``dataset.json`` that say nothing of how its samples are to be read."""


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """(n, S) float32 of arrays (n, …) of any shape and dtype."""
    return np.concatenate([np.asarray(part).reshape(len(part), -1).astype(np.float32) for part in parts], 1)


def described(name: str, kind: str, samples: np.ndarray, **known: Any) -> dict[str, Any]:
    """What ``dataset.json`` says of a part: its name, its modality, the shape and dtype of its own samples, and what that modality asks."""
    return {
        "name": name,
        "kind": kind,
        "sample": {"shape": list(samples.shape[1:]), "dtype": str(samples.dtype)},
        **known,
    }


class Groups:
    """Items that must not be parted, such as near copies: whoever shares a key with another, however indirectly, is in its group."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def join(self, keys: Iterable[Any]) -> None:
        """Puts items with equal keys together; ``keys`` has one for each item, None for an item that stays alone."""
        first: dict[Any, int] = {}
        for item, key in enumerate(keys):
            if key is not None:
                self._parent[self._root(item)] = self._root(first.setdefault(key, item))

    def numbers(self) -> np.ndarray:
        """(n,) long: the same number for the items of a group, that of one of them."""
        return np.array([self._root(item) for item in range(len(self._parent))], np.int64)

    def _root(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item
