"""The search stage: its files, its resume, what it leaves alone, and Ray Tune against the same trials one after another."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import search_project
import yaml
from search_project import SPACE, ledger, losing, make_project, outs, without_ray

from experiments import results
from experiments.columns import PROXY_COLUMNS
from experiments.goals import COLUMN, PROXIES
from experiments.halving import Job, SearchError, share
from experiments.pareto import dominates
from experiments.recipe import load_recipe
from experiments.results import Store
from experiments.search import Task, search
from experiments.search_results import COLUMNS
from experiments.trials import Measured, Work
from mae_core.flops import train_flops
from mae_core.modalities.image import ImageModality


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
    timing = json.loads((run / "timing.json").read_text())
    assert timing["trial_seconds"] == pytest.approx(sum(row["seconds"] for row in again), abs=0.01)
    assert timing["proxy_seconds"].keys() == again[0]["proxy_seconds"].keys(), "of trials that ended before, too"


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
    assert more == ["encode_flops", "parent", *(COLUMN + name for name in PROXIES)]


def test_defaults_that_cannot_be_trained_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path, pretrain={"lr": 1e30, "steps": 240})
    without_ray(monkeypatch)
    with pytest.raises(SearchError, match=r"the defaults could not be trained.*TrainingDiverged"):
        search("tiny", root)
    assert not (root / "results").exists()
    (beat,) = (root / "runs").glob("*/heartbeat.json")
    assert json.loads(beat.read_text())["state"] == "failed"


@pytest.mark.parametrize("rules", [{}, {"method": "population", "population": 4, "rounds": 2}])
def test_defaults_that_failed_for_a_while_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: dict[str, object]
) -> None:
    root = make_project(tmp_path, masking={"strategy": "random", "ratio": "auto"}, search=rules)
    without_ray(monkeypatch)
    real, calls = search_project.measure, []

    def full(work: Work) -> Measured:
        calls.append(work)
        return real(work)._replace(failure="CUDA out of memory", measures={}) if len(calls) == 1 else real(work)

    monkeypatch.setattr(search_project, "measure", full)
    with pytest.raises(SearchError, match=r"could not be trained.*CUDA out of memory"):
        search("tiny", root)
    assert len(ledger(root)) == len(calls) - 1 > 0
    search("tiny", root)
    assert len(ledger(root)) == len(calls) - 1, "only the defaults are trained twice"
    assert not Store(root).trials("tiny")["status"].eq("failed").any()


def test_without_labels_trials_are_ranked_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path, labelled=False)
    without_ray(monkeypatch)
    search("tiny", root)
    store = Store(root)
    assert store.search_summary("tiny")["metric"] == "label_free"
    scores = store.trials("tiny").query("origin != 'confirm' and rung == 0")["score"]
    assert scores.between(0, 1).all() and scores.nunique() > 1
    assert {"lidar", "explained"} == set(ledger(root)[0]["measures"])


def test_without_labels_and_without_a_picture_lidar_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weighed = {"objectives": ["metric", "explained"]}
    root = make_project(tmp_path, labelled=False, objective={"target": "hog"}, search=weighed)
    without_ray(monkeypatch)
    search("tiny", root)
    assert Store(root).search_summary("tiny")["metric"] == "lidar"
    assert not Store(root).trials("tiny")["status"].eq("failed").any()


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
    lost = losing(monkeypatch, 3)
    search("tiny", root)
    table = pd.read_parquet(root / "results/tiny/trials.parquet")
    assert list(table.loc[table["status"] == "failed", "trial"]) == [2]
    assert len(ledger(root)) == len(lost) - 1
    assert np.isnan(table.loc[table["status"] == "failed", "score"]).all()
    (run,) = (root / "runs").glob("search-tiny-*")
    (run / "DELIVERED").unlink()
    search("tiny", root)  # what had ended in the first is known, so the lost one is the next that ends
    again = pd.read_parquet(root / "results/tiny/trials.parquet")
    assert (again["status"] != "failed").all() and len(ledger(root)) >= len(table)


def test_a_lost_member_of_a_population_stays_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others went on from members that were ranked without it, whose weights are no longer there."""
    root = make_project(tmp_path, masking={"strategy": "random", "ratio": "auto"}, search=POPULATION)
    without_ray(monkeypatch)
    with monkeypatch.context() as patch:
        losing(patch, 2, stop=10)
        with pytest.raises(KeyboardInterrupt):
            search("tiny", root)
    assert len(ledger(root)) == 10
    search("tiny", root)
    table = Store(root).trials("tiny")
    failed = table[table["status"] == "failed"]
    assert list(zip(failed["trial"], failed["rung"])) == [(1, 0)]


