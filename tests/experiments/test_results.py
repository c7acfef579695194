"""The read model: what it finds, what it computes, and what it says of files that are absent, broken or hostile."""

import fcntl
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file

from experiments.results import SCORE_COLUMNS, Store, last_rungs
from experiments.stages import pipeline_state, repro, split_run_name


@pytest.fixture(scope="module")
def make() -> ModuleType:
    file = Path(__file__).parents[1] / "dashboard" / "make_results.py"
    spec = importlib.util.spec_from_file_location("make_results", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_longest_rung_of_a_trial_is_told_whole():
    """What it lacks is not taken from a shorter one."""
    trials = pd.DataFrame(
        {
            "trial": [1, 1, 2],
            "rung": [0, 1, 0],
            "origin": "sampled",
            "score": [0.5, 0.6, 0.4],
            "loss": [0.9, np.nan, 0.7],
        }
    )
    found = last_rungs(trials)
    assert found["rung"].tolist() == [1, 0] and np.isnan(found["loss"][0]) and found["loss"][1] == 0.7


def test_an_empty_folder_has_nothing_and_no_problem(tmp_path):
    store = Store(tmp_path)
    assert store.recipes() == [] and store.models() == [] and store.datasets() == []
    assert store.scores().empty and store.headlines() == [] and store.pipeline_state() == []
    assert store.problems == []


def test_everything_of_a_healthy_run_is_read(make, tmp_path):
    store = Store(make.one_run(tmp_path))
    assert [(r.name, r.dataset, r.kind, r.has_results) for r in store.recipes()] == [
        ("digits", "digits5k", "recipe", True)
    ]
    assert list(store.scores("digits").columns) == SCORE_COLUMNS
    assert len(store.history("digits")) == 120 and store.trials("digits")["trial"].nunique() == 12
    assert store.search_summary("digits")["chosen"] == "winner"
    assert store.best("digits")["masking.ratio"] == 0.68
    assert len(store.embeddings("digits")) == 300
    assert set(store.reconstruction_bank("digits").pictures) == {"random-50", "random-75", "random-90"}
    model = store.models()[0]
    assert (model.name, model.seed, model.origin) == ("digits/seed-0", 0, "models")
    assert model.config["modality"]["patch"] == 7 and "Synthetic" in model.card
    images, labels = store.samples("digits5k", "train")
    assert images.shape == (200, 1, 28, 28) and len(labels) == 200
    assert len(store.quarantine("digits5k")) == 2
    assert store.config("digits")["masking.ratio"] == 0.75
    card = store.headlines()[0]
    assert (card["dataset"], card["task"], card["table"].iloc[0]["model"]) == ("digits5k", "linear", "pretrained")
    assert store.timings().iloc[0][["stage", "recipe", "seconds"]].tolist() == ["pretrain", "digits", 163.0]
    assert store.problems == []


def test_a_changed_file_is_read_again(make, tmp_path):
    store = Store(make.one_run(tmp_path))
    before = store.scores("digits")
    file = tmp_path / "results" / "digits" / "scores.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:3]) + "\n")
    assert len(store.scores("digits")) == 2 < len(before)


@pytest.mark.parametrize(
    ("file", "content", "read", "words"),
    [
        ("scores.csv", b"\x00\xff", lambda s: s.scores("digits"), "csv"),
        ("scores.csv", b"recipe,dataset\na,b\n", lambda s: s.scores("digits"), "lacks the columns"),
        ("history.csv", b"seed,step,samples,epoch,loss,lr,grad_norm,nonfinite_steps\n0,x,1,1,1,1,1,0\n",
         lambda s: s.history("digits"), "is no number"),
        ("trials.parquet", b"PAR1", lambda s: s.trials("digits"), "parquet"),
        ("embeddings.parquet", b"", lambda s: s.embeddings("digits"), "parquet"),
        ("search.json", b"{", lambda s: s.search_summary("digits"), "json"),
        ("search.json", b"[]", lambda s: s.search_summary("digits"), "no JSON object"),
        ("search.json", b'{"schema": 3}', lambda s: s.search_summary("digits"), "schema 3 is not one"),
        ("best.yaml", b"a: [", lambda s: s.best("digits"), "yaml"),
    ],
)  # fmt: skip
def test_a_broken_file_is_a_problem_with_its_command(make, tmp_path, file, content, read, words):
    store = Store(make.one_run(tmp_path))
    (tmp_path / "results" / "digits" / file).write_bytes(content)
    assert len(read(store)) == 0
    assert len(store.problems) == 1
    problem = store.problems[0]
    assert (problem.path, problem.kind) == (f"results/digits/{file}", "corrupt")
    assert words in problem.what and problem.command.startswith("dvc repro ") and problem.command.endswith("@digits")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda whole: whole[:100], "cut off"),
        (lambda whole: whole[:-1], "where its header tells of"),
        (lambda whole: whole + b"x", "where its header tells of"),
        (lambda whole: whole[:8] + b"[" + whole[9:], "header is damaged"),
        (lambda whole: b"\xff" * 20, "no safetensors file"),
        (lambda whole: b"", "cut off"),
    ],
)
def test_weights_that_are_not_whole_are_a_problem_and_no_model(make, tmp_path, damage, words):
    store = Store(make.one_run(tmp_path))
    before = {model.name: model for model in store.models()}
    whole = load_file(before["digits/seed-0"].folder / "model.safetensors")
    assert before["digits/seed-0"].parameters == sum(tensor.size for tensor in whole.values())
    weights = tmp_path / "models" / "digits" / "seed-0" / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    store = Store(tmp_path)
    assert {model.name for model in store.models()} == {*before} - {"digits/seed-0"}
    (problem,) = store.problems
    assert (problem.path, problem.kind) == ("models/digits/seed-0/model.safetensors", "corrupt")
    assert words in problem.what and problem.command == "dvc repro pretrain@digits"


