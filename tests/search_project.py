"""A project of seconds: 16x16 pictures of four classes, a model of a few thousand weights, and a search without Ray to compare with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from experiments.cluster import Machines
from experiments.trials import Work, measure
from mae_core.data.pack import Rules, pack
from mae_core.data.sources import Part, Source

OUTS = ("best.yaml", "trials.parquet", "search.json", "proxies.csv")
DVC = {
    "stages": {
        "search": {
            "foreach": "${recipes}",
            "do": {
                "cmd": "python -m pipelines.search ${key}",
                "deps": ["data/${item.dataset}", "experiments/spaces"],
                "params": [
                    {"experiments/recipes/${key}.yaml": ["model", "masking", "objective", "pretrain", "search"]}
                ],
            },
        }
    }
}
SPACE: dict[str, Any] = {
    "masking.ratio": {"low": 0.4, "high": 0.8, "step": 0.05},
    "masking.strategy": {"choices": ["random", "grid"]},
    "model.encoder.depth": {"choices": [1, 2]},
    "pretrain.lr": {"low": 0.0005, "high": 0.005, "log": True},
}
RECIPE: dict[str, Any] = {
    "model": {"encoder": {"width": 16, "depth": "auto", "heads": 2}, "decoder": {"width": 8, "heads": 2}, "patch": 4},
    "masking": {"strategy": "random", "ratio": 0.6},
    "pretrain": {"steps": 80, "batch_size": 16},
    "search": {"trials": 4, "budget": 0.25, "rungs": 2, "confirm_seeds": 2, "space": "tiny"},
}


def make_dataset(folder: Path, labelled: bool = True) -> dict[str, Any]:
    """Bars of four directions in noise: 200 to train, 100 to validate, 20 to test."""
    draws = np.random.default_rng(0)
    labels = np.arange(320, dtype=np.int64) % 4
    pictures = draws.integers(0, 60, (320, 1, 16, 16))
    rows, columns = np.mgrid[:16, :16]
    ways = [rows, columns, rows + columns, rows - columns + 16]
    for picture, label in zip(pictures, labels):
        picture[0] += 150 * ((ways[label] + draws.integers(8)) % 8 < 3)
    known = labels if labelled else np.full_like(labels, -1)
    part = Part("all", pictures.astype(np.uint8), known, [str(i) for i in range(320)])
    source = Source([part], list("abcd") if labelled else [], [], 0, [])
    rules = Rules("bars", "image", "none", "drawn", True, {"validation": 100, "test": 20})
    return pack(source, rules, folder)


def make_project(
    root: Path, space: dict[str, Any] | None = None, labelled: bool = True, **sections: dict[str, Any]
) -> Path:
    """A project with the recipe ``tiny``; sections are merged into RECIPE."""
    make_dataset(root / "data" / "bars", labelled)
    recipe = {name: {**RECIPE.get(name, {}), **sections.get(name, {})} for name in {*RECIPE, *sections}}
    files = {
        "dvc.yaml": DVC,
        "params.yaml": {"datasets": ["bars"], "recipes": {"tiny": {"dataset": "bars", "modality": "image"}}},
        "experiments/spaces/tiny.yaml": SPACE if space is None else space,
        "experiments/recipes/tiny.yaml": recipe,
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(yaml.safe_dump(content))
    return root


def outs(root: Path) -> dict[str, bytes]:
    """The bytes of what the search wrote."""
    return {name: (root / "results" / "tiny" / name).read_bytes() for name in OUTS}


def ledger(root: Path) -> list[dict[str, Any]]:
    """The whole lines of the only run's outcomes.jsonl."""
    (path,) = (root / "runs").glob("search-tiny-*/outcomes.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def without_ray(patch: pytest.MonkeyPatch) -> None:
    """Lets ``search`` run its trials one after another in this process."""

    @contextmanager
    def connected(root: Path) -> Iterator[Machines]:
        yield Machines(1, 0, "")

    def play(jobs: Any, machines: Machines, folder: Path, beat: Callable[[], None]) -> None:
        while isinstance(work := jobs.suggest("one"), dict):
            beat()
            jobs.on_trial_complete("one", {"measured": json.dumps(measure(Work(**work))._asdict())})
        if jobs.problem:
            raise jobs.problem

    patch.setattr("experiments.cluster.connected", connected)
    patch.setattr("experiments.tuning.play", play)


def losing(patch: pytest.MonkeyPatch, lost: int = 0, stop: int = 0) -> list[str]:
    """Lets the trial that ends as number ``lost`` end without an answer, and breaks the search off after ``stop``; those that ended."""
    from experiments import tuning  # imports Ray, which most of those who use this file do without

    working, ended = tuning.play, []

    def play(jobs: Any, machines: Machines, folder: Path, beat: Callable[[], None]) -> None:
        answer = jobs.on_trial_complete

        def complete(trial_id: str, result: object = None, error: bool = False) -> None:
            ended.append(trial_id)
            answer(trial_id, None, True) if len(ended) == lost else answer(trial_id, result, error)
            if len(ended) == stop:
                raise KeyboardInterrupt

        jobs.on_trial_complete = complete
        working(jobs, machines, folder, beat)

    patch.setattr("experiments.tuning.play", play)
    return ended
