"""What is written to MLflow late goes to the run that made the files on disk, whichever run came last."""

import csv
import json
import os
import time

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from experiments import outcomes, publish
from experiments.columns import SCORE_COLUMNS, TRIAL_COLUMNS
from experiments.fingerprints import made_by
from experiments.halving import Job, Outcome
from experiments.results import Store
from experiments.stages import _md5

OLD, NEW = "0a1b2c", "3d4e5f"
RECIPE = ("experiments", "recipes", "a.yaml")


@pytest.fixture
def root(tmp_path):
    """A project whose newest runs are those of NEW."""
    (tmp_path / "params.yaml").write_text("datasets: [d]\nrecipes:\n  a: {dataset: d, modality: image}\n")
    recipe = tmp_path.joinpath(*RECIPE)
    recipe.parent.mkdir(parents=True)
    recipe.write_text("pretrain: {lr: 2e-3}\nevaluate: {knn_k: 7}\nsearch: {trials: 9}\n")
    for age, mark in enumerate((NEW, OLD)):
        for stage in ("search", "pretrain", "controls", "evaluate"):
            folder = tmp_path / "runs" / f"{stage}-a-{mark}"
            folder.mkdir(parents=True)
            (folder / "DELIVERED").touch()
            (folder / "timing.json").write_text(json.dumps({"schema": 1, "seconds": 5}))
            os.utime(folder / "DELIVERED", (time.time() - 60 * age,) * 2)
    return tmp_path


def write_scores(root, *marks):
    row = {"recipe": "a", "dataset": "d", "split": "test", "model": "pretrained", "task": "knn", "metric": "accuracy"}
    path = root / "results" / "a" / "scores.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, SCORE_COLUMNS)
        table.writeheader()
        table.writerows({**row, "value": 0.9, "fingerprint": mark} for mark in marks)


def write_model(root, *place, mark):
    folder = root.joinpath(*place)
    folder.mkdir(parents=True)
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"schema": 1, "provenance": {"fingerprint": mark}}))


def ended(loss, trial=0, failure=""):
    job = Job(trial, 0, "default" if trial == 0 else "sampled", 0, 0.1, {})
    return Outcome(job, {} if failure else {"knn": 0.5}, loss, 100, 10, 1e9, failure)


def write_trials(root, *told):
    rows = [
        dict.fromkeys(TRIAL_COLUMNS) | o._asdict() | o.job._asdict() | {"status": "failed" if o.failure else "complete"}
        for o in told
    ]
    table = pd.DataFrame(rows, columns=TRIAL_COLUMNS).astype({"loss": float, "score": float})
    folder = root / "results" / "a"
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / "trials.parquet")
    (folder / "search.json").write_text('{"schema": 2}')


def written(root, monkeypatch):
    """Stage → fingerprint and params of what a backfill writes."""
    found = {}

    def take(root, stage, recipe, mark, uri, sections):
        found[stage] = (mark, publish._params(stage, sections or publish._recipe(Store(root), recipe)))
        return 1

    monkeypatch.setattr(publish, "publish", take)
    assert publish.backfill(root) == len(found)
    return found


def test_files_go_to_the_run_that_made_them(root, monkeypatch):
    write_scores(root, OLD, OLD)
    write_model(root, "models", "a", "seed-0", mark=OLD)
    write_model(root, "controls", "a", "supervised-0", mark=OLD)
    lost = ended(None, 2, "its process was killed")
    for mark, loss in ((OLD, 0.25), (NEW, 0.125)):
        for outcome in (ended(0.5), ended(loss, 1)):
            outcomes.append(root / "runs" / f"search-a-{mark}" / "outcomes.jsonl", outcome, 1.0)
    write_trials(root, ended(0.5), ended(0.25, 1), lost)
    assert {stage: mark for stage, (mark, _) in written(root, monkeypatch).items()} == dict.fromkeys(
        ["search", "pretrain", "controls", "evaluate"], OLD
    )


@pytest.mark.parametrize("marks", [[""], [OLD, NEW], ["../../x"]], ids=["none", "two", "no fingerprint"])
def test_files_that_do_not_say_go_to_the_newest_run(root, marks):
    write_scores(root, *marks)
    for seed, mark in enumerate(marks):
        write_model(root, "models", "a", f"seed-{seed}", mark=mark)
    assert made_by(Store(root), "evaluate", "a") == made_by(Store(root), "pretrain", "a") == NEW


def test_a_search_that_was_switched_off_is_no_search_with_trials(root):
    outcomes.append(root / "runs" / f"search-a-{NEW}" / "outcomes.jsonl", ended(0.5), 1.0)
    write_trials(root)
    assert made_by(Store(root), "search", "a") == OLD
    write_trials(root, ended(0.75))
    (root / "runs" / f"search-a-{OLD}" / "outcomes.jsonl").touch()
    assert made_by(Store(root), "search", "a") == "unknown", "neither run made these trials"


def test_params_are_those_that_dvc_recorded_with_the_files(root, monkeypatch):
    write_scores(root, OLD)
    path = root / "results" / "a" / "scores.csv"
    stat = path.stat()
    lock = {
        "stages": {
            "evaluate@a": {
                "params": {"/".join(RECIPE): {"evaluate": {"knn_k": 5}}},
                "outs": [
                    {"path": "results/a/scores.csv", "md5": _md5(str(path), stat.st_mtime_ns, stat.st_size)},
                    {"path": "results/a", "md5": "a folder"},
                ],
            }
        }
    }
    (root / "dvc.lock").write_text(json.dumps(lock))
    assert written(root, monkeypatch)["evaluate"] == (OLD, {"evaluate.knn_k": 5})
    write_scores(root, OLD, OLD)
    assert written(root, monkeypatch)["evaluate"] == (OLD, {"evaluate.knn_k": 7}), "other files than DVC recorded"
    (root / "dvc.lock").write_text("{")
    assert written(root, monkeypatch)["evaluate"] == (OLD, {"evaluate.knn_k": 7}), "a lock that nobody can read"
