"""The search stage: its files, its resume, what it leaves alone, and Ray Tune against the same trials one after another."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from search_project import SPACE, ledger, make_project, outs, without_ray

from experiments import results
from experiments.columns import MORE_TRIAL_COLUMNS
from experiments.goals import COLUMN, PROXIES
from experiments.halving import Job, SearchError, share
from experiments.recipe import load_recipe
from experiments.results import Store
from experiments.search import Task, search
from experiments.search_results import COLUMNS
from mae_core.flops import train_flops


@pytest.fixture(autouse=True)
def _no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_MLFLOW", "off")


DIVERGES = {**SPACE, "pretrain.lr": {"choices": [0.001, 1e30]}}
"""The larger rate gives no finite gradient."""


def test_ray_tune_gives_the_bytes_of_one_process_and_survives_failed_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"pretrain": {"steps": 240}, "search": {"trials": 6}}
    one, many = (make_project(tmp_path / name, DIVERGES, **keys) for name in ("one", "many"))
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    search("tiny", many)
    left = [child.name() for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert not [name for name in left if "ray" in name or "gcs" in name]
    said = capsys.readouterr().out
    with monkeypatch.context() as patch:
        without_ray(patch)
        search("tiny", one)
    assert outs(one) == outs(many)

    store = Store(many)
    table, summary = store.trials("tiny"), store.search_summary("tiny")
    assert not store.problems
    failed = table[table["status"] == "failed"]
    assert len(failed) and failed["score"].isna().all() and (failed["pretrain.lr"] == 1e30).all()
    assert (table.loc[table["pretrain.lr"] == 0.001, "status"] != "failed").all()
    assert "TrainingDiverged" in said and summary["verdict"] in said
    assert f"with the k-NN score over {summary['rank_correlation']['n']} trials" in said
    assert "noise below 20 trials" in said

    assert "masking.ratio" not in table and "masking.strategy" not in table, "pinned values are left alone"
    assert summary["keys"] == ["model.encoder.depth", "pretrain.lr"]
    best = yaml.safe_load((many / "results/tiny/best.yaml").read_text())
    assert list(best) == summary["keys"]
    assert best == summary["winner" if summary["chosen"] == "winner" else "default"]
    assert summary["trials"] == (table["rung"].eq(0) & table["origin"].ne("confirm")).sum()
    assert summary["flops"] == pytest.approx(table["flops"].sum())
    (timing,) = (many / "runs").glob("*/timing.json")
    assert json.loads(timing.read_text())["workers"] >= 1
    assert (timing.parent / "DELIVERED").exists()
    beat = json.loads((timing.parent / "heartbeat.json").read_text())
    assert (beat["stage"], beat["state"]) == ("search", "finished")


def test_a_search_that_knows_everything_runs_nothing_and_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path)
    without_ray(monkeypatch)
    search("tiny", root)
    first, known = outs(root), ledger(root)
    (run,) = (root / "runs").iterdir()
    (run / "DELIVERED").unlink()
    whole = (run / "outcomes.jsonl").read_text().splitlines(keepends=True)
    (run / "outcomes.jsonl").write_text("".join(whole[:5]) + whole[5][:40])  # killed inside the sixth line
    search("tiny", root)
    assert outs(root) == first
    again = ledger(root)
    strip = [{**row, "seconds": 0, "proxy_seconds": {}} for row in known]
    assert [{**row, "seconds": 0, "proxy_seconds": {}} for row in again] == strip, "five known, the rest run once"
    (run / "DELIVERED").unlink()
    monkeypatch.setattr("experiments.cluster.connected", None)  # Ray is not even started
    search("tiny", root)
    assert outs(root) == first


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"search": {"trials": 0}}, "search.trials: 0"),
        ({"search": {"trials": 1}}, "search.trials: 1"),
        ({"model": {"encoder": {"width": 16, "depth": 1, "heads": 2}}, "pretrain": {"lr": 0.001}}, "left auto"),
    ],
)
def test_a_search_that_is_off_says_why_and_starts_no_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, dict[str, object]], why: str
) -> None:
    root = make_project(tmp_path, **sections)
    monkeypatch.setattr("experiments.cluster.connected", None)
    search("tiny", root)
    assert yaml.safe_load((root / "results/tiny/best.yaml").read_text()) == {}
    store = Store(root)
    assert list(store.trials("tiny")) == list(COLUMNS) and store.trials("tiny").empty
    summary = store.search_summary("tiny")
    assert why in summary["verdict"] and summary["keys"] == [] and summary["flops"] == 0
    assert not store.problems


def test_the_columns_are_those_that_readers_expect() -> None:
    assert list(COLUMNS)[: len(results.TRIAL_COLUMNS)] == results.TRIAL_COLUMNS
    more = list(COLUMNS)[len(results.TRIAL_COLUMNS) :]
    assert more == [*MORE_TRIAL_COLUMNS, *(COLUMN + name for name in PROXIES)]


def test_defaults_that_cannot_be_trained_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path, pretrain={"lr": 1e30, "steps": 240})
    without_ray(monkeypatch)
    with pytest.raises(SearchError, match=r"the defaults could not be trained.*TrainingDiverged"):
        search("tiny", root)
    assert not (root / "results").exists()
    (beat,) = (root / "runs").glob("*/heartbeat.json")
    assert json.loads(beat.read_text())["state"] == "failed"


def test_without_labels_trials_are_ranked_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path, labelled=False)
    without_ray(monkeypatch)
    search("tiny", root)
    store = Store(root)
    assert store.search_summary("tiny")["metric"] == "label_free"
    scores = store.trials("tiny").query("origin != 'confirm' and rung == 0")["score"]
    assert scores.between(0, 1).all() and scores.nunique() > 1
    assert {"lidar", "explained"} == set(ledger(root)[0]["measures"])


def test_trials_cost_alike_whatever_their_architecture(tmp_path: Path) -> None:
    root = make_project(tmp_path, pretrain={"steps": 20_000}, masking={"strategy": "auto", "ratio": "auto"})
    recipe, info = load_recipe("tiny", root), json.loads((root / "data/bars/dataset.json").read_text())
    task = Task(recipe, info, "image", root / "data/bars", "knn", root)
    final = 20_000 * 16 * train_flops(task.work(Job(0, 1, "default", 0, 1.0, {})).config)
    for chosen in ({}, {"model.encoder.depth": 2}, {"masking.ratio": 0.4, "model.encoder.depth": 1}):
        for rung in (0, 1):
            work = task.work(Job(3, rung, "sampled", 5, share(recipe.search, rung), chosen))
            cost = work.settings["steps"] * 16 * train_flops(work.config)
            assert cost == pytest.approx(final * share(recipe.search, rung), rel=2e-3)
            assert work.settings["seed"] == 5 and Path(work.dataset).is_absolute()


def test_a_lost_process_is_a_failed_trial_that_a_resume_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path)
    without_ray(monkeypatch)
    from experiments import tuning

    working, lost = tuning.play, []

    def play(jobs, machines, folder, beat):  # type: ignore[no-untyped-def]
        answer = jobs.on_trial_complete

        def lose_the_third(trial_id: str, result: object = None, error: bool = False) -> None:
            lost.append(trial_id)
            answer(trial_id, None, True) if len(lost) == 3 else answer(trial_id, result, error)

        jobs.on_trial_complete = lose_the_third
        working(jobs, machines, folder, beat)

    monkeypatch.setattr("experiments.tuning.play", play)
    search("tiny", root)
    table = pd.read_parquet(root / "results/tiny/trials.parquet")
    assert list(table.loc[table["status"] == "failed", "trial"]) == [2]
    assert len(ledger(root)) == len(lost) - 1
    assert np.isnan(table.loc[table["status"] == "failed", "score"]).all()
