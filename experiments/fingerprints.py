"""Which run made the result files on disk, and of which params: files may be older than the newest run, as after ``dvc exp apply``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import outcomes
from experiments.results import Model, Store
from experiments.runs import fingerprint
from experiments.stages import Unreadable, recorded

MARK = re.compile(r"[0-9a-f]{1,64}")
"""A fingerprint; it becomes part of a path."""


def models_of(store: Store, recipe: str, origin: str = "models") -> list[Model]:
    """The model folders of a recipe below ``models`` or ``controls``."""
    return [model for model in store.models() if model.recipe == recipe and model.origin == origin]


def made_by(store: Store, stage: str, recipe: str) -> str:
    """The fingerprint of the run whose files are on disk.

    Where the files do not say it is that of the newest delivered run folder, and where runs/ is gone, as in a fresh clone, the one of the
    stage's inputs now; 'unknown' of results from elsewhere.
    """
    if said := _said(store, stage, recipe):
        return said
    done = [folder for folder in _delivered(store, stage, recipe) if not (folder / outcomes.LEDGER).exists()]
    if done:
        return _mark(done[0])
    models = models_of(store, store.source(recipe))
    precision = next((str(m.config.get("provenance", {}).get("precision", "")) for m in models), "")
    try:
        return fingerprint(stage, recipe, precision, store.root)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "unknown"  # no dvc.yaml that knows this stage: results from elsewhere


def recorded_recipe(store: Store, stage: str, recipe: str) -> dict[str, Any]:
    """The sections of the recipe that DVC recorded with the files on disk; of a transfer those of the recipe whose models it measures.

    Empty where it recorded none, or others.
    """
    try:
        found = recorded(store.root, f"{stage}@{recipe}").get("params") or {}
    except Unreadable:
        return {}
    sections = found.get(f"experiments/recipes/{store.source(recipe)}.yaml")
    return sections if isinstance(sections, dict) else {}


def _said(store: Store, stage: str, recipe: str) -> str:
    """The fingerprint that the files name, '' where they name none or several."""
    if stage == "search":
        folders = [one for one in _delivered(store, stage, recipe) if _holds_trials(one, store.trials(recipe))]
        return _mark(folders[0]) if folders else ""
    if stage in ("evaluate", "transfer"):
        return _only(store.scores(recipe)["fingerprint"])
    models = models_of(store, recipe, "controls" if stage == "controls" else "models")
    return _only(model.config.get("provenance", {}).get("fingerprint", "") for model in models)


def _only(marks: Iterable[object]) -> str:
    """What all of them are, '' where that is no fingerprint."""
    found = {str(mark) for mark in marks}
    return found.pop() if len(found) == 1 and all(map(MARK.fullmatch, found)) else ""


def _delivered(store: Store, stage: str, recipe: str) -> list[Path]:
    """The run folders of a stage whose files were handed over, the newest first."""
    named = re.compile(rf"{stage}-{re.escape(recipe)}-{MARK.pattern}")
    folders = [store.root / "runs" / name for name in store.folders("runs") if named.fullmatch(name)]
    done = [folder for folder in folders if (folder / "DELIVERED").exists()]
    return sorted(done, key=lambda folder: (folder / "DELIVERED").stat().st_mtime, reverse=True)


def _mark(folder: Path) -> str:
    return folder.name.rpartition("-")[2]


def _holds_trials(folder: Path, trials: pd.DataFrame) -> bool:
    """Whether the trials of a search's run folder that did not fail are those of trials.parquet, number by number."""
    known = outcomes.read(folder / outcomes.LEDGER).values()
    kept = {
        (o.job.origin, o.job.trial, o.job.rung, o.job.seed, o.steps, float(o.flops), o.loss)
        for o in known
        if not o.failure
    }
    rows = trials[trials["status"].ne("failed")]
    columns = (rows[name] for name in ("origin", "trial", "rung", "seed", "steps", "flops", "loss"))
    return kept == {(*row[:-1], None if pd.isna(row[-1]) else row[-1]) for row in zip(*columns)}
