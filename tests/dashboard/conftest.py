"""Trees of results to draw pages from: none, one run, many, with files missing, with files broken, with hostile names."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "![x](http:evil.example) **bold** :red[x] $x$",
    "🦄 $(touch pwned); `id`",
    "n" * 200,
]


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make() -> ModuleType:
    return _module("make_results")


@pytest.fixture(scope="session")
def make_kinds() -> ModuleType:
    return _module("make_kinds")


@pytest.fixture(scope="session")
def kinds(make_kinds: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a dataset and a model of every kind."""
    return make_kinds.kinds(tmp_path_factory.mktemp("kinds"))


def _partial(root: Path) -> None:
    for gone in ("results/digits/history.csv", "results/digits/trials.parquet", "results/digits/embeddings.parquet"):
        (root / gone).unlink()
    (root / "results/digits/reconstructions/random-50.png").unlink()
    (root / "models/digits/seed-0/model.safetensors").unlink()
    (root / "data/digits5k/validation-samples.npy").unlink()


def _corrupt(root: Path) -> None:
    results = root / "results" / "digits"
    (results / "scores.csv").write_bytes(b"\x00\xff\x00 not, a\ntable")
    (results / "trials.parquet").write_bytes(b"PAR1 and then nothing")
    (results / "embeddings.parquet").write_bytes(b"")
    lines = (results / "history.csv").read_text().splitlines()
    (results / "history.csv").write_text("\n".join([*lines[:5], lines[5].replace("0.", "zero."), *lines[6:]]))
    (results / "search.json").write_text(json.dumps({"schema": 99}))
    picture = results / "reconstructions" / "random-50.png"
    picture.write_bytes(picture.read_bytes()[:200])
    (root / "results" / "digits_norm" / "reconstructions" / "bank.json").write_text("[1, 2")
    weights = root / "models" / "digits" / "seed-0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    (root / "models" / "digits" / "seed-1" / "config.json").write_text("{")
    samples = root / "data" / "digits5k" / "train-samples.npy"
    samples.write_bytes(samples.read_bytes()[:300])
    (root / "dvc.lock").write_text("stages: [unclosed")
    (root / "runs" / "pretrain-digits-0a1b2c" / "heartbeat.json").write_text('{"stage": "pre')


def _nonsense(root: Path) -> None:
    """Files that parse, have the right schema and hold the wrong things."""
    results = root / "results" / "digits"
    found = json.loads((results / "search.json").read_text())
    (results / "search.json").write_text(json.dumps({**found, "confirm": "yes", "importance": [1]}))
    info = json.loads((root / "data" / "digits5k" / "dataset.json").read_text())
    (root / "data" / "digits5k" / "dataset.json").write_text(json.dumps({**info, "splits": [], "mean": "grey"}))


@pytest.fixture(scope="session")
def trees(make: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("trees")
    for name in ("empty", "one", "many", "hostile"):
        (base / name).mkdir()
    make.one_run(base / "one")
    make.many_runs(base / "many")
    make.dataset(base / "hostile", "digits5k")
    for name in HOSTILE:
        make.recipe(base / "hostile", name, "digits5k")
    make.pipeline(base / "hostile", dict.fromkeys([*HOSTILE, "../../etc"], "digits5k"))
    for name, spoil, source in (
        ("partial", _partial, "one"),
        ("corrupt", _corrupt, "many"),
        ("nonsense", _nonsense, "one"),
    ):
        shutil.copytree(base / source, base / name)
        spoil(base / name)
    return {folder.name: folder for folder in base.iterdir()}
