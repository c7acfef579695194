"""What models, tasks and numbers are called when people read them."""

from __future__ import annotations

import math

PERCENT = ("accuracy", "auroc")
UNITS = {"psnr": "dB", "rank": "dimensions", "effective_rank": "dimensions"}
MODEL_WORDS = {
    "pretrained": "pretrained",
    "untrained": "untrained encoder",
    "scratch": "from scratch",
    "autoencoder": "plain autoencoder (no masking)",
    "supervised": "supervised twin",
    "pixels_knn": "raw pixels, k-NN",
    "pixels_logistic": "raw pixels, logistic regression",
    "pca": "PCA of pixels",
}
TASK_WORDS = {
    "linear": "linear probe",
    "knn": "k-NN",
    "few_label": "few-label probe",
    "finetune": "fine-tuning",
    "reconstruction": "reconstruction",
    "rank": "feature rank",
}
NONE = "–"


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


def score(value: float | None, metric: str, signed: bool = False) -> str:
    """'93.5 %', '+1.2 points', '17.2 dB'; '–' for no number."""
    if value is None or _missing(value):
        return NONE
    sign = "+" if signed else ""
    if metric in PERCENT:
        return f"{100 * value:{sign}.1f}" + (" points" if signed else " %")
    return f"{value:{sign}.3g} {UNITS.get(metric, '')}".strip()


def bounds(low: float | None, high: float | None, metric: str, signed: bool = False) -> str:
    """'[92.0, 95.0]' in the unit of `score`; '–' where there is no interval."""
    if low is None or high is None or _missing(low) or _missing(high):
        return NONE
    sign, by = ("+" if signed else ""), (100 if metric in PERCENT else 1)
    form = ".1f" if metric in PERCENT else ".3g"
    return f"[{by * low:{sign}{form}}, {by * high:{sign}{form}}]"


def task(name: str, labels: int | None = None) -> str:
    """'few-label probe, 10 labels a class'."""
    words = TASK_WORDS.get(name, name)
    return words if labels is None else f"{words}, {labels} label{'s' * (labels != 1)} a class"


def contender(recipe: str, model: str) -> str:
    """'digits · pretrained'; a baseline of the data alone has no recipe."""
    words = MODEL_WORDS.get(model, model)
    return f"{recipe} · {words}" if recipe else words


def amount(value: float, unit: str) -> str:
    """'4.1 TFLOP', '182 k': three digits and a prefix."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".strip()
