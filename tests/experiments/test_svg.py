"""Pictures are pure functions of their numbers."""

import math
import re

import numpy as np
import pytest
from html_tree import parsed

from experiments import svg
from experiments.svg import Line


def drawn(picture: str, name: str) -> list[dict]:
    return [attrs for kind, attrs in parsed(picture).seen if kind == name]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.13, 0.97), (-5, 1234), (1e-6, 3e-6), (2, 2)])
def test_ticks_are_few_round_and_inside(low, high):
    found = svg.ticks(low, high)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-9 <= v <= high + 1e-9 for v in found)
    assert found == sorted(found)


def test_ticks_of_nonsense_are_harmless():
    assert svg.ticks(0, math.inf) == [0] and svg.ticks(1, 0) == [1]


def test_an_axis_maps_its_ends_to_its_ends():
    axis = svg.Axis(1, 100, 0, 200, log=True)
    assert (axis(1), axis(10), axis(100)) == (0, 100, 200)
    assert svg.Axis(3, 3, 5, 9)(3) == 5


def test_thinning_keeps_spikes_and_drops_what_is_not_finite():
    y = np.zeros(100_000)
    y[777], y[54_321], y[5] = 9, -9, np.nan
    _, kept = svg.thin(np.arange(len(y), dtype=float), y)
    assert len(kept) <= svg.MOST_POINTS + 2
    assert kept.max() == 9 and kept.min() == -9 and np.isfinite(kept).all()


def test_lines_have_a_curve_a_band_and_a_name_each():
    x = np.array([1.0, 5.0, 10.0])
    picture = svg.lines([Line("a", x, x, 0, x - 1, x + 1, True), Line("<b>", x, 2 * x, 1)], "t", "x", "y", log_x=True)
    assert len(drawn(picture, "polyline")) == 2 and len(drawn(picture, "polygon")) == 1
    assert len(drawn(picture, "circle")) == 3
    assert "&lt;b&gt;" in picture


def test_a_higher_value_is_drawn_higher():
    x = np.array([0.0, 1.0])
    points = drawn(svg.lines([Line("a", x, np.array([1.0, 2.0]))], "t", "x", "y"), "polyline")[0]["points"]
    (x0, y0), (x1, y1) = ([float(v) for v in p.split(",")] for p in points.split())
    assert x1 > x0 and y1 < y0


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [np.inf, np.nan]])
def test_nothing_finite_is_said_not_drawn(values):
    values = np.array(values, float)
    for picture in (
        svg.lines([Line("a", values, values)], "t", "x", "y"),
        svg.lines([], "t", "x", "y"),
        svg.scatter(values, values, ["s0"] * len(values), "t", "x", "y"),
        svg.cloud(np.stack([values, values], 1), np.zeros(len(values), int), ["a"], "t"),
    ):
        assert "no finite number" in picture and "<svg" not in picture


def test_logarithms_of_what_is_not_positive_are_not_tried():
    x = np.array([0.0, 1.0])
    assert "<svg" in svg.lines([Line("a", x, -x)], "t", "x", "y", log_x=True, log_y=True)


def test_no_coordinate_is_nan():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=50), rng.normal(size=50)
    x[3], y[7] = np.nan, np.inf
    pictures = [
        svg.lines([Line("a", x, y, 0, y - 1, y + 1, True)], "t", "x", "y"),
        svg.scatter(x, y, ["s0"] * 50, "t", "x", "y", mark=0.75),
        svg.cloud(np.stack([x, y], 1), rng.integers(-1, 3, 50), ["a", "b", "c"], "t"),
        svg.whisker(0.5, math.nan, math.nan, (0, 1), "t"),
        svg.whisker(0.5, 0.5, 0.5, (0.5, 0.5), "t"),
    ]
    for picture in pictures:
        assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', picture)


def test_a_whisker_spans_its_interval():
    picture = svg.whisker(0.5, 0.25, 0.75, (0.0, 1.0), "t", zero=0.0)
    bar = next(line for line in drawn(picture, "line") if "whisker" in line["class"])
    assert (float(bar["x1"]), float(bar["x2"])) == pytest.approx((6 + 158 * 0.25, 6 + 158 * 0.75), abs=0.1)
    assert sum(line["class"] == "zero" for line in drawn(picture, "line")) == 1


def test_a_map_names_each_class_once_and_greys_the_unlabelled():
    points = np.random.default_rng(0).normal(size=(30, 2))
    picture = svg.cloud(points, np.repeat([-1, 0, 1], 10), ["zero", "<one>"], "t")
    circles = drawn(picture, "circle")
    assert [c["class"] for c in circles].count("dot pale") == 10 and len(circles) == 30
    assert picture.count("zero") == 1 and picture.count("&lt;one&gt;") == 1


def test_bars_are_as_long_as_their_shares():
    widths = [float(bar["width"]) for bar in drawn(svg.bars(["a", "b", "c"], [0.5, 0.25, 0.0], "t"), "rect")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2) and widths[2] == 0