def test_the_files_of_a_transfer_are_made_anew_by_its_own_stage(make, tmp_path):
    make.one_run(tmp_path)
    make.transfer(tmp_path, "digits_on_b", "digits", "b")
    for file in ("skipped.csv", "scores.csv"):
        (tmp_path / "results" / "digits_on_b" / file).write_bytes(b"\x00\xff")
    store = Store(tmp_path)
    assert store.skipped("digits_on_b").empty and store.scores("digits_on_b").empty
    assert [p.command for p in store.problems] == ["dvc repro transfer@digits_on_b"] * 2
    assert (store.source("digits_on_b"), store.source("digits")) == ("digits", "digits")
    assert (store.dataset_of("digits_on_b"), store.dataset_of("digits")) == ("b", "digits5k")


def test_infinite_scores_are_left_out_and_counted(make, tmp_path):
    store = Store(make.one_run(tmp_path))
    file = tmp_path / "results" / "digits" / "scores.csv"
    table = pd.read_csv(file)
    table.loc[[0, 1], "value"] = [np.inf, np.nan]
    table.to_csv(file, index=False)
    assert len(store.scores("digits")) == len(table) - 2
    assert "2 rows have no finite value" in store.problems[0].what


def test_a_missing_file_is_a_problem_of_another_kind(make, tmp_path):
    store = Store(make.one_run(tmp_path))
    (tmp_path / "results" / "digits" / "history.csv").unlink()
    assert store.history("digits").empty
    assert store.problems[0]._asdict() == {
        "path": "results/digits/history.csv", "what": "not there yet", "command": "dvc repro pretrain@digits",
        "kind": "missing",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["..", ".", "", "a/../../b", "/etc", "a\\b", "x\0y"])
def test_names_never_lead_out_of_the_project(tmp_path, name):
    store = Store(tmp_path)
    assert store.path("results", name, "scores.csv") is None
    assert store.scores(name).empty and store.samples(name, "train") is None
    assert all(p.kind == "corrupt" for p in store.problems) and store.problems


