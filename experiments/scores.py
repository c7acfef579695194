"""The long table: from what models answered to the rows of scores.csv, the means of metrics.json and the reasons of skipped.csv."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.columns import SCORE_COLUMNS, SKIPPED_COLUMNS
from experiments.questions import Questions
from experiments.words import MASK, PART
from mae_core.atomic import write_text
from mae_core.evaluation.statistics import Interval, over_items, paired_over_items

SCHEMA = 1
DIGITS = 6
GAINS = {
    "knn": ("pixels_knn", "untrained"),
    "linear": ("pixels_logistic", "pca", "boosting", "untrained"),
    "few_label": ("pixels_logistic", "untrained"),
    "finetune": ("scratch",),
}
"""By task: whom ``pretrained`` is set against, item by item, as the metric ``accuracy_gain_over_<model>``."""
HEADLINES = {
    "knn": ("accuracy",),
    "linear": ("accuracy",),
    "few_label": ("accuracy",),
    "finetune": ("accuracy",),
    "reconstruction": ("psnr_hidden", "rmse_hidden", "rmse_db_hidden", "accuracy_hidden"),
    "rank": ("effective_rank",),
    "label_free": ("lidar",),
}
"""By task: the metric whose means stand in metrics.json, the first of them that was measured."""


class Answer(NamedTuple):
    """What one fitted model said of the labelled samples of a split."""

    model: str
    task: str
    labels_per_class: int | None
    """None: all."""
    pretrain_seed: int | None
    probe_seed: int | None
    n_train: int
    split: str
    said: np.ndarray
    """(n,) labels."""
    truth: np.ndarray
    """(n,) labels."""

    @property
    def right(self) -> np.ndarray:
        """(n,) bool."""
        return self.said == self.truth


class Measure(NamedTuple):
    """A number that is no accuracy."""

    model: str
    task: str
    metric: str
    pretrain_seed: int | None
    n_train: int
    n_test: int
    split: str
    value: float
    low: float | None
    high: float | None


class Origin(NamedTuple):
    """What is the same in all rows of a table."""

    recipe: str
    dataset: str
    fingerprint: str


Row = dict[str, Any]


def rows(origin: Origin, answers: Sequence[Answer], measures: Iterable[Measure]) -> list[Row]:
    """The rows of scores.csv, sorted. Accuracies have a bootstrap interval over test items, gains a paired one."""
    found = [_row(origin, one, "accuracy", over_items(one.right)) for one in answers]
    found += [_row(origin, one, metric, interval) for one, metric, interval in _gains(answers)]
    found += [{**origin._asdict(), **one._asdict(), "labels_per_class": None, "probe_seed": None} for one in measures]
    return sorted(found, key=_order)


def _row(origin: Origin, one: Answer, metric: str, interval: Interval) -> Row:
    named = {k: v for k, v in one._asdict().items() if k not in ("said", "truth")}
    # NaN where there is no interval; a csv says that by an empty field
    low, high = (None if np.isnan(end) else end for end in (interval.low, interval.high))
    return {**origin._asdict(), **named, "metric": metric, "n_test": interval.n, "value": interval.mean} | {
        "low": low,
        "high": high,
    }


def _gains(answers: Sequence[Answer]) -> Iterable[tuple[Answer, str, Interval]]:
    """Pretrained minus a baseline that saw the same labels and the same items."""
    known = {(a.model, a.pretrain_seed, a.task, a.labels_per_class, a.probe_seed, a.split): a for a in answers}
    for one in answers:
        if one.model != "pretrained":
            continue
        for baseline in GAINS[one.task]:
            same = (one.task, one.labels_per_class, one.probe_seed, one.split)
            other = known.get((baseline, one.pretrain_seed, *same)) or known.get((baseline, None, *same))
            if other is not None:
                yield one, f"accuracy_gain_over_{baseline}", paired_over_items(one.right, other.right)


def _order(row: Row) -> tuple[Any, ...]:
    keys = ("task", "metric", "labels_per_class", "split", "model", "pretrain_seed", "probe_seed")
    return tuple((row[key] is not None, row[key]) for key in keys)


def metrics(table: Sequence[Row], asked: Questions) -> dict[str, Any]:
    """``{split: {task: {model: mean over seeds}}}`` of the headline metrics, for ``dvc metrics``; few_label and finetune by amount."""
    values: dict[tuple[str, str, str], list[float]] = {}
    measured = {(row["task"], row["metric"]) for row in table if MASK not in row["metric"]}
    headline = {task: _first(names, sorted(m for t, m in measured if t == task)) for task, names in HEADLINES.items()}
    for row in table:
        task, amount = row["task"], row["labels_per_class"]
        if row["metric"] == headline[task]:
            name = task if amount is None else f"{task}_{amount}"
            values.setdefault((row["split"], name, row["model"]), []).append(float(row["value"]))
    found: dict[str, Any] = {"schema": SCHEMA, "unlabelled": asked.unlabelled, "validation": {}, "test": {}}
    for (split, task, model), numbers in sorted(values.items()):
        found[split].setdefault(task, {})[model] = round(float(np.mean(numbers)), DIGITS)
    return found


def _first(names: Sequence[str], measured: Sequence[str]) -> str:
    """The first of ``names`` that was measured, of the first part that has it where samples are joint; '' where none was."""
    return next((found for name in names for found in measured if found.split(PART)[0] == name), "")


def write(folder: Path, table: Sequence[Row], asked: Questions) -> None:
    """Writes ``scores.csv``, ``skipped.csv`` and ``metrics.json``, each in one step."""
    write_text(folder / "scores.csv", _csv(SCORE_COLUMNS, [{k: _text(v) for k, v in row.items()} for row in table]))
    write_text(folder / "skipped.csv", _csv(SKIPPED_COLUMNS, [skip._asdict() for skip in asked.skipped]))
    write_text(folder / "metrics.json", json.dumps(metrics(table, asked), indent=2) + "\n")


def _text(value: Any) -> Any:
    return round(value, DIGITS) if isinstance(value, float) else value


def _csv(columns: Sequence[str], lines: Iterable[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()