def test_values_that_no_recipe_can_hold_are_a_failed_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each end of the range is a ratio; with this schedule only those near its middle can be drawn from."""
    schedule = {"kind": "truncated_normal", "deviation": 0.02, "low": 0.55, "high": 0.65}
    masking = {"strategy": "random", "ratio": "auto", "schedule": schedule}
    root = make_project(tmp_path, {"masking.ratio": {"low": 0.3, "high": 0.9, "step": 0.3}}, masking=masking)
    without_ray(monkeypatch)
    monkeypatch.setattr(ImageModality, "default_ratio", 0.6)
    search("tiny", root)
    table = Store(root).trials("tiny")
    failed = table[table["status"] == "failed"]
    assert len(failed) and set(failed["masking.ratio"]) <= {0.3, 0.9} and (failed["flops"] == 0).all()
    assert (table["status"] == "complete").any()


def test_proxies_stand_beside_the_score_and_are_timed_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path)
    without_ray(monkeypatch)
    search("tiny", root)
    store = Store(root)
    table = store.trials("tiny")
    assert (table["proxy.knn"] == table["score"]).all(), "the metric is one of them"
    assert table[[COLUMN + name for name in PROXIES]].notna().all(axis=None)
    assert (table["encode_flops"] > 0).all() and table["parent"].isna().all()
    proxies = store.proxies("tiny")
    assert list(proxies) == PROXY_COLUMNS and {"ridge", "loss"} < set(proxies["proxy"]) and not store.problems
    (timing,) = (root / "runs").glob("*/timing.json")
    took = json.loads(timing.read_text())["proxy_seconds"]
    assert set(took) == set(PROXIES) and all(seconds > 0 for seconds in took.values())
    assert not any("seconds" in text for text in map(str, outs(root).values())), "outs hold no times"


def test_the_recipe_says_what_ranks_and_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_project(tmp_path, search={"metric": "rankme", "proxies": ["knn"], "trials": 3})
    without_ray(monkeypatch)
    search("tiny", root)
    table = Store(root).trials("tiny")
    assert (table["score"] == table["proxy.rankme"]).all() and table["proxy.knn"].notna().all()
    assert table["proxy.ridge"].isna().all() and Store(root).search_summary("tiny")["metric"] == "rankme"


def test_several_objectives_leave_a_front_and_a_pick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project(tmp_path, search={"trials": 6, "objectives": ["metric", "flops", "parameters"]})
    without_ray(monkeypatch)
    search("tiny", root)
    said = capsys.readouterr().out
    summary, table = Store(root).search_summary("tiny"), Store(root).trials("tiny")
    last = table[(table["rung"] == 1) & (table["origin"] != "confirm")].set_index("trial")
    points = {int(trial): (row["score"], -row["encode_flops"], -row["parameters"]) for trial, row in last.iterrows()}
    alone = {t for t, p in points.items() if not any(dominates(q, p) for q in points.values())}
    assert set(summary["front"]) == alone and "none dominates in metric, flops, parameters" in said
    assert summary["picked"] is None or summary["picked"] in alone
    if summary["picked"]:
        assert set(summary["others"]) == {"flops", "parameters"}
        assert summary["others"]["flops"]["standard_error"] == 0, "nothing of a cost is drawn"


def test_an_objective_that_the_data_cannot_answer_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project(tmp_path, labelled=False, search={"trials": 3, "objectives": ["metric", "ridge", "flops"]})
    without_ray(monkeypatch)
    search("tiny", root)
    assert "the objective ridge is left out: it needs labels" in capsys.readouterr().out
    summary = Store(root).search_summary("tiny")
    assert summary["objectives"] == ["metric", "flops"] and summary["front"]


POPULATION = {"method": "population", "population": 4, "rounds": 3, "budget": 0.6, "confirm_seeds": 2}


def test_a_population_leaves_a_schedule_and_goes_on_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"masking": {"strategy": "random", "ratio": "auto"}, "search": POPULATION}
    root = make_project(tmp_path, **keys)
    without_ray(monkeypatch)
    with monkeypatch.context() as patch:
        losing(patch, stop=6)
        with pytest.raises(KeyboardInterrupt):
            search("tiny", root)
    assert len(ledger(root)) == 6
    search("tiny", root)
    store = Store(root)
    summary, table = store.search_summary("tiny"), store.trials("tiny")
    members = table[table["origin"] != "confirm"]
    assert len(members) == 12 and (members["status"] == "complete").all() and not store.problems
    assert members["steps"].nunique() == 1, "a round is as long for every member"
    assert (members.loc[members["rung"] > 0, "parent"].notna()).all()
    schedule = summary["schedule"]
    assert len(schedule["line"]) == 3 and schedule["changes"][0]["step"] == 0 and schedule["steps"] > 0
    assert summary["keys"] == ["masking.ratio", "pretrain.lr"]
    best = yaml.safe_load((root / "results/tiny/best.yaml").read_text())
    assert best == summary["default"], "a schedule is no constant"
    assert not list((root / "runs").glob("*/population")), "nothing of its members is left"
    whole = make_project(tmp_path / "whole", **keys)
    search("tiny", whole)
    assert outs(whole) == outs(root)


def test_a_schedule_costs_what_the_final_run_costs(tmp_path: Path) -> None:
    root = make_project(
        tmp_path, masking={"strategy": "random", "ratio": "auto"}, pretrain={"steps": 20_000}, search=POPULATION
    )
    recipe, info = load_recipe("tiny", root), json.loads((root / "data/bars/dataset.json").read_text())
    task = Task(recipe, info, "image", root / "data/bars", "knn", root, (), root / "members")
    pieces = [
        {"until": (n + 1) / 3, "chosen": {"masking.ratio": ratio, "pretrain.lr": 0.001}}
        for n, ratio in enumerate((0.8, 0.4, 0.6))
    ]
    final = 20_000 * 16 * train_flops(task.work(Job(0, 2, "confirm", 1, 1.0, {})).config)
    job = Job(3, 2, "confirm", 1, 0.6, pieces[-1]["chosen"], None, pieces)
    work = task.work(job)
    assert work.leg and work.leg["source"] is None and work.settings["steps"] == work.leg["parts"][-1][0]
    measured = Measured({"knn": 0.5}, 0.1, 10, 1.0)
    assert task.outcome(job, measured).flops == pytest.approx(0.6 * final, rel=2e-3)
    leg = task.work(Job(1, 1, "sampled", 0, 0.2, pieces[0]["chosen"], 2))
    assert leg.leg and leg.leg["source"].endswith("round-0/member-2") and leg.leg["target"].endswith("round-1/member-1")
    assert leg.leg["parts"] == [(8000, 0.8, 0.001)] and leg.settings["steps"] == 12_000
