"""Numbers as people read them."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments import words


@pytest.mark.parametrize(
    ("value", "metric", "signed", "said"),
    [
        (0.9351, "accuracy", False, "93.5 %"),
        (0.012, "accuracy", True, "+1.2 points"),
        (-0.012, "accuracy_gain_over_pca", False, "-1.2 points"),
        (17.234, "psnr", False, "17.2 dB"),
        (17.234, "psnr_hidden.block-50", False, "17.2 dB"),
        (31.4, "effective_rank", False, "31.4 dimensions"),
        (0.5, "ssim", False, "0.5"),
        (math.nan, "accuracy", False, "–"),
        (None, "psnr", False, "–"),
    ],
)
def test_score(value, metric, signed, said):
    assert words.score(value, metric, signed) == said


def test_bounds_are_in_the_unit_of_the_score():
    assert words.bounds(0.92, 0.95, "accuracy") == "[92.0, 95.0]"
    assert words.bounds(-0.01, 0.02, "accuracy", True) == "[-1.0, +2.0]"
    assert words.bounds(-0.01, 0.02, "accuracy_gain_over_pca") == "[-1.0, +2.0]"
    assert words.bounds(math.nan, 0.95, "accuracy") == words.bounds(0.9, None, "accuracy") == "–"


def test_units():
    assert [words.unit(m) for m in ("accuracy", "accuracy_gain_over_pca", "psnr", "ssim")] == ["%", "points", "dB", ""]
    assert words.score(7.26, "rmse_db_hidden.line-50") == "7.3 dB"


def test_labels_a_class_are_counted():
    assert words.task("few_label", 1) == "few-label probe, 1 label a class"
    assert words.task("few_label", 10) == "few-label probe, 10 labels a class"
    assert words.task("linear") == "linear probe"


def test_unknown_names_are_kept():
    assert (words.task("x"), words.metric("x"), words.model("x")) == ("x", "x", "x")


def test_a_gain_names_what_it_is_over():
    assert (
        words.metric("accuracy_gain_over_pixels_logistic") == "accuracy gain over plain features, logistic regression"
    )


def test_a_single_mask_is_named():
    assert words.metric("psnr_hidden.block-50") == "PSNR of hidden pixels, mask block-50"


def test_a_part_of_a_joint_sample_is_named_and_keeps_its_unit():
    assert words.metric("psnr_hidden/picture") == "PSNR of hidden pixels of picture"
    assert words.metric("psnr_hidden/picture.random-75") == "PSNR of hidden pixels of picture, mask random-75"
    assert (
        words.score(17.21, "psnr_hidden/picture") == "17.2 dB" and words.score(0.5, "accuracy_hidden/words") == "50.0 %"
    )
    assert words.metric_order("psnr_hidden/picture") < words.metric_order("accuracy_hidden/words")


def test_metrics_are_sorted_as_they_are_read():
    names = ["psnr_hidden.a", "zeta", "accuracy_gain_over_pca", "psnr", "accuracy", "psnr_hidden"]
    assert sorted(names, key=words.metric_order) == [
        "accuracy", "psnr_hidden", "psnr", "zeta", "accuracy_gain_over_pca", "psnr_hidden.a",
    ]  # fmt: skip


def test_a_baseline_of_the_data_has_no_recipe():
    assert words.contender("digits", "pretrained") == "digits · pretrained"
    assert words.contender("", "pca") == "PCA of plain features"


@pytest.mark.parametrize(
    ("value", "said"), [(4.12e12, "4.12 TFLOP"), (182_000, "182 kFLOP"), (12, "12 FLOP"), (-2e9, "-2 GFLOP")]
)
def test_amounts_have_three_digits_and_a_prefix(value, said):
    assert words.amount(value, "FLOP") == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(4.26, "4.3 s"), (48, "48 s"), (163.4, "2 min 43 s"), (11_100, "3 h 05 min"), (59.7, "1 min 00 s"), (None, "–")],
)
def test_seconds(value, said):
    assert words.seconds(value) == said


def test_counts():
    assert [words.count(v) for v in (3600, np.int64(5), 3600.0, None, math.nan, pd.NA)] == [
        "3,600",
        "5",
        "3,600",
        "–",
        "–",
        "–",
    ]


def test_short_keeps_one_line():
    assert words.short("a\n b") == "a b"
    assert words.short("n" * 200, 10) == "n" * 9 + "…"
