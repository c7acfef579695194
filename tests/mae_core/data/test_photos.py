"""Folders of JPEG files: kept as they are in shards, cropped at random for training, in the middle for everything else."""

import csv
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from shards import SMALL
from two_ranks import CONFIG

from mae_core.data.dataset import DatasetError, open_dataset
from mae_core.data.jpeg import JpegFiles
from mae_core.data.loader import Batches
from mae_core.data.pack import Rules, pack
from mae_core.data.shards import InMemory
from mae_core.data.sources import SourceError
from mae_core.data.sources.photos import read
from mae_core.draws import Draws
from mae_core.training.loop import Settings, fit, start
from mae_core.training.world import World

COLOUR = {**CONFIG, "modality": {**CONFIG["modality"], "channels": 3}}


def photo(path, seed, size=(40, 60)):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(path, quality=90)


@pytest.fixture
def folder(tmp_path):
    for number in range(40):
        photo(tmp_path / "files" / "ab"[number % 2] / f"{number}.jpg", number, (40 + number, 60))
    return tmp_path / "files"


FEW = SMALL._replace(megabytes=0.004)


def packed(folder, shards=FEW):
    rules = Rules("p", "image", "CC0", "made by the tests", False, {"validation": 0.1, "test": 0.1}, shards=shards)
    return pack(read(folder, [8, 8]), rules, folder.parent / "data" / "p")


def test_files_lie_in_shards_as_they_are(folder):
    info = packed(folder)
    train = open_dataset(folder.parent / "data" / "p").split("train")
    files = JpegFiles([folder / name for name in train.names], (8, 8))
    assert info["sample"] == {"shape": [3, 8, 8], "dtype": "uint8"} and len(train.samples.sizes) >= 4
    held = [one for number in range(len(train.samples.sizes)) for one in train.samples.read(number)]
    assert [bytes(one.data) for one in held] == [one.path.read_bytes() for one in files.photos]
    assert (np.asarray(train.samples) == files[:]).all() and (train.samples[[3, 1]] == files[np.array([3, 1])]).all()
    assert (train.labels == [name.startswith("b") for name in train.names]).all()
    test = open_dataset(folder.parent / "data" / "p").split("test")
    assert (test.samples == JpegFiles([folder / name for name in test.names], (8, 8))[:]).all()


def test_training_sees_the_random_crops_of_the_files(folder):
    packed(folder)
    train = open_dataset(folder.parent / "data" / "p").split("train")
    files = JpegFiles([folder / name for name in train.names], (8, 8))
    batches = Batches(train.samples, 7, 3, World(), torch.device("cpu"))
    for step in (0, 1, 2, 9, 1):
        batch = batches(step)
        assert torch.equal(batch.raw, files.crops(Draws(3, step, batch.ids)))
    assert not torch.equal(batch.raw, torch.from_numpy(files[batch.ids.numpy()]))
    batches.close()
    settings = Settings(steps=4, batch_size=6, lr=1e-3, precision="fp32")
    losses = [[p.loss for p in fit(start(COLOUR, settings), train.samples, settings, report_every=1)] for _ in "ab"]
    assert losses[0] == losses[1] and np.isfinite(losses).all()
    with pytest.raises(DatasetError, match=r"photographs, which are decoded as they are read: set resources\.reading"):
        InMemory(train.samples)


def test_without_shards_they_become_one_array(folder):
    packed(folder, shards=None)
    train = open_dataset(folder.parent / "data" / "p").split("train")
    assert isinstance(train.samples, np.memmap)
    assert (train.samples == JpegFiles([folder / name for name in train.names], (8, 8))[:]).all()


def test_bad_files_are_set_aside(folder):
    whole = (folder / "a" / "0.jpg").read_bytes()
    (folder / "a" / "cut.jpg").write_bytes(whole[:300])
    (folder / "a" / "text.jpg").write_text("no picture")
    (folder / "a" / "notes.txt").write_text("ignored")
    bomb = whole.replace(struct.pack(">HH", 40, 60), struct.pack(">HH", 65_000, 65_000))
    (folder / "a" / "bomb.jpg").write_bytes(bomb)
    rules = Rules(
        "p", "image", "CC0", "made by the tests", False, {"validation": 0.1, "test": 0.1}, max_bad=0.1, shards=SMALL
    )
    info = pack(read(folder, [8, 8]), rules, folder.parent / "p")
    with open(folder.parent / "p" / "quarantine.csv") as file:
        rows = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert rows["a/text.jpg"] == "not a JPEG" and rows["a/bomb.jpg"] == "too many pixels"
    assert set(rows) == {"a/cut.jpg", "a/text.jpg", "a/bomb.jpg"} and info["ignored"] == 1


def test_what_lies_beside_and_empty_classes_are_told(folder):
    photo(folder / "stray.jpg", 50)
    (folder / "c").mkdir()
    (folder / "c" / "drawing.png").write_bytes(b"no JPEG")
    source = read(folder, [8, 8])
    assert source.classes == ["a", "b", "c"] and source.ignored == 2
    assert source.notes == [
        "class folder 'c' of part all holds no JPEG files",
        "1 JPEG files lie beside the class folders and were ignored (set `unlabelled: loose` to use them)",
    ]
    assert not any("beside" in note for note in read(folder, [8, 8], unlabelled="loose").notes)


def test_copies_are_known_by_their_files(folder):
    (folder / "b" / "again.jpg").write_bytes((folder / "b" / "1.jpg").read_bytes())
    info = packed(folder)
    assert info["duplicates"]["within"] + info["duplicates"]["across_splits"] == 1


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SourceError, match="nowhere is not a folder"):
        read(tmp_path / "nowhere", [8, 8])
    with pytest.raises(SourceError, match=r"part train: .*/train is not a folder"):
        read(tmp_path, [8, 8], parts={"train": "train"})
