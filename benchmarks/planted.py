"""Pictures that say their class in a few cells: what learned masks are tried on, because there it is known what a good mask is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GRID, CELL, CLASSES = 7, 4, 10
"""Cells a side, pixels a side of a cell, classes."""
TELLING = 4
"""Cells of a picture that hold its class: one of the textures of the class each, at drawn places."""


class Planted(NamedTuple):
    """Pictures, and what is where in them."""

    samples: np.ndarray
    """(n, 1, 28, 28) uint8."""
    labels: np.ndarray
    """(n,) int64."""
    telling: np.ndarray
    """(n, 49) bool: the cells that hold the class."""
    noise: np.ndarray
    """(n, 49) bool: the cells that hold noise."""


def planted(n: int, noisy: int, seed: int) -> Planted:
    """``n`` pictures: a plane of grey, the telling cells on it, and ``noisy`` cells of pixels that nothing predicts.

    Textures are the same whatever ``seed`` is: light and dark pixels. Noise is black and white, so of a little more contrast.
    """
    textures = np.random.default_rng(0).integers(0, 2, (CLASSES, TELLING, CELL, CELL)) * 220 + 17
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, n)
    cells = _planes(n, random)
    places = random.random((n, GRID * GRID)).argsort(1)
    rows = np.arange(n)[:, None]
    telling, noise = (np.zeros((n, GRID * GRID), bool) for _ in range(2))
    telling[rows, places[:, :TELLING]] = True
    noise[rows, places[:, TELLING : TELLING + noisy]] = True
    cells[rows, places[:, :TELLING]] = textures[labels]
    cells[noise] = random.integers(0, 2, (int(noise.sum()), CELL, CELL)) * 255
    whole = cells.reshape(n, GRID, GRID, CELL, CELL).swapaxes(2, 3).reshape(n, 1, GRID * CELL, GRID * CELL)
    return Planted(whole.astype(np.uint8), labels, telling, noise)


def _planes(n: int, random: np.random.Generator) -> np.ndarray:
    """(n, 49, 4, 4): greys that rise evenly in a drawn direction."""
    y, x = np.mgrid[: GRID * CELL, : GRID * CELL] / (GRID * CELL - 1) - 0.5
    slope = random.uniform(-60, 60, (2, n, 1, 1))
    level = random.uniform(90, 160, (n, 1, 1)) + slope[0] * y + slope[1] * x
    return level.reshape(n, GRID, CELL, GRID, CELL).swapaxes(2, 3).reshape(n, GRID * GRID, CELL, CELL)
