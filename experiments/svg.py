"""Numbers → inline SVG. Pure functions; colours come from the page's style, so that one picture serves light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.markup import Markup, tag
from experiments.words import short

SERIES = 10
WIDTH = 460
"""Pixels of a chart; the page scales it."""
MOST_POINTS = 300
MOST_NAMED = 30
"""Classes that a map still names in place."""
LONGEST = 28
"""Characters of a name in a picture."""


class Line(NamedTuple):
    """One curve."""

    name: str
    x: np.ndarray
    y: np.ndarray
    series: int = 0
    """Colour, 0 to 9."""
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dots: bool = False


class Axis(NamedTuple):
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from `low` to `high`."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low]
    step = 10 ** math.floor(math.log10(span / most))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= most)
    return [round(step * i, 12) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def thin(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points that keep the lowest and highest of each stretch, finite ones alone."""
    fine = np.isfinite(x) & np.isfinite(y)
    x, y = x[fine], y[fine]
    if len(x) <= most:
        return x, y
    kept = {0, len(x) - 1}
    for stretch in np.array_split(np.arange(len(x)), most // 2):
        kept |= {int(stretch[y[stretch].argmin()]), int(stretch[y[stretch].argmax()])}
    at = np.array(sorted(kept))
    return x[at], y[at]


def _label(x: float, y: float, words: str, anchor: str = "middle", kind: str = "t") -> Markup:
    return tag("text", short(words, LONGEST), x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind)


def _picture(width: float, height: float, title: str, *content: object, kind: str = "chart") -> Markup:
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", tag("title", title), *content, viewBox=box, class_=kind, role="img", width=f"{width:g}")


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


class _Frame(NamedTuple):
    """Where a chart draws: its size, and its two axes."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x: Axis
    y: Axis

    def axes(self, x_name: str, y_name: str, across: Sequence[float], up: Sequence[float]) -> list[Markup]:
        """Grid, ticks and names."""
        end, floor = self.width - self.right, self.height - self.bottom
        parts: list[Markup] = []
        for value in up:
            at = self.y(value)
            parts += [_line(self.left, at, end, at, "grid"), _label(self.left - 7, at + 4, _shown(value), "end")]
        for value in across:
            at = self.x(value)
            parts += [_line(at, floor, at, floor + 4, "axis"), _label(at, floor + 17, _shown(value))]
        turned = f"translate(13 {(self.top + floor) / 2:.0f}) rotate(-90)"
        return [
            *parts,
            _line(self.left, floor, end, floor, "axis"),
            _label((self.left + end) / 2, self.height - 5, x_name, kind="t name"),
            tag("text", y_name, transform=turned, text_anchor="middle", class_="t name"),
        ]


def _frame(
    xs: np.ndarray, ys: np.ndarray, height: int, top: int, width: int, room: tuple[float, float], log: tuple[bool, bool]
) -> _Frame:
    """A frame that holds all values, with `room` (a share of the range) around them on axes that are not logarithmic."""
    left, right, bottom = 64, 16, 42
    gap = [0.0 if logged else share * (float(np.ptp(v)) or 1.0) for v, share, logged in zip((xs, ys), room, log)]
    x = Axis(float(xs.min()) - gap[0], float(xs.max()) + gap[0], left, width - right, log[0])
    y = Axis(float(ys.min()) - gap[1], float(ys.max()) + gap[1], height - bottom, top, log[1])
    return _Frame(width, height, left, right, top, bottom, x, y)


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between `low` and `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [v for e in powers for v in (10.0**e * m for m in (1, 2, 5)) if low <= v <= high]


def _nothing() -> Markup:
    return tag("p", "There is no finite number to draw.", class_="none")


def lines(
    curves: Sequence[Line],
    title: str,
    x_name: str,
    y_name: str,
    log_x: bool = False,
    log_y: bool = False,
) -> Markup:
    """Curves with a legend; a band where a curve has `low` and `high`. A logarithm of what is not positive is not drawn as one."""
    thinned = [thin(np.asarray(c.x, float), np.asarray(c.y, float)) for c in curves]
    curves = [c for c, (xs, _) in zip(curves, thinned) if len(xs)]
    thinned = [one for one in thinned if len(one[0])]
    if not curves:
        return _nothing()
    every_x, every_y = (np.concatenate([one[i] for one in thinned]) for i in (0, 1))
    for c in curves:
        if c.low is not None and c.high is not None:
            every_y = np.concatenate([every_y, c.low[np.isfinite(c.low)], c.high[np.isfinite(c.high)]])
    log_x, log_y = log_x and every_x.min() > 0, log_y and every_y.min() > 0
    top = 16 + 17 * ((len(curves) + 1) // 2)
    frame = _frame(every_x, every_y, 240 + top, top, WIDTH, (0.0, 0.04), (log_x, log_y))
    x, y = frame.x, frame.y
    across = sorted(set(every_x.tolist())) if log_x and len(set(every_x)) < 8 else ticks(x.low, x.high)
    powers = _log_ticks(y.low, y.high) if log_y else []
    parts = frame.axes(x_name, y_name, across, powers if len(powers) > 2 else ticks(y.low, y.high))
    for i, (curve, (xs, ys)) in enumerate(zip(curves, thinned)):
        kind = f"s{curve.series % SERIES}"
        if curve.low is not None and curve.high is not None:
            fine = np.isfinite(curve.x) & np.isfinite(curve.low) & np.isfinite(curve.high)
            there = [f"{x(a):.1f},{y(b):.1f}" for a, b in zip(curve.x[fine], curve.high[fine])]
            back = [f"{x(a):.1f},{y(b):.1f}" for a, b in zip(curve.x[fine], curve.low[fine])]
            parts.append(tag("polygon", points=" ".join(there + back[::-1]), class_=f"band {kind}"))
        points = [(f"{x(a):.1f}", f"{y(b):.1f}") for a, b in zip(xs, ys)]
        parts.append(tag("polyline", points=" ".join(",".join(p) for p in points), class_=f"line {kind}"))
        if curve.dots:
            parts += [tag("circle", cx=a, cy=b, r="3.2", class_=f"dot {kind}") for a, b in points]
        at, row = 8 + (i % 2) * WIDTH / 2, 17 * (i // 2)
        parts += [
            _line(at, 10 + row, at + 16, 10 + row, f"line {kind}"),
            _label(at + 21, 14 + row, curve.name, "start"),
        ]
    return _picture(WIDTH, frame.height, title, *parts)


def whisker(
    value: float,
    low: float,
    high: float,
    span: tuple[float, float],
    title: str,
    kind: str = "s0",
    zero: float | None = None,
) -> Markup:
    """A dot with its interval on the common scale `span`, for a cell of a table."""
    width, height = 170, 18
    x = Axis(*span, 6, width - 6)
    parts = [_line(6, 9, width - 6, 9, "grid")]
    if zero is not None and span[0] <= zero <= span[1]:
        parts.append(_line(x(zero), 1, x(zero), 17, "zero"))
    if math.isfinite(low) and math.isfinite(high):
        parts += [
            _line(x(low), 9, x(high), 9, f"whisker {kind}"),
            *(_line(x(v), 5, x(v), 13, f"whisker {kind}") for v in (low, high)),
        ]
    parts.append(tag("circle", cx=f"{x(value):.1f}", cy="9", r="4", class_=f"dot {kind}"))
    return _picture(width, height, title, *parts, kind="mini")


def scatter(
    x_values: np.ndarray,
    y_values: np.ndarray,
    kinds: Sequence[str],
    title: str,
    x_name: str,
    y_name: str,
    mark: float | None = None,
) -> Markup:
    """Dots, each with the class of its own kind (`s0`, `s1 pale` …); `mark` draws a vertical line."""
    fine = np.isfinite(x_values) & np.isfinite(y_values)
    if not fine.any():
        return _nothing()
    xs, ys = x_values[fine], y_values[fine]
    reach = np.append(xs, mark) if mark is not None else xs
    frame = _frame(reach, ys, 240, 12, WIDTH, (0.05, 0.05), (False, False))
    x, y = frame.x, frame.y
    parts = frame.axes(x_name, y_name, ticks(x.low, x.high), ticks(y.low, y.high))
    if mark is not None:
        parts.append(_line(x(mark), frame.top, x(mark), frame.height - frame.bottom, "zero"))
    of = [kind for kind, kept in zip(kinds, fine) if kept]
    parts += [
        tag("circle", cx=f"{x(a):.1f}", cy=f"{y(b):.1f}", r="4.5", class_=f"dot {kind}")
        for a, b, kind in zip(xs, ys, of)
    ]
    return _picture(WIDTH, frame.height, title, *parts)


def cloud(points: np.ndarray, labels: np.ndarray, names: Sequence[str], title: str) -> Markup:
    """A map of (n, 2) points, coloured by label, each class named at the median of its points. Negative labels are grey."""
    fine = np.isfinite(points).all(1)
    points, labels = points[fine], labels[fine]
    if not len(points):
        return _nothing()
    side, edge = WIDTH, 14
    low, span = points.min(0), float(np.ptp(points, axis=0).max()) or 1.0
    shift = (side - 2 * edge - (points.max(0) - low) / span * (side - 2 * edge)) / 2
    at = edge + shift + (points - low) / span * (side - 2 * edge)
    at[:, 1] = side - at[:, 1]
    parts = [
        tag(
            "circle",
            cx=f"{a:.1f}",
            cy=f"{b:.1f}",
            r="2.6",
            class_=f"dot s{label % SERIES}" if label >= 0 else "dot pale",
        )
        for (a, b), label in zip(at, labels.astype(int))
    ]
    for label in np.unique(labels[labels >= 0]).astype(int) if len(names) <= MOST_NAMED else []:
        if label < len(names):
            middle = np.median(at[labels == label], axis=0)
            parts.append(_label(float(middle[0]), float(middle[1]) + 5, names[label], kind="t place"))
    return _picture(side, side, title, *parts)


def bars(names: Sequence[str], shares: Sequence[float], title: str) -> Markup:
    """Horizontal bars of shares, the first on top."""
    width, left, row = WIDTH, 170, 26
    most = max([*shares, 1e-9])
    parts: list[Markup] = []
    for i, (name, share) in enumerate(zip(names, shares)):
        wide = (width - left - 60) * max(share, 0.0) / most
        parts.append(_label(left - 8, row * i + 18, name, "end"))
        parts.append(tag("rect", x=left, y=row * i + 5, width=f"{wide:.1f}", height=row - 9, rx=2, class_="bar"))
        parts.append(_label(left + wide + 6, row * i + 18, f"{share:.0%}", "start"))
    return _picture(width, row * len(names) + 6, title, *parts)
