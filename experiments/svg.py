"""Numbers → inline SVG. Pure functions; colours come from the page's style, so that one picture serves light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.markup import Markup, tag

SERIES = 6
MOST_POINTS = 300


class Line(NamedTuple):
    """One curve."""

    name: str
    x: np.ndarray
    y: np.ndarray
    series: int = 0
    """Colour, 0 to 5."""
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
    return tag("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=kind)


def _picture(width: float, height: float, title: str, *content: object, kind: str = "chart") -> Markup:
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", tag("title", title), *content, viewBox=box, class_=kind, role="img", width=f"{width:g}")


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def lines(
    curves: Sequence[Line],
    title: str,
    x_name: str,
    y_name: str,
    log_x: bool = False,
    log_y: bool = False,
    width: int = 460,
) -> Markup:
    """Curves with a legend; a band where a curve has `low` and `high`."""
    height, left, right, top, bottom = 260, 54, 14, 14 + 17 * ((len(curves) + 1) // 2), 40
    thinned = [thin(np.asarray(c.x, float), np.asarray(c.y, float)) for c in curves]
    every_x, every_y = (np.concatenate([one[i] for one in thinned]) for i in (0, 1))
    for c in curves:
        if c.low is not None and c.high is not None:
            every_y = np.concatenate([every_y, c.low[np.isfinite(c.low)], c.high[np.isfinite(c.high)]])
    if log_y and every_y.min() <= 0:
        log_y = False
    x = Axis(float(every_x.min()), float(every_x.max()), left, width - right, log_x)
    room = 0.0 if log_y else 0.04 * (float(np.ptp(every_y)) or 1.0)
    y = Axis(float(every_y.min()) - room, float(every_y.max()) + room, height - bottom, top, log_y)
    parts: list[Markup] = []
    across = sorted(set(every_x)) if log_x and len(set(every_x)) < 8 else ticks(x.low, x.high)
    up = (
        ticks(y.low, y.high)
        if not log_y
        else [v for v in (10.0**e * m for e in range(-9, 9) for m in (1, 2, 5)) if y.low <= v <= y.high]
    )
    for value in up:
        parts += [
            _line(left, y(value), width - right, y(value), "grid"),
            _label(left - 7, y(value) + 4, _shown(value), "end"),
        ]
    for value in across:
        parts += [
            _line(x(value), height - bottom, x(value), height - bottom + 4, "axis"),
            _label(x(value), height - bottom + 17, _shown(value)),
        ]
    parts.append(_line(left, height - bottom, width - right, height - bottom, "axis"))
    parts.append(_label((left + width - right) / 2, height - 5, x_name, kind="t name"))
    parts.append(
        tag(
            "text",
            y_name,
            transform=f"translate(13 {(top + height - bottom) / 2:.0f}) rotate(-90)",
            text_anchor="middle",
            class_="t name",
        )
    )
    for i, (curve, (xs, ys)) in enumerate(zip(curves, thinned)):
        kind = f"s{curve.series % SERIES}"
        if curve.low is not None and curve.high is not None:
            fine = np.isfinite(curve.low) & np.isfinite(curve.high)
            there = [f"{x(a):.1f},{y(b):.1f}" for a, b in zip(curve.x[fine], curve.high[fine])]
            back = [f"{x(a):.1f},{y(b):.1f}" for a, b in zip(curve.x[fine], curve.low[fine])]
            parts.append(tag("polygon", points=" ".join(there + back[::-1]), class_=f"band {kind}"))
        parts.append(
            tag("polyline", points=" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ys)), class_=f"line {kind}")
        )
        if curve.dots:
            parts += [
                tag("circle", cx=f"{x(a):.1f}", cy=f"{y(b):.1f}", r="3.2", class_=f"dot {kind}") for a, b in zip(xs, ys)
            ]
        at = left + (i % 2) * (width - left) / 2
        parts += [
            _line(at, 10 + 17 * (i // 2), at + 16, 10 + 17 * (i // 2), f"line {kind}"),
            _label(at + 21, 14 + 17 * (i // 2), curve.name[:30], "start"),
        ]
    return _picture(width, height, title, *parts)


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
    series: Sequence[int],
    title: str,
    x_name: str,
    y_name: str,
    mark: float | None = None,
) -> Markup:
    """Dots; `mark` draws a vertical line."""
    width, height, left, right, top, bottom = 460, 240, 54, 14, 12, 40
    fine = np.isfinite(x_values) & np.isfinite(y_values)
    xs, ys, colours = x_values[fine], y_values[fine], np.asarray(series)[fine]
    reach = np.append(xs, mark) if mark is not None else xs
    gap = [0.05 * (float(np.ptp(v)) or 1.0) for v in (reach, ys)]
    x = Axis(float(reach.min()) - gap[0], float(reach.max()) + gap[0], left, width - right)
    y = Axis(float(ys.min()) - gap[1], float(ys.max()) + gap[1], height - bottom, top)
    parts: list[Markup] = []
    for value in ticks(y.low, y.high):
        parts += [
            _line(left, y(value), width - right, y(value), "grid"),
            _label(left - 7, y(value) + 4, _shown(value), "end"),
        ]
    parts += [_label(x(value), height - bottom + 17, _shown(value)) for value in ticks(x.low, x.high)]
    parts.append(_line(left, height - bottom, width - right, height - bottom, "axis"))
    parts.append(_label((left + width - right) / 2, height - 5, x_name, kind="t name"))
    parts.append(
        tag(
            "text",
            y_name,
            transform=f"translate(13 {(top + height - bottom) / 2:.0f}) rotate(-90)",
            text_anchor="middle",
            class_="t name",
        )
    )
    if mark is not None:
        parts.append(_line(x(mark), top, x(mark), height - bottom, "zero"))
    parts += [
        tag("circle", cx=f"{x(a):.1f}", cy=f"{y(b):.1f}", r="4.5", class_=f"dot s{int(c) % SERIES}")
        for a, b, c in zip(xs, ys, colours)
    ]
    return _picture(width, height, title, *parts)


def bars(names: Sequence[str], shares: Sequence[float], title: str) -> Markup:
    """Horizontal bars of shares, the first on top."""
    width, left, row = 460, 170, 26
    most = max([*shares, 1e-9])
    parts: list[Markup] = []
    for i, (name, share) in enumerate(zip(names, shares)):
        wide = (width - left - 60) * max(share, 0.0) / most
        parts.append(_label(left - 8, row * i + 18, name[:28], "end"))
        parts.append(tag("rect", x=left, y=row * i + 5, width=f"{wide:.1f}", height=row - 9, rx=2, class_="bar"))
        parts.append(_label(left + wide + 6, row * i + 18, f"{share:.0%}", "start"))
    return _picture(width, row * len(names) + 6, title, *parts)
