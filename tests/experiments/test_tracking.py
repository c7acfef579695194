"""MLflow: what is written, that writing twice is writing once, and that no fault of MLflow reaches the work it shows."""

import importlib.util
import json
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from experiments import tracking
from experiments.bounded import Bounded
from experiments.places import place, redacted, safe
from experiments.publish import backfill, publish
from experiments.runs import fingerprint
from experiments.tracking import Tracker
from mae_core.model import MaskedAutoencoder

REPOSITORY = Path(__file__).resolve().parents[2]
DATASET = {"name": "digits5k", "fingerprint": "5e" * 32, "splits": {"train": {"samples": 3}}, "source": "drawn"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No connection and no setting outlives a test."""
    before = dict(os.environ)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "MAESTRO_MLFLOW", "DVC_STAGE", "DVC_EXP_NAME"):
        os.environ.pop(name, None)
    monkeypatch.setattr(tracking, "LINKS", {})
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database that several tests share, each with a recipe of its own."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """What makes synthetic results."""
    path = REPOSITORY / "tests" / "dashboard" / "make_results.py"
    spec = importlib.util.spec_from_file_location("make_results", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results(make: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recipe's synthetic results."""
    return make.one_run(tmp_path_factory.mktemp("results"))


def client(root: Path):  # type: ignore[no-untyped-def]
    from mlflow import MlflowClient

    uri = f"sqlite:///{root / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs(root: Path, recipe: str) -> dict[str, object]:
    """Run name → run, of one recipe."""
    mlflow = client(root)
    experiment = mlflow.get_experiment_by_name("maestro").experiment_id
    found = mlflow.search_runs([experiment], f"tags.`mae.recipe` = '{recipe}'")
    assert len({run.info.run_name for run in found}) == len(found), "a run was made twice"
    return {run.info.run_name: run for run in found}


def test_a_stage_is_a_child_of_its_recipe_and_seeds_are_below_it(project: Path) -> None:
    os.environ.update(DVC_STAGE="pretrain@a", DVC_EXP_NAME="salty-yam")
    with Tracker(project, "a", "pretrain", "f00d") as stage:
        stage.start({"pretrain.steps": 3, "masking.ratio": 0.75}, {"mae.extra": "yes"}, DATASET)
        with stage.child("seed-0", {"lr": 0.1}, {"mae.seed": 0}) as seed:
            seed.metrics({"step": step, "loss": 1 / (step + 1), "note": "text", "on": True} for step in range(2500))
            seed.image(np.zeros((4, 4), np.uint8), "random-75")
    found = runs(project, "a")
    top, stage_run, seed_run = found["a"], found["pretrain a"], found["seed-0"]
    assert stage_run.data.tags["mlflow.parentRunId"] == top.info.run_id
    assert seed_run.data.tags["mlflow.parentRunId"] == stage_run.info.run_id
    wanted = {
        "mae.fingerprint": "f00d", "mae.stage": "pretrain", "mae.extra": "yes", "DVC_STAGE": "pretrain@a",
        "DVC_EXP_NAME": "salty-yam", "mae.data_fingerprint": DATASET["fingerprint"],
    }  # fmt: skip
    assert wanted.items() <= stage_run.data.tags.items()
    assert stage_run.data.params == {"pretrain.steps": "3", "masking.ratio": "0.75"}
    assert [run.info.status for run in (top, stage_run, seed_run)] == ["FINISHED"] * 3
    (data,) = [item.dataset for item in stage_run.inputs.dataset_inputs]
    assert (data.name, data.digest) == ("digits5k", DATASET["fingerprint"][:36])
    history = client(project).get_metric_history(seed_run.info.run_id, "loss")
    assert sorted(point.step for point in history) == list(range(2500))
    assert set(seed_run.data.metrics) == {"loss"}
    (picture,) = client(project).list_artifacts(seed_run.info.run_id, "images")
    assert picture.path == "images/random-75.png"
    ids = json.loads((project / "runs" / "pretrain-a-f00d" / "mlflow.json").read_text())
    assert ids["run"] == stage_run.info.run_id and ids["children"] == {"seed-0": seed_run.info.run_id}


def test_the_same_fingerprint_finds_its_run_and_sends_no_step_twice(project: Path) -> None:
    for stop in (5, 8, 8):
        tracking.LINKS.clear()
        with Tracker(project, "b", "pretrain", "1") as run:
            run.start({"x": 1})
            run.metrics({"step": step, "loss": float(step)} for step in range(stop))
            run.metrics([{"final": 0.5}])
    with Tracker(project, "b", "pretrain", "2") as other:
        other.start({"x": 2})
    mlflow = client(project)
    found = mlflow.search_runs([mlflow.get_experiment_by_name("maestro").experiment_id], "tags.`mae.recipe` = 'b'")
    first = [one for one in found if one.data.tags.get("mae.fingerprint") == "1"]
    assert len(found) == 3 and len(first) == 1, "the recipe, and a run for each fingerprint"
    assert sorted(p.step for p in mlflow.get_metric_history(first[0].info.run_id, "loss")) == list(range(8))
    assert len(mlflow.get_metric_history(first[0].info.run_id, "final")) == 1


def test_values_that_are_not_finite_are_counted_and_not_sent(project: Path) -> None:
    with Tracker(project, "c", "pretrain", "1") as run:
        run.start({})
        run.metrics(
            [{"step": 0, "loss": math.nan}, {"step": 1, "loss": 2.0, "lr": math.inf}, {"step": 2, "loss": None}]
        )
    data = runs(project, "c")["pretrain c"].data
    assert data.metrics == {"loss": 2.0, "nonfinite_values": 2.0} and run.nonfinite == 2


def test_a_block_that_raises_ends_its_runs_as_failed(project: Path) -> None:
    with pytest.raises(ZeroDivisionError), Tracker(project, "d", "search", "1") as run:
        run.start({})
        1 / 0  # noqa: B018
    assert {one.info.status for one in runs(project, "d").values()} == {"FAILED"}


def test_names_that_mlflow_refuses_are_made_safe(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = "<script>'`\"$(id)/../🦄:" + "n" * 300
    with Tracker(project, name, "search", "1") as run:
        run.start({name: name, "long": "v" * 9000}, {name: name})
        run.metrics([{name: 1.0}])
    assert run.run_id and not run.link.off
    assert "MLflow" not in capfd.readouterr().err
    assert safe("a/b:c<d>") == "a/b_c_d_" and safe("../x//./") == "x" and safe("..") == "_"


def test_a_locked_database_costs_one_warning(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Tracker(project, "e", "pretrain", "1") as run:
        run.start({})
    monkeypatch.setattr(tracking, "PATIENCE", 0.5)
    tracking.LINKS.clear()
    holder = sqlite3.connect(project / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with Tracker(project, "e", "pretrain", "2") as run:
            run.start({"x": 1}, dataset=DATASET)
            with run.child("seed-0") as seed:
                seed.metrics([{"step": 1, "loss": 1.0}])
        with Tracker(project, "e", "evaluate", "3") as later:
            later.start({})
    finally:
        holder.close()
    said = capfd.readouterr().err
    assert said.count("MLflow: not written from here on") == 1 and "maestro mlflow-backfill" in said
    assert not run.on and not later.on and "Traceback" not in said


def test_a_server_that_is_not_there_costs_one_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    uri = f"http://me:secret@127.0.0.1:{port}"
    for stage in ("search", "pretrain"):
        with Tracker(tmp_path, "a", stage, "1", uri) as run:
            run.start({"x": 1})
            run.metrics([{"step": 1, "loss": 1.0}])
    said = capfd.readouterr().err
    assert said.count("not written from here on") == 1 and "secret" not in said and not run.on


@pytest.mark.parametrize("uri", ["sqlite:////proc/nowhere/mlflow.db", "sqlite:////dev/null", "nonsense://x"])
def test_a_place_that_cannot_hold_a_database_costs_one_warning(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 1.0)
    with Tracker(tmp_path, "a", "search", "1", uri) as run:
        run.start({"x": 1})
    assert capfd.readouterr().err.count("not written from here on") == 1 and not run.on


def test_without_mlflow_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with Tracker(tmp_path, "a", "search", "1") as run:
        run.start({"x": 1}).child("trial-0").metrics([{"loss": 1.0}])
        run.image(np.zeros((2, 2), np.uint8), "x")
        assert run.model(tmp_path) == ""
    assert capfd.readouterr().err.count("cannot be imported") == 1
    assert list(tmp_path.iterdir()) == []


def test_switched_off_it_says_nothing_and_writes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.environ["MAESTRO_MLFLOW"] = "off"
    with Tracker(tmp_path, "a", "search", "1") as run:
        run.start({"x": 1})
    assert capfd.readouterr().err == "" and list(tmp_path.iterdir()) == []


def test_a_moved_project_is_told_what_to_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old").mkdir()
    with Tracker(tmp_path / "old", "a", "search", "1") as run:
        run.start({})
    shutil.move(tmp_path / "old", tmp_path / "new")
    with Tracker(tmp_path / "new", "a", "search", "1") as run:
        run.start({})
    assert "remove the database" in capfd.readouterr().err and not (tmp_path / "old").exists()


def test_backfill_writes_the_runs_that_stages_write(results: Path, tmp_path: Path) -> None:
    direct, late = tmp_path / "direct", tmp_path / "late"
    made = {"search": "0a1b2c", "pretrain": "0a1b2c", "evaluate": "ab12"}
    for root in (direct, late):
        shutil.copytree(results, root)
        for stage, mark in made.items():
            folder = root / "runs" / f"{stage}-digits-{mark}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "DELIVERED").touch()
    count = sum(publish(direct, stage, "digits", mark) for stage, mark in made.items())
    assert backfill(late) == count == 1 + 12 + 1 + 1 + 1

    def content(root: Path) -> object:
        return {
            name: (run.data.params, run.data.metrics, run.info.status, run.data.tags["mae.identity"])
            for name, run in runs(root, "digits").items()
        }

    before = content(direct)
    assert content(late) == before and len(before) == count + 1  # and the recipe's own
    assert before["seed-0"][1]["loss"] > 0 and before["trial-000"][0]["masking.ratio"] == "0.75"
    assert 0.9 < before["evaluate digits"][1]["linear/accuracy/test/pretrained"] < 1
    assert backfill(direct) == count and content(direct) == before, "a second time changes nothing"
    evaluated = runs(direct, "digits")["evaluate digits"]
    assert len(client(direct).list_artifacts(evaluated.info.run_id, "images")) == 3
    pretrained = runs(direct, "digits")["pretrain digits"]
    assert pretrained.info.end_time - pretrained.info.start_time == pytest.approx(163_000, abs=2)


def test_a_transfer_has_the_params_and_the_precision_of_the_recipe_that_it_measures(
    make: ModuleType, tmp_path: Path
) -> None:
    root, name = make.one_run(tmp_path), "digits_on_b"
    make.transfer(root, name, "digits", "b")
    scores = root / "results" / name / "scores.csv"
    scores.write_text(scores.read_text().replace(",ab12\n", ",\n"))  # as where the files do not say which run made them
    reads = {"deps": ["models/${item.recipe}"], "params": [{"experiments/recipes/${item.recipe}.yaml": ["evaluate"]}]}
    described = {"stages": {"transfer": {"foreach": "${transfers}", "do": {"cmd": "true", **reads}}}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(described))
    (root / "experiments" / "recipes").mkdir(parents=True)
    (root / "experiments" / "recipes" / "digits.yaml").write_text("evaluate: {knn_k: 5}\n")
    config = root / "models" / "digits" / "seed-0" / "config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps({**told, "provenance": {**told["provenance"], "precision": "bf16"}}))
    assert publish(root, "transfer", name, fingerprint("transfer", name, "bf16", root)) == 1
    shutil.rmtree(root / "runs")
    tracking.LINKS.clear()
    backfill(root)
    assert runs(root, name)[f"transfer {name}"].data.params == {"evaluate.knn_k": "5"}
    (root / "dvc.yaml").unlink()
    assert backfill(root) > 0, "results from elsewhere"


def test_the_champion_is_a_model_folder_that_loads(results: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(results, root)
    backfill(root)
    mlflow = client(root)
    assert len(mlflow.search_model_versions("name = 'maestro-digits5k'")) == 1
    version = mlflow.get_model_version_by_alias("maestro-digits5k", "champion")
    assert float(version.tags["validation/linear/accuracy"]) > 0.9 and version.tags["mae.recipe"] == "digits"
    import mlflow as library

    library.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    folder = library.artifacts.download_artifacts("models:/maestro-digits5k@champion", dst_path=str(tmp_path / "got"))
    loaded, original = (MaskedAutoencoder.load(Path(p)) for p in (folder, root / "models" / "digits" / "seed-0"))
    assert all(bool((a == b).all()) for a, b in zip(loaded.parameters(), original.parameters()))


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from experiments.tracking import Tracker\n"
        "with Tracker(Path(sys.argv[1]), 'a', sys.argv[2], '1') as run:\n"
        "    run.start({'x': 1})\n"
        "    for part in range(10):\n"
        "        run.metrics({'step': 100 * part + i, 'loss': 1.0} for i in range(100))\n"
        "        run._flush()\n"
        "    assert run.on, run.link.off\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), stage], env=environment, stderr=subprocess.PIPE)
        for stage in ("search", "pretrain")
    ]
    for one in both:
        said = one.communicate(timeout=120)[1].decode()
        assert one.returncode == 0 and "Traceback" not in said, said
    found = runs(tmp_path, "a")
    assert sorted(found) == ["a", "pretrain a", "search a"]
    for name in ("pretrain a", "search a"):
        history = client(tmp_path).get_metric_history(found[name].info.run_id, "loss")
        assert sorted(point.step for point in history) == list(range(1000))


def test_places(tmp_path: Path) -> None:
    assert place(tmp_path).uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert place(tmp_path).artifacts == tmp_path / "mlartifacts"
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "x"
    os.environ["DVC_ROOT"] = str(tmp_path)
    assert place(copy).uri == f"sqlite:///{tmp_path}/mlflow.db", "a queued experiment writes to its project"
    os.environ["DVC_ROOT"] = str(tmp_path / "elsewhere")
    assert place(copy).home == copy
    os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///mine.db"
    relative = place(tmp_path)
    assert relative.uri == f"sqlite:///{tmp_path}/mine.db" and "relative" in relative.note
    assert place(tmp_path, "http://127.0.0.1:5000").artifacts is None
    assert redacted("https://me:secret@host:1/x") == "https://host:1/x"


def test_a_call_that_hangs_is_left_behind_and_one_that_raises_raises() -> None:
    bounded, never = Bounded("test"), threading.Event()
    assert bounded.call(lambda: 7, 5) == 7
    with pytest.raises(KeyError):
        bounded.call(lambda: {}["x"], 5)
    with pytest.raises(TimeoutError, match="no answer within"):
        bounded.call(never.wait, 0.01)
    with pytest.raises(TimeoutError, match="earlier"):
        bounded.call(lambda: 7, 5)
    never.set()
