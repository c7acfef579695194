"""What models, tasks and numbers are called when people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

PERCENT = ("accuracy", "accuracy_hidden", "auroc", "effective_rank_share", "dead_features")
"""Metrics that are fractions and are read in percent."""
GAIN = "_gain_over_"
"""`accuracy_gain_over_pca` is the paired difference of two accuracies: points, with a sign."""
MASK = "."
"""`psnr_hidden.random-75` is the metric under one mask of the bank alone."""
PART = "/"
"""`psnr_hidden/picture` is the metric of one part of joint samples."""
RAN = "ran, but "
"""A reason in skipped.csv that begins so is a caveat: the task ran all the same."""
UNITS = {
    "psnr": "dB",
    "psnr_hidden": "dB",
    "rmse_db_hidden": "dB",
    "mae_db_hidden": "dB",
    "rank": "dimensions",
    "effective_rank": "dimensions",
    "lidar": "dimensions",
}
METRIC_WORDS = {
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "psnr_hidden": "PSNR of hidden pixels",
    "ssim_hidden": "SSIM where hidden",
    "nll_hidden": "surprise at a hidden value (nats)",
    "psnr": "PSNR of the whole image",
    "ssim": "SSIM of the whole image",
    "mse": "mean squared error",
    "mse_hidden": "mean squared error of hidden pixels, 0..1",
    "rmse_hidden": "RMSE of hidden values, in standard deviations",
    "rmse_db_hidden": "RMSE of hidden levels",
    "mae_db_hidden": "mean absolute error of hidden levels",
    "effective_rank": "effective rank (RankMe)",
    "rank": "effective rank (RankMe)",
    "effective_rank_share": "effective rank over width",
    "feature_std": "spread of the features",
    "dead_features": "features that never change",
    "lidar": "LiDAR",
    "accuracy_hidden": "right of hidden tokens and categories",
    "explained": "variance explained of hidden values",
    "label_free": "mean rank of the label-free measures",
    "rankme": "effective rank (RankMe)",
    "alpha_req": "nearness of the spectrum's slope to 1 (α-ReQ)",
}
"""In the order in which they are shown."""
MODEL_WORDS = {
    "pretrained": "pretrained",
    "untrained": "untrained encoder",
    "scratch": "from scratch",
    "autoencoder": "plain autoencoder (no masking)",
    "supervised": "supervised twin",
    "pixels_knn": "plain features, k-NN",
    "pixels_logistic": "plain features, logistic regression",
    "pca": "PCA of plain features",
    "mean_fill": "mean of what is visible",
    "harmonic_fill": "smooth fill from the border",
    "linear_fill": "straight lines over time",
    "unigram_fill": "most frequent token",
    "last_fill": "last visible value",
    "nearest_fill": "nearest visible moment",
    "motion_fill": "last frame at constant velocity",
    "boosting": "gradient boosting",
    "column_fill": "mean or mode of the column",
    "constant_fill": "constant of train",
    "knn_fill": "mean of the 10 nearest rows",
    "ridge_fill": "ridge regression on all that is seen",
    "marginal": "distribution of train",
}
TASK_WORDS = {
    "linear": "linear probe",
    "ridge": "ridge probe",
    "knn": "k-NN",
    "few_label": "few-label probe",
    "finetune": "fine-tuning",
    "reconstruction": "reconstruction",
    "rank": "feature rank",
    "embedding": "map of the features",
    "label_free": "measures without labels",
}
NONE = "–"


def plain(metric: str) -> str:
    """A metric without its gain, its part and its mask: what unit, order and direction depend on."""
    return metric.split(MASK)[0].split(GAIN)[0].split(PART)[0]


def fraction(metric: str) -> bool:
    """Whether a metric is a fraction in [0, 1], or a difference of two, and so is read in percent."""
    return plain(metric) in PERCENT


def unit(metric: str) -> str:
    """'%', 'points', 'dB' or ''."""
    if fraction(metric):
        return "points" if GAIN in metric else "%"
    return UNITS.get(plain(metric), "")


def _form(metric: str) -> str:
    """One decimal where there is a unit, three digits where there is none."""
    return ".1f" if unit(metric) else ".3g"


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def score(value: float | None, metric: str, signed: bool = False) -> str:
    """'93.5 %', '+1.2 points', '17.2 dB'; '–' for no number."""
    if value is None or _missing(value):
        return NONE
    signed = signed or GAIN in metric
    sign = "+" if signed else ""
    if fraction(metric):
        return f"{100 * value:{sign}.1f}" + (" points" if signed else " %")
    return f"{value:{sign}{_form(metric)}} {unit(metric)}".strip()


def bounds(low: float | None, high: float | None, metric: str, signed: bool = False) -> str:
    """'[92.0, 95.0]' in the unit of `score`; '–' where there is no interval."""
    if low is None or high is None or _missing(low) or _missing(high):
        return NONE
    sign, by = ("+" if signed or GAIN in metric else ""), (100 if fraction(metric) else 1)
    form = f"{sign}{_form(metric)}"
    return f"[{by * low:{form}}, {by * high:{form}}]"


def task(name: str, labels: int | None = None) -> str:
    """'few-label probe, 10 labels a class'."""
    words = TASK_WORDS.get(name, name)
    return words if labels is None else f"{words}, {labels} label{'s' * (labels != 1)} a class"


def metric(name: str) -> str:
    """'PSNR of hidden pixels', 'PSNR of hidden pixels, mask block-50', 'accuracy gain over PCA of plain features'."""
    whole, alone, mask = name.partition(MASK)
    what, gain, other = whole.partition(GAIN)
    what, _, part = what.partition(PART)
    words = (
        METRIC_WORDS.get(what, what) + (f" of {part}" if part else "") + (f" gain over {model(other)}" if gain else "")
    )
    return f"{words}, mask {mask}" if alone else words


def metric_order(name: str) -> tuple[bool, bool, int, str]:
    """Sorts metrics: known ones as METRIC_WORDS lists them, gains after them, single masks last."""
    what = plain(name)
    known = list(METRIC_WORDS)
    return MASK in name, GAIN in name, known.index(what) if what in METRIC_WORDS else len(known), name


def model(name: str) -> str:
    """'untrained encoder'."""
    return MODEL_WORDS.get(name, name)


def caveats(reasons: Iterable[object]) -> list[str]:
    """Of the reasons in skipped.csv those of what ran all the same: ['b shares images with a, …']."""
    return [str(reason).removeprefix(RAN) for reason in reasons if str(reason).startswith(RAN)]


def contender(recipe: str, name: str) -> str:
    """'digits · pretrained'; a baseline of the data alone has no recipe."""
    return f"{recipe} · {model(name)}" if recipe else model(name)


def short(text: object, longest: int = 40) -> str:
    """A name on one line, of at most `longest` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def count(value: float | None) -> str:
    """'3,600'; '–' for no number (None, NaN, or the NA of a table)."""
    return f"{int(value):,}" if isinstance(value, int | float | np.number) and math.isfinite(value) else NONE


def seconds(value: float | None) -> str:
    """'48 s', '2 min 43 s', '3 h 05 min'; '–' for no number."""
    if value is None or _missing(value):
        return NONE
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s" if value < 10 else f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def winner(summary: Mapping[str, Any]) -> str:
    """What the winner of a search is: of several objectives it is the one that was picked, and need not be the best."""
    if summary.get("schedule"):
        return "best member, last round"
    return "picked trial" if summary.get("front") else "best trial"


def length(share: float | None) -> str:
    """'at 0.2 of the final run's FLOPs'; searches of old did not say, and confirmed at the longest schedule."""
    if share is None:
        return "at the longest schedule"
    return "at the length of the final run" if share == 1 else f"at {share:.3g} of the final run's FLOPs"


def amount(value: float, unit: str) -> str:
    """'4.1 TFLOP', '182 k': three digits and a prefix."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".strip()
