"""Accuracy against cost as a picture, with the front of those that nothing beats in both; drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 900, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 40, 20, 50
"""Pixels around the plot."""
LINE = 12
"""Pixels from one line of text to the next."""
INK, FAINT, ON_FRONT, OTHER = (40, 44, 52), (225, 228, 234), (24, 44, 82), (160, 166, 178)


class Point(NamedTuple):
    """One thing that was measured."""

    name: str
    cost: float
    value: float


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in value at the same cost or less, cheapest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.value)):
        if not found or point.value > found[-1].value:
            found.append(point)
    return found


def lines_of(dots: Sequence[tuple[float, float]], widths: Sequence[float]) -> list[float]:
    """The height at which each dot's name stands: its own, or the nearest at which the name covers no dot and no name before it."""
    taken = [(x - 5, x + 5, y) for x, y in dots]  # left, right, middle

    def is_free(left: float, right: float, middle: float) -> bool:
        return not any(left < end and start < right and abs(middle - other) < LINE for start, end, other in taken)

    found = []
    for (x, y), width in zip(dots, widths):
        left, right = x + 8, x + 14 + width
        heights = [y + LINE / 2 * step for step in sorted(range(-30, 31), key=abs)]
        found.append(next((height for height in heights if is_free(left, right, height)), y))
        taken.append((left, right, found[-1]))
    return found


def draw(points: Sequence[Point], across: str, upwards: str) -> np.ndarray:
    """RGB uint8 (460, 900, 3): cost to the right on a logarithmic axis, value upwards, the front as a line, every point named.

    Raises ValueError where there is nothing to draw.
    """
    from PIL import Image, ImageDraw

    if not points:
        raise ValueError("no points: nothing was measured")
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    costs, values = [math.log(point.cost) for point in points], [point.value for point in points]
    low, high = min(costs), max(costs)
    reach = max(high - low, 0.1)
    floor, ceiling = min(values), max(values)
    room = max(ceiling - floor, 0.01)

    def place(point: Point) -> tuple[float, float]:
        x = LEFT + 20 + (math.log(point.cost) - low) / reach * (WIDTH - LEFT - RIGHT - 160)
        y = HEIGHT - BOTTOM - 20 - (point.value - floor) / room * (HEIGHT - TOP - BOTTOM - 40)
        return x, y

    for step in range(5):
        value = floor + room * step / 4
        _, y = place(Point("", math.exp(low), value))
        pen.line([LEFT, y, WIDTH - RIGHT, y], fill=FAINT)
        pen.text((12, y - 6), f"{value:.3f}", fill=INK)
        cost = math.exp(low + reach * step / 4)
        x, _ = place(Point("", cost, floor))
        pen.line([x, TOP, x, HEIGHT - BOTTOM], fill=FAINT)
        pen.text((x - 14, HEIGHT - BOTTOM + 6), f"{cost:.3g}", fill=INK)
    best = front(points)
    pen.line([place(point) for point in best], fill=ON_FRONT, width=2)
    dots = [place(point) for point in points]
    sizes = [pen.textlength(point.name) for point in points]
    for point, (x, y), line in zip(points, dots, lines_of(dots, sizes)):
        colour = ON_FRONT if point in best else OTHER
        pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colour)
        if line != y:
            pen.line([x, y, x + 12, line], fill=OTHER)
        pen.text((x + 14 if line != y else x + 8, line - 6), point.name, fill=colour)
    pen.text((WIDTH // 2 - 80, HEIGHT - 22), across, fill=INK)
    pen.text((12, 4), upwards, fill=INK)
    return np.asarray(image)
