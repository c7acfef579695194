"""From the files of a stage to its MLflow runs: what a stage writes when it has ended, and what `maestro mlflow-backfill` writes later.

Both go this one way, so a run written late is the run that would have been written in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.fingerprints import made_by, models_of, recorded_recipe
from experiments.goals import COLUMN
from experiments.results import Model, Store, flat
from experiments.tracking import Tracker

SECTIONS = {
    "search": ("model", "masking", "objective", "pretrain", "search"),
    "pretrain": ("model", "masking", "objective", "pretrain"),
    "controls": ("model", "masking", "objective", "pretrain", "controls"),
    "evaluate": ("evaluate",),
    "transfer": ("evaluate",),
}
"""Stages that have runs, and the recipe sections that are their params."""
NUMBERS_OF_A_TRIAL = ("score", "loss", "flops", "parameters")
STATUS = {"failed": "FAILED", "stopped": "KILLED"}


def publish(
    root: Path,
    stage: str,
    recipe: str,
    fingerprint: str,
    uri: str | None = None,
    sections: dict[str, Any] | None = None,
) -> int:
    """Writes the delivered files of one stage to MLflow. The number of runs found or made, 0 where MLflow is off or files are absent.

    ``sections`` of the recipe are what the files were made of, by default what the recipe says now.
    """
    store = Store(root)
    if not _made(store, stage, recipe):
        return 0
    dataset = next((r.dataset for r in store.recipes() if r.name == recipe), "")
    info = next((d.info for d in store.datasets() if d.name == dataset), {"name": dataset})
    timing = store.document(("runs", f"{stage}-{recipe}-{fingerprint}", "timing.json"), "", needed=False, schema=False)
    ended = _changed(root / "runs" / f"{stage}-{recipe}-{fingerprint}" / "timing.json") if timing else None
    started = ended - float(timing.get("seconds", 0)) if ended else None
    with Tracker(root, recipe, stage, fingerprint, uri) as run:
        run.start(_params(stage, sections or _recipe(store, recipe)), None, info, started)
        if not run.on:
            return 0
        run.metrics([flat({k: v for k, v in timing.items() if k != "schema"})], "timing/")
        children = WRITERS[stage](store, recipe, run)
        run.finish("FINISHED", ended)
        return 1 + children if run.on else 0


def backfill(root: Path, uri: str | None = None) -> int:
    """Writes every stage of every recipe whose results are on disk, as the run that made them. The number of runs found or made."""
    store, written = Store(root), 0
    for recipe in store.recipes():
        stages = ("transfer",) if recipe.kind == "transfer" else ("search", "pretrain", "controls", "evaluate")
        for stage in stages:
            if _made(store, stage, recipe.name):
                mark = made_by(store, stage, recipe.name)
                written += publish(root, stage, recipe.name, mark, uri, recorded_recipe(store, stage, recipe.name))
    return written


def _made(store: Store, stage: str, recipe: str) -> bool:
    """Whether the files of a stage are there."""
    evidence = {
        "search": ("results", recipe, "search.json"),
        "pretrain": ("models", recipe),
        "controls": ("controls", recipe),
    }.get(stage, ("results", recipe, "scores.csv"))
    path = store.path(*evidence)
    return path is not None and (path.is_file() or (path.is_dir() and any(path.iterdir())))


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _recipe(store: Store, recipe: str) -> dict[str, Any]:
    """A recipe as it is now; of a transfer the recipe whose models it measures."""
    document = store.read("yaml", ("experiments", "recipes", f"{store.source(recipe)}.yaml"), "", needed=False)
    return document if isinstance(document, dict) else {}


def _params(stage: str, sections: dict[str, Any]) -> dict[str, Any]:
    """What a recipe asks of a stage."""
    return flat({name: sections[name] for name in SECTIONS[stage] if name in sections})


def _search(store: Store, recipe: str, run: Tracker) -> int:
    folder = store.root / "results" / recipe
    summary = store.search_summary(recipe)
    numbers = flat({k: summary.get(k) for k in ("confirm", "importance", "rank_correlation", "flops", "trials")})
    run.metrics([{k: v for k, v in numbers.items() if isinstance(v, int | float)}], "search/")
    for name in ("best.yaml", "search.json", "trials.parquet", "proxies.csv"):
        run.artifact(folder / name)
    table = store.trials(recipe)
    keys = [str(key) for key in summary.get("keys") or [] if key in table]
    count = 0
    for _, rows in table.groupby(["origin", "trial", "seed"], sort=True):
        last = rows.sort_values("rung").iloc[-1]
        origin, trial, seed = last["origin"], int(last["trial"]), int(last["seed"])
        name = f"confirm-{trial:03d}-seed-{seed}" if origin == "confirm" else f"trial-{trial:03d}"
        params = {"origin": origin, "seed": seed, **{key: last[key] for key in keys}}
        one = run.child(name, params, {"mae.status": last["status"]})
        one.metrics({"step": int(row["steps"]), **_of(row)} for row in rows.to_dict("records"))
        one.finish(STATUS.get(str(last["status"]), "FINISHED"))
        count += 1
    return count


def _of(row: dict[Any, Any]) -> dict[str, Any]:
    numbers = [*NUMBERS_OF_A_TRIAL, *(key for key in row if str(key).startswith(COLUMN))]
    return {key: row[key] for key in numbers if row.get(key) is not None}


def _pretrain(store: Store, recipe: str, run: Tracker) -> int:
    history = store.history(recipe)
    models = models_of(store, recipe)
    for model in models:
        rows = history[history["seed"] == model.seed].drop(columns="seed")
        with run.child(model.folder.name, _config(model), {"mae.seed": model.seed}) as one:
            one.metrics({str(k): v for k, v in row.items()} for row in rows.to_dict("records"))
            one.model(model.folder)
    return len(models)


def _controls(store: Store, recipe: str, run: Tracker) -> int:
    models = models_of(store, recipe, "controls")
    for model in models:
        with run.child(model.folder.name, _config(model), {"mae.seed": model.seed}) as one:
            one.artifact(model.folder, "model")
    return len(models)


def _config(model: Model) -> dict[str, Any]:
    return flat({k: v for k, v in model.config.items() if k not in ("schema", "provenance")})


def _evaluate(store: Store, recipe: str, run: Tracker) -> int:
    """Means over seeds as ``linear/accuracy/test/pretrained``, pictures, and the alias of the best model on validation."""
    folder = store.root / "results" / recipe
    scores = store.scores(recipe)
    run.metrics([dict(_means(scores))])
    for name in ("scores.csv", "skipped.csv", "embeddings.parquet"):
        run.artifact(folder / name)
    for name, picture in store.reconstruction_bank(recipe).pictures.items():
        run.image(picture, name)
    for best in store.champions():
        model = store.path(*best.folder.split("/"))
        if model is not None and best.dataset in set(scores["dataset"]):
            run.champion(model, {f"validation/{best.task}/{best.metric}": best.seed_validation}, best.dataset)
    return 0


def _means(scores: pd.DataFrame) -> Iterator[tuple[str, float]]:
    keys = ["task", "metric", "labels_per_class", "split", "model"]
    means = scores.groupby(keys, dropna=False)["value"].mean().reset_index()
    for row in means.to_dict("records"):
        amount = "" if pd.isna(row["labels_per_class"]) else f"-{row['labels_per_class']}"
        yield f"{row['task']}{amount}/{row['metric']}/{row['split']}/{row['model']}", float(row["value"])


WRITERS = {
    "search": _search,
    "pretrain": _pretrain,
    "controls": _controls,
    "evaluate": _evaluate,
    "transfer": _evaluate,
}
