"""Which tasks a dataset can answer, and why not the others: decided from its labels before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.recipe import EvaluateSection
from experiments.words import RAN
from mae_core.data.dataset import SPLITS, Dataset
from mae_core.registry import resolve
from mae_core.targets import TARGETS

LABELLED_TASKS = ("knn", "linear", "few_label", "finetune")
TUNED_TASKS = ("linear", "few_label", "finetune")
"""Their settings are chosen on validation."""
LEARNED_FROM_LABELS = f"{RAN}the masks were learned from the labels of train, not from as few as are counted"


class Skip(NamedTuple):
    """A row of skipped.csv."""

    task: str
    reason: str


class Questions(NamedTuple):
    """What is to be measured."""

    tasks: frozenset[str]
    few_label: list[int]
    """Labels per class of the few-label probe."""
    finetune: list[int | None]
    """Labels per class; None is all."""
    skipped: list[Skip]
    unlabelled: dict[str, int]
    """Samples of each split that no labelled task sees."""


def questions(dataset: Dataset, spec: EvaluateSection, tasks: Sequence[str] | None = None) -> Questions:
    """The tasks of ``spec`` (or ``tasks``) that ``dataset`` has the labels for, and a reason for each that it has not."""
    labels = {name: np.asarray(dataset.split(name).labels) for name in SPLITS}
    known = {name: values[values >= 0] for name, values in labels.items()}
    possible, skipped = [], []
    for task in dict.fromkeys(spec.tasks if tasks is None else tasks):
        reason = _why_not(task, known)
        if reason:
            skipped.append(Skip(task, reason))
        else:
            possible.append(task)
    few = _enough("few_label", spec.labels_per_class, possible, dataset.classes, known["train"], skipped)
    asked = [None if n == "all" else n for n in spec.finetune.labels_per_class]
    tuned = _enough("finetune", asked, possible, dataset.classes, known["train"], skipped)
    unlabelled = {name: len(labels[name]) - len(known[name]) for name in SPLITS}
    kept = {t for t in possible if (t != "few_label" or few) and (t != "finetune" or tuned)}
    return Questions(frozenset(kept), [n for n in few if n is not None], tuned, skipped, unlabelled)


def of_target(asked: Questions, target: str) -> Questions:
    """What can be asked of models that predict ``target``: without reconstruction, with the reason, where that is no sample."""
    if "reconstruction" not in asked.tasks or getattr(resolve(TARGETS, target, "target"), "shown", True):
        return asked
    reason = f"objective.target {target} predicts what is no sample: there is nothing to show or to compare"
    return asked._replace(
        tasks=asked.tasks - {"reconstruction"}, skipped=[*asked.skipped, Skip("reconstruction", reason)]
    )


def of_masks(asked: Questions, by_labels: bool) -> Questions:
    """With what to know of tasks that say how many labels they need, where masks were learned ``by_labels`` of train, whichever."""
    few = {"few_label": asked.few_label, "finetune": [n for n in asked.finetune if n is not None]}
    told = [
        Skip(task, LEARNED_FROM_LABELS)
        for task, counted in few.items()
        if by_labels and task in asked.tasks and counted
    ]
    return asked._replace(skipped=[*asked.skipped, *told])


def _why_not(task: str, known: dict[str, np.ndarray]) -> str:
    if task not in LABELLED_TASKS:
        return ""
    classes = len(np.unique(known["train"]))
    if classes < 2:
        return (
            "no training sample has a label" if classes == 0 else "all labelled training samples are of one class"
        ) + ": there is nothing to tell apart"
    if not len(known["test"]):
        return "no test sample has a label: there is nothing to measure on"
    if task in TUNED_TASKS and not len(known["validation"]):
        return "no validation sample has a label: there is nothing to choose settings on"
    return ""


def _enough(
    task: str,
    amounts: Sequence[int | None],
    possible: Sequence[str],
    classes: Sequence[str],
    train: np.ndarray,
    skipped: list[Skip],
) -> list[int | None]:
    """The amounts for which every class that train knows has samples enough; the others join ``skipped``."""
    if task not in possible:
        return []
    present, counts = np.unique(train, return_counts=True)
    scarce, least = classes[present[counts.argmin()]], int(counts.min())
    found: list[int | None] = []
    for amount in dict.fromkeys(amounts):
        if amount is not None and amount > least:
            reason = f"class {scarce!r} has {least} labelled training samples, {amount} labels a class were asked for"
            skipped.append(Skip(task, reason))
        else:
            found.append(amount)
    return found
