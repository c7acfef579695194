"""What a trial can be judged by: names, words and directions, as plain tables that recipes, searches and readers share."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Goal(NamedTuple):
    """One number of a trial."""

    what: str
    """In words."""
    better: Literal["higher", "lower", "near 1"]
    labels: bool = False
    """Whether it needs labels."""


PROXIES = {
    "knn": Goal("k-NN accuracy", "higher", labels=True),
    "ridge": Goal("ridge probe accuracy", "higher", labels=True),
    "explained": Goal("variance explained on a mask bank", "higher"),
    "lidar": Goal("LiDAR over random masks", "higher"),
    "rankme": Goal("effective rank (RankMe)", "higher"),
    "alpha_req": Goal("slope of the spectrum (α-ReQ)", "near 1"),
}
"""Measures of a frozen encoder after a short training that may stand for the final probe."""
METRICS = {**{name: (name,) for name in PROXIES}, "label_free": ("lidar", "explained")}
"""What may rank trials → the proxies it is made of; several are averaged as ranks."""
LOSS = "loss"
"""Shown beside the proxies, never ranked by: what it measures changes with the mask and the patch."""
COSTS = {
    "flops": Goal("FLOPs of encoding one sample", "lower"),
    "parameters": Goal("parameters", "lower"),
}
"""What a configuration costs to use, whatever the training cost: trials of a rung cost the same training FLOPs."""
SCORE = "metric"
"""What the recipe's ``search.metric`` names."""
OBJECTIVES = {SCORE: Goal("score", "higher"), **COSTS, **PROXIES}
"""What a search may weigh against one another."""
COLUMN = "proxy."
"""Columns of trials.parquet that hold proxies begin so."""
FEW_TRIALS = 20
"""Importance from fewer is noise for the most part: the order of keys changes with the next trial."""


def oriented(name: str, value: float) -> float:
    """``value`` of a proxy, a cost or the loss, turned so that more is better."""
    better = "lower" if name == LOSS else OBJECTIVES[name].better
    return value if better == "higher" else -value if better == "lower" else -abs(value - 1)


def needs_labels(metric: str) -> bool:
    """Whether a row of ``METRICS`` needs labels."""
    return any(PROXIES[name].labels for name in METRICS[metric])


def metric_words(metric: str) -> str:
    """'k-NN accuracy', for axes and sentences."""
    return PROXIES[metric].what if metric in PROXIES else "mean rank of the label-free measures"
