"""Shards: the same training as from memory, from a folder and from S3, from any step on; and what is wrong is named."""

import json
import os
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from shards import BUCKET, SMALL, loopback_s3, pictures, write
from two_ranks import CONFIG

from mae_core.data.dataset import DatasetError, open_dataset, open_samples, samples_file
from mae_core.data.loader import Batches
from mae_core.data.shards import InMemory, Shards
from mae_core.data.stream import Stream
from mae_core.training.loop import Settings, fit, start
from mae_core.training.state import TrainState
from mae_core.training.world import World

CPU = torch.device("cpu")
SETTINGS = Settings(steps=24, batch_size=10, lr=1e-3, precision="fp32", seed=5)


@pytest.fixture
def shards(tmp_path):
    write(tmp_path / "d")
    return open_dataset(tmp_path / "d").split("train").samples


@pytest.fixture
def s3(monkeypatch):
    with loopback_s3(monkeypatch) as client:
        yield client


def trace(samples, settings=SETTINGS, state: TrainState | None = None):
    state = state or start(CONFIG, settings)
    return [progress.loss for progress in fit(state, samples, settings, report_every=1)]


def test_shards_are_read_like_an_array(tmp_path, shards):
    split = open_dataset(tmp_path / "d").split("train")
    expected = pictures()[[int(name) for name in split.names]]
    assert isinstance(split.samples, Shards) and len(shards.sizes) == 8
    assert shards.shape == expected.shape and shards.dtype == np.uint8 and len(shards) == 120
    assert (np.asarray(shards) == expected).all()
    for rows in (3, -1, slice(5, 40), slice(None, None, 7), np.array([60, 2, 2, 119]), np.arange(120) % 3 == 0):
        assert (shards[rows] == expected[rows]).all() and shards[rows].shape == expected[rows].shape
    assert (np.stack(list(shards)) == expected).all()


def test_other_splits_stay_arrays_and_facts_are_those_of_the_samples(tmp_path):
    info = write(tmp_path / "d")
    plain = write(tmp_path / "e", shards=None)
    dataset = open_dataset(tmp_path / "d")
    assert isinstance(dataset.split("test").samples, np.memmap)
    assert info["splits"] == plain["splits"] and info["mean"] == pytest.approx(plain["mean"], abs=1e-6)
    names = {name: sorted(open_dataset(tmp_path / name).split("train").names) for name in "de"}
    assert names["d"] == names["e"] and dataset.labelled
    assert (dataset.split("train").labels == [int(name) % 2 for name in dataset.split("train").names]).all()


def test_the_same_samples_give_the_same_files(tmp_path):
    one, two = write(tmp_path / "d"), write(tmp_path / "other" / "d")
    files = sorted(path.relative_to(tmp_path / "d") for path in (tmp_path / "d").rglob("*") if path.is_file())
    assert one["fingerprint"] == two["fingerprint"] and len(files) == 11 + 8
    assert all((tmp_path / "d" / file).read_bytes() == (tmp_path / "other" / "d" / file).read_bytes() for file in files)
    changed = pictures()
    changed[0, 0, 0, 0] ^= 1
    assert write(tmp_path / "changed" / "d", samples=changed)["fingerprint"] != one["fingerprint"]


def test_losses_are_those_of_memory_whatever_is_read_from(tmp_path, shards, s3):
    from_memory = trace(InMemory(shards))
    assert len(from_memory) == 24 and len(set(from_memory)) > 20
    assert trace(shards) == from_memory
    write(tmp_path / "bucket" / "d", SMALL._replace(to=f"s3://{BUCKET}/all"))
    remote = open_dataset(tmp_path / "bucket" / "d").split("train").samples
    assert remote.store.place == f"s3://{BUCKET}/all/d"
    assert len(s3.list_objects_v2(Bucket=BUCKET, Prefix="all/d/")["Contents"]) == 8
    assert not list((tmp_path / "bucket").rglob("*.parquet"))
    assert trace(remote) == from_memory


def test_a_training_goes_on_in_the_middle_of_an_epoch(shards):
    whole = start(CONFIG, SETTINGS)
    expected = trace(shards, state=whole)
    half = start(CONFIG, SETTINGS)
    for done in fit(half, shards, SETTINGS, report_every=1):
        if done.step == 7:  # 70 of 120 samples
            break
    again = Shards(shards.path)
    assert trace(again, state=half) == expected[7:]
    ours, theirs = whole.model.state_dict(), half.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_are_those_of_one_worker_in_any_order_of_steps(shards, workers):
    memory = Batches(InMemory(shards), 10, 3, World(), CPU)
    ranks = [Batches(Shards(shards.path), 10, 3, World(rank, workers), CPU) for rank in range(workers)]
    for step in [*range(40), 7, 8, 90, 3]:
        parts, expected = [rank(step) for rank in ranks], memory(step)
        assert torch.equal(torch.cat([part.ids for part in parts]), expected.ids)
        assert torch.equal(torch.cat([part.raw for part in parts]), expected.raw)
    for rank in ranks:
        rank.close()


