"""Figures are pure functions: what goes in must be what is drawn."""

import numpy as np
import pandas as pd

from dashboard import figures, panels
from dashboard.views.embeddings import chosen_indices, purity
from dashboard.views.overview import chip
from dashboard.views.try_it import vote
from experiments.results import StageState


def test_whiskers_are_as_long_as_the_interval_and_absent_without_one():
    rows = pd.DataFrame(
        {
            "label": ["ours", "theirs"], "hover": ["a", "b"], "main": [True, False],
            "value": [90.0, 80.0], "low": [88.0, np.nan], "high": [93.0, np.nan],
        }
    )  # fmt: skip
    ours, theirs = figures.whiskers(rows, "%").data
    assert list(ours.error_x.array) == [3.0] and list(ours.error_x.arrayminus) == [2.0]
    assert list(theirs.error_x.array) == [0.0]


def test_names_are_escaped_in_charts():
    rows = pd.DataFrame(
        {"label": ["<b>x"], "hover": ["<a href='http:x'>"], "main": [True], "value": [1.0], "low": [0.9], "high": [1.1]}
    )
    drawn = figures.whiskers(rows, "%").to_json()
    assert "<b>" not in drawn and "<a " not in drawn


def test_thinning_keeps_every_spike():
    y = np.zeros(100_000)
    y[[777, 54_321]] = 9.0, -9.0
    kept = figures.thin(np.arange(len(y)), y)
    assert len(kept) <= figures.MOST_POINTS
    assert {777, 54_321} <= set(kept)


def test_thinning_survives_missing_values():
    y = np.full(10_000, np.nan)
    y[5] = 1.0
    assert 5 in figures.thin(np.arange(len(y)), y)


def test_smoothing_of_nothing_changes_nothing():
    y = np.array([3.0, 1.0, 2.0])
    assert (figures.smooth(y, 0.0) == y).all()
    assert figures.smooth(y, 0.9).std() < y.std()


def test_curves_have_a_line_per_recipe_and_seed():
    step = list(range(5))
    history = pd.concat(
        [pd.DataFrame({"recipe": r, "seed": s, "step": step, "loss": 1.0}) for r in "ab" for s in (0, 1, 2)]
    )
    drawn = figures.curves(history, "loss", "step", True, 0.0)
    assert len(drawn.data) == 6 and drawn.layout.yaxis.type == "log"
    assert len({(line.line.color, line.line.dash) for line in drawn.data}) == 6


def test_purity_is_one_for_separate_classes_and_low_for_noise():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 50)
    apart = pd.DataFrame({"x": label * 100.0 + rng.normal(size=100), "y": rng.normal(size=100), "label": label})
    mixed = apart.assign(x=rng.normal(size=100))
    assert purity(apart, "x", "y") == 1.0
    assert purity(mixed, "x", "y") < 0.7


def test_selection_gives_the_sample_indices():
    event = {"selection": {"points": [{"customdata": [7]}, {"customdata": 3}, {"x": 1.0}]}}
    assert chosen_indices(event) == [3, 7]
    assert chosen_indices(None) == []


def test_vote_weighs_by_similarity_and_skips_the_unlabelled():
    label, share = vote(np.array([1, 2, 2, -1]), np.array([0.99, 0.2, 0.2, 0.999]))
    assert label == 1 and share > 0.9
    assert vote(np.array([-1]), np.array([0.5]))[0] == -1


def test_chip_shows_the_worst_state():
    members = [StageState(f"pretrain@{s}", "pretrain", s, s, "", "", 0.5) for s in ("done", "failed", "running")]
    text, _, colour = chip("pretrain", members)
    assert "1 of 3 failed" in text and colour == "red"


def test_enlarging_invents_no_colour():
    picture = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    large = panels.enlarge(picture, 50)
    assert large.shape == (25, 50, 3) and set(np.unique(large)) == {0, 255}