def test_links_out_of_the_project_are_refused_except_into_dvcs_cache(make, tmp_path):
    root, cache, outside = tmp_path / "root", tmp_path / "cache", tmp_path / "outside"
    for folder in (root, cache, outside):
        folder.mkdir()
    make.one_run(root)
    file = root / "results" / "digits" / "scores.csv"
    for place, allowed in ((outside, False), (cache, True)):
        target = place / "scores.csv"
        target.write_bytes(file.read_bytes())
        file.unlink()
        file.symlink_to(target)
        (root / ".dvc").mkdir(exist_ok=True)
        (root / ".dvc" / "config").write_text(f"[cache]\n    dir = {cache}\n")
        assert Store(root).scores("digits").empty is not allowed


def test_a_hostile_name_stays_one_quoted_word_in_a_command():
    assert repro("search", "a; rm -rf $HOME") == "dvc repro 'search@a; rm -rf $HOME'"


def test_results_that_nobody_declares_are_found(make, tmp_path):
    make.one_run(tmp_path)
    make.recipe(tmp_path, "old", "digits5k")
    assert [(r.name, r.kind) for r in Store(tmp_path).recipes()] == [("digits", "recipe"), ("old", "found")]


def states(root: Path, now: float | None = None) -> dict[str, str]:
    return {s.name: s.state for s in Store(root).pipeline_state(now)}


def test_stages_are_done_until_something_changes(make, tmp_path):
    make.many_runs(tmp_path, 2)
    for beat in tmp_path.glob("runs/*/heartbeat.json"):
        beat.unlink()
    assert states(tmp_path) == {
        "prepare@digits5k": "done", "search@digits": "done", "search@digits_small_patch": "done",
        "pretrain@digits": "done", "pretrain@digits_small_patch": "done", "evaluate@digits": "done",
        "evaluate@digits_small_patch": "missing", "report": "missing",
    }  # fmt: skip
    lock = yaml.safe_load((tmp_path / "dvc.lock").read_text())
    lock["stages"]["search@digits"]["outs"][0]["md5"] = "b1"
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    found = {s.name: s for s in Store(tmp_path).pipeline_state()}
    assert found["pretrain@digits"].state == "stale" and "was made anew" in found["pretrain@digits"].why
    assert found["evaluate@digits"].state == "stale" and "is to be made anew" in found["evaluate@digits"].why
    assert found["pretrain@digits_small_patch"].state == "done"


def test_a_recipe_that_was_moved_to_another_dataset_is_to_be_made_anew(make, tmp_path):
    make.one_run(tmp_path)
    make.dataset(tmp_path, "letters")
    file = tmp_path / "params.yaml"
    file.write_text(file.read_text().replace("dataset: digits5k", "dataset: letters"))
    found = {s.name: s for s in Store(tmp_path).pipeline_state()}
    for stage in ("search@digits", "pretrain@digits"):
        assert found[stage].state == "stale" and "it reads data/letters now" in found[stage].why
    assert found["evaluate@digits"].state == "stale" and found["prepare@digits5k"].state == "done"


def test_an_out_that_is_gone_makes_a_stage_missing(make, tmp_path):
    make.one_run(tmp_path)
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    assert states(tmp_path)["pretrain@digits"] == "missing"


@pytest.mark.parametrize(
    ("age", "state", "seen"),
    [(10, "running", "running"), (299, "running", "running"), (301, "running", "crashed"), (10, "failed", "failed"),
     (10, "finished", "missing")],
)  # fmt: skip
def test_heartbeats_tell_running_from_crashed(make, tmp_path, age, state, seen):
    make.many_runs(tmp_path, 2)
    folder = make.heartbeat(tmp_path, "digits_small_patch", 0, state, "evaluate")
    now = json.loads((folder / "heartbeat.json").read_text())["time"] + age
    assert states(tmp_path, now)["evaluate@digits_small_patch"] == seen


def test_a_run_that_is_silent_and_holds_its_lock_is_slow_and_not_crashed(make, tmp_path):
    make.many_runs(tmp_path, 2)
    folder = make.heartbeat(tmp_path, "digits_small_patch", 0, "running", "evaluate")
    now = json.loads((folder / "heartbeat.json").read_text())["time"] + 400
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert states(tmp_path, now)["evaluate@digits_small_patch"] == "running"
    assert states(tmp_path, now)["evaluate@digits_small_patch"] == "crashed"


