"""Packing: splits that depend on the bytes alone, copies counted, nothing half written, the same input gives the same output."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

from mae_core.data.dataset import DatasetError, open_dataset
from mae_core.data.pack import Rules, pack
from mae_core.data.quarantine import Refused, TooManyRefused
from mae_core.data.sources import Part, Source
from mae_core.data.sources import folder as folder_source
from mae_core.data.split import digests, stratified


def samples(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)


def source(n=100, labels=None, refused=(), parts=None, classes=("a", "b")):
    labels = np.arange(n) % len(classes) if labels is None else labels
    parts = parts or [Part("all", samples(n), np.asarray(labels, np.int64), [f"s{i}" for i in range(n)])]
    return Source(parts, list(classes), list(refused), 0, [])


def rules(**changes):
    facts = {"name": "d", "modality": "image", "licence": "CC0", "source": "made here", "verified": True}
    return Rules(**{**facts, "splits": {"validation": 0.1, "test": 0.2}, **changes})


def test_a_packed_dataset_reads_back(tmp_path):
    info = pack(source(), rules(), tmp_path / "d")
    dataset = open_dataset(tmp_path / "d")
    assert {name: facts["samples"] for name, facts in info["splits"].items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }
    original = source().parts[0]
    for name in ("train", "validation", "test"):
        split = dataset.split(name)
        places = [int(origin[1:]) for origin in split.names]
        assert (split.samples == original.samples[places]).all() and (split.labels == original.labels[places]).all()
        assert isinstance(split.samples, np.memmap)
        assert np.bincount(split.labels).tolist() == [len(split.labels) // 2] * 2
    train = dataset.split("train").samples / 255
    assert dataset.info["mean"] == pytest.approx([train.mean()], abs=1e-5) and dataset.info["std"] == pytest.approx(
        [train.std()], abs=1e-5
    )
    assert dataset.labelled


def test_the_same_source_gives_the_same_bytes(tmp_path):
    for name in ("x", "y"):
        pack(source(refused=[Refused("f", "r", "d")]), rules(), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "y").iterdir())
    assert all((tmp_path / "x" / file).read_bytes() == (tmp_path / "y" / file).read_bytes() for file in files)


def test_the_fingerprint_follows_pixels_and_labels(tmp_path):
    plain = pack(source(), rules(), tmp_path / "a")["fingerprint"]
    labels = np.arange(100) % 2
    labels[:2] = labels[:2][::-1]
    assert pack(source(labels=labels), rules(), tmp_path / "b")["fingerprint"] != plain
    changed = source()
    changed.parts[0].samples[0, 0, 0, 0] ^= 1
    assert pack(changed, rules(), tmp_path / "c")["fingerprint"] != plain


def test_order_of_the_source_does_not_move_samples_between_splits():
    data, labels = samples(200), np.arange(200) % 4
    cut = stratified(digests(data), labels, {"test": 40}, "train")
    order = np.random.default_rng(1).permutation(200)
    again = stratified(digests(data[order]), labels[order], {"test": 40}, "train")
    assert {data[i].tobytes() for i in cut["test"]} == {data[order][i].tobytes() for i in again["test"]}


def test_shares_are_exact_and_stratified():
    labels = np.repeat([0, 1, 2], [50, 30, 23])
    cut = stratified(digests(samples(103)), labels, {"validation": 11, "test": 20}, "train")
    assert (len(cut["validation"]), len(cut["test"]), len(cut["train"])) == (11, 20, 72)
    together = np.sort(np.concatenate(list(cut.values())))
    assert together.tolist() == list(range(103))
    assert np.bincount(labels[cut["test"]]).tolist() == [10, 6, 4]


def test_copies_stay_on_one_side():
    data = np.repeat(samples(20), 5, axis=0)
    cut = stratified(digests(data), np.zeros(100, np.int64), {"test": 30}, "train")
    sides = [{data[i].tobytes() for i in indices} for indices in cut.values()]
    assert not sides[0] & sides[1]


def test_official_parts_are_kept_and_leaks_counted(tmp_path):
    train, test = samples(50), samples(20, seed=1)
    test[0] = train[7]
    parts = [
        Part("train", train, np.arange(50) % 2, [f"train{i}" for i in range(50)]),
        Part("test", test, np.arange(20) % 2, [f"test{i}" for i in range(20)]),
    ]
    info = pack(source(parts=parts), rules(splits={"validation": 5}), tmp_path / "d")
    assert info["splits"]["test"]["samples"] == 20 and info["duplicates"]["across_splits"] == 1
    dropped = pack(source(parts=parts), rules(splits={"validation": 5}, drop_leaks=True), tmp_path / "e")
    assert dropped["splits"]["train"]["samples"] in (44, 45)
    assert "train7" not in open_dataset(tmp_path / "e").split("train").names


def test_too_many_bad_items_stop_with_the_top_reasons(tmp_path):
    refused = [Refused(f"f{i}", "not a picture", "") for i in range(8)] + [Refused("g", "empty file", "")]
    with pytest.raises(TooManyRefused, match=r"9 of 109 .*8 × not a picture; 1 × empty file.*f0"):
        pack(source(refused=refused), rules(), tmp_path / "d")
    assert not (tmp_path / "d").exists()
    pack(source(refused=refused), rules(max_bad=0.5), tmp_path / "d")
    with open(tmp_path / "d" / "quarantine.csv") as file:
        assert len(list(csv.DictReader(file))) == 9


def test_unlabelled_partly_labelled_and_one_class_are_said(tmp_path):
    none = pack(source(labels=np.full(100, -1), classes=()), rules(), tmp_path / "a")
    assert "no labels: probes are skipped" in none["notes"] and not open_dataset(tmp_path / "a").labelled
    labels = np.full(100, -1)
    labels[:20] = np.arange(20) % 2
    some = pack(source(labels=labels), rules(), tmp_path / "b")
    assert some["splits"]["train"]["labelled"] == 14 and any("56 of 70" in note for note in some["notes"])
    assert open_dataset(tmp_path / "b").labelled
    one = pack(source(labels=np.zeros(100)), rules(), tmp_path / "c")
    assert any("one class only (a)" in note for note in one["notes"]) and not open_dataset(tmp_path / "c").labelled


def test_a_constant_channel_is_not_divided_by_zero(tmp_path):
    data = np.concatenate([samples(50), np.zeros((50, 1, 4, 4), np.uint8)], 1)
    half = [Part("all", data, np.arange(50) % 2, [str(i) for i in range(50)])]
    info = pack(source(parts=half), rules(), tmp_path / "d")
    assert info["mean"][1] == 0 and info["std"][1] > 0


def test_reader_refuses_what_is_not_whole(tmp_path):
    with pytest.raises(DatasetError, match=r"dvc repro prepare@d"):
        open_dataset(tmp_path / "d")
    pack(source(), rules(), tmp_path / "d")
    with pytest.raises(DatasetError, match="train, validation, test"):
        open_dataset(tmp_path / "d").split("tset")
    path = tmp_path / "d" / "train-samples.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DatasetError, match=r"train-samples\.npy"):
        open_dataset(tmp_path / "d").split("train")
    info = tmp_path / "d" / "dataset.json"
    info.write_text(info.read_text().replace('"schema": 1', '"schema": 9'))
    with pytest.raises(DatasetError, match="schema 9"):
        open_dataset(tmp_path / "d")


def test_missing_splits_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no test split"):
        pack(source(), rules(splits={"validation": 0.1}), tmp_path / "d")


def test_names_that_are_no_unicode_are_refused_by_name(tmp_path):
    named = [Part("all", samples(40), np.arange(40) % 2, ["caf\udce9.png", *map(str, range(39))])]
    with pytest.raises(DatasetError, match=r"d: 'caf\\udce9\.png' is no whole text: rename"):
        pack(source(parts=named), rules(), tmp_path / "d")


def test_files_whose_names_are_not_utf_8_are_used(tmp_path):
    for i in range(20):
        folder = os.fsencode(tmp_path / "in") + (b"/caf\xe9" if i % 2 else b"/tea")
        os.makedirs(folder, exist_ok=True)
        Image.fromarray(samples(1, i)[0, 0]).save(os.fsdecode(folder + b"/\xfc%d.png" % i))
    found = folder_source.read(tmp_path / "in", [4, 4], 1)
    assert found.classes == ["caf\\xe9", "tea"] and found.parts[0].names[0] == "caf\\xe9/\\xfc1.png"
    info = pack(found, rules(), tmp_path / "d")
    assert info["splits"]["train"]["labelled"] == 14 and open_dataset(tmp_path / "d").classes == found.classes