def test_few_shards_are_held_and_each_is_read_about_once_an_epoch(tmp_path):
    write(tmp_path / "d", SMALL._replace(lanes=2), pictures(1500))
    shards = open_dataset(tmp_path / "d").split("train").samples
    read, held = [], []
    shards.read = lambda number: read.append(number) or Shards.read(shards, number)
    stream = Stream(shards, shards.order(10, 3), range(10))
    for step in range(120):
        stream(step)
        held.append(len(stream._held))
    stream.close()
    assert len(shards.sizes) == 75 and max(held) <= 2 * 4
    assert set(read) == set(range(75)) and len(read) <= 75 * 1.6 + 20, "windows begin within a shard"


def first(shards):
    return shards.path.parent / "train-shards" / shards.manifest.shards[0].file


def missing(path):
    path.unlink()


def truncated(path):
    path.write_bytes(path.read_bytes()[:-9])


def garbled(path):
    path.write_bytes(path.read_bytes()[:100] + bytes(len(path.read_bytes()) - 100))


def exchanged(path):
    """Another shard of the same length under its name."""
    data = path.read_bytes()
    other = next(one for one in sorted(path.parent.iterdir()) if one != path and len(one.read_bytes()) == len(data))
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (missing, "is not there"),
        (truncated, "has 1,[0-9]{3} bytes, 1,[0-9]{3} were written"),
        (garbled, "is damaged|holds other samples"),
        (exchanged, "holds other samples than were written"),
    ],
)
def test_a_wrong_shard_is_named_with_what_to_do(tmp_path, fault, words):
    noise = np.random.default_rng(0).integers(0, 256, (150, 1, 8, 8), dtype=np.uint8)  # files of equal length
    write(tmp_path / "d", samples=noise)
    shards = open_dataset(tmp_path / "d").split("train").samples
    fault(first(shards))
    pattern = rf"shard \S*train-00000-\w+\.parquet {words}.*dvc repro -f prepare@d"
    with pytest.raises(DatasetError, match=f"(?s){pattern}"):
        np.asarray(shards)
    with pytest.raises(DatasetError, match=f"(?s){pattern}"):
        trace(Shards(shards.path))


def test_a_server_that_does_not_answer_is_named(tmp_path, s3, monkeypatch):
    write(tmp_path / "d", SMALL._replace(to=f"s3://{BUCKET}"))
    shards = open_dataset(tmp_path / "d").split("train").samples
    s3.delete_object(Bucket=BUCKET, Key=f"d/{shards.manifest.shards[3].file}")
    with pytest.raises(DatasetError, match=r"shard s3://pictures/d/train-00003-\w+.parquet is not there"):
        shards[:]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(DatasetError, match=r"cannot be read .*is http://127.0.0.1:9 reachable.*AWS_ACCESS_KEY_ID"):
        open_dataset(tmp_path / "d").split("train").samples[:]


def look_at_keys(after: str) -> None:
    """moto looks at keys after so many requests."""
    address, head = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    urlopen(Request(address, after.encode(), head, method="POST")).close()


def test_keys_that_a_bucket_refuses_are_named(tmp_path, s3):
    write(tmp_path / "d", SMALL._replace(to=f"s3://{BUCKET}"))
    look_at_keys("0")
    try:
        with pytest.raises(DatasetError, match=r"shard s3://pictures/d/\S+ cannot be read .*AWS_SECRET_ACCESS_KEY"):
            open_dataset(tmp_path / "d").split("train").samples[:]
    finally:
        look_at_keys("inf")


def test_a_bucket_that_is_not_there_leaves_no_dataset(tmp_path, s3):
    with pytest.raises(DatasetError, match=r"d: shard s3://elsewhere/d/train-00000-\w+.parquet cannot be written"):
        write(tmp_path / "d", SMALL._replace(to="s3://elsewhere"))
    assert list(tmp_path.iterdir()) == []


def test_another_kind_of_address_is_refused(tmp_path):
    write(tmp_path / "d")
    manifest = tmp_path / "d" / "train-shards.json"
    manifest.write_text(manifest.read_text().replace('"train-shards"', '"ftp://host/folder"'))
    with pytest.raises(DatasetError, match=r"ftp://host/folder: shards lie in a folder, or at s3://"):
        open_dataset(tmp_path / "d").split("train")


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 2, "shards": []}', '{"schema": 1}'])
def test_a_manifest_that_says_something_else_is_refused(tmp_path, text):
    (tmp_path / "train-shards.json").write_text(text)
    with pytest.raises(DatasetError, match=r"train-shards.json cannot be read .*prepare the dataset again"):
        open_samples(samples_file(tmp_path, "train"))


def test_the_manifest_is_written_last(tmp_path, monkeypatch):
    from mae_core.data import stores

    def full(self, name, data):
        if "00004" in name:
            raise OSError(28, "No space left on device")
        return written(self, name, data)

    written = stores.Store.write
    monkeypatch.setattr(stores.Store, "write", full)
    with pytest.raises(DatasetError, match=r"train-00004-\w+.parquet cannot be written .*No space left"):
        write(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_holds_what_is_asked(tmp_path, shards):
    facts = json.loads(shards.path.read_text())
    assert {key: facts[key] for key in ("schema", "place", "encoding", "lanes", "window")} == {
        "schema": 1, "place": "train-shards", "encoding": "raw", "lanes": 3, "window": 2,
    }  # fmt: skip
    assert sum(shard["samples"] for shard in facts["shards"]) == 120