def test_a_delivered_run_is_never_running(make, tmp_path):
    make.one_run(tmp_path)
    (make.heartbeat(tmp_path, "digits") / "DELIVERED").write_text("")
    assert states(tmp_path)["pretrain@digits"] == "done"


def test_a_torn_heartbeat_is_passed_over(make, tmp_path):
    make.one_run(tmp_path)
    (make.heartbeat(tmp_path, "digits") / "heartbeat.json").write_text('{"stage": "pre')
    assert Store(tmp_path).heartbeats() == []


def test_run_names_split_even_with_dashes():
    assert split_run_name("pretrain-my-digits-1f2e") == ("pretrain", "my-digits")


def test_the_state_agrees_with_dvc(tmp_path):
    """A real `dvc repro`, then a changed parameter, a changed file and a removed out, each compared with `dvc status`."""
    (tmp_path / "step.py").write_text(
        "import sys, pathlib\nout = pathlib.Path(sys.argv[1])\nout.parent.mkdir(exist_ok=True, parents=True)\n"
        "out.write_text(sys.argv[2])\n"
    )
    (tmp_path / "params.yaml").write_text("names: {a: {x: 1}, b: {x: 2}}\nlr: {base: 0.1}\n")
    (tmp_path / "code.txt").write_text("one")
    described = {
        "stages": {
            "first": {
                "foreach": "${names}",
                "do": {
                    "cmd": f"{sys.executable} step.py out/${{key}}/first.txt ${{item.x}}",
                    "deps": ["code.txt"], "params": ["lr"], "outs": ["out/${key}/first.txt"],
                },
            },
            "last": {
                "cmd": f"{sys.executable} step.py out/last.txt z",
                "deps": ["out/a/first.txt", "out/b/first.txt"], "outs": ["out/last.txt"],
            },
        }
    }  # fmt: skip
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(described))

    def dvc(*words: str) -> str:
        command = [sys.executable, "-m", "dvc", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    def seen() -> dict[str, str]:
        return {s.name: s.state for s in pipeline_state(tmp_path, [])}

    dvc("init", "--no-scm", "-q")
    assert set(seen().values()) == {"missing"}
    dvc("repro", "-q")
    assert seen() == {"first@a": "done", "first@b": "done", "last": "done"}
    assert json.loads(dvc("status", "--json")) == {}
    (tmp_path / "params.yaml").write_text("names: {a: {x: 1}, b: {x: 2}}\nlr: {base: 0.2}\n")
    assert seen() == {"first@a": "stale", "first@b": "stale", "last": "stale"}
    assert {"first@a", "first@b"} <= set(json.loads(dvc("status", "--json")))
    (tmp_path / "params.yaml").write_text("names: {a: {x: 1}, b: {x: 2}}\nlr: {base: 0.1}\n")
    (tmp_path / "code.txt").write_text("two")
    assert seen()["first@b"] == "stale"
    (tmp_path / "code.txt").write_text("one")
    (tmp_path / "params.yaml").write_text("names: {a: {x: 1}, b: {x: 3}}\nlr: {base: 0.1}\n")
    assert seen() == {"first@a": "done", "first@b": "stale", "last": "stale"}
    assert json.loads(dvc("status", "--json")) == {"first@b": ["changed command"]}
    (tmp_path / "params.yaml").write_text("names: {a: {x: 1}, b: {x: 2}}\nlr: {base: 0.1}\n")
    described["stages"]["last"]["deps"] = ["out/a/first.txt", "other.txt"]
    (tmp_path / "other.txt").write_text("three")
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(described))
    assert seen() == {"first@a": "done", "first@b": "done", "last": "stale"}
    assert set(json.loads(dvc("status", "--json"))) == {"last"}, "it reads a file that it did not read"
    described["stages"]["last"]["deps"] = ["out/a/first.txt"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(described))
    (tmp_path / "out" / "b" / "first.txt").unlink()
    assert seen() == {"first@a": "done", "first@b": "missing", "last": "done"}, "what it reads no more is nothing to it"
    assert set(json.loads(dvc("status", "--json"))) == {"first@b"}
