"""Videos in folders: classes, splits that keep the clips of a video together, and what is set aside."""

import csv

import numpy as np
import pytest
from films import make_video

import mae_core.data.sources.video as source_of
from mae_core.data.sources import SourceError
from mae_core.data.sources.video import read
from mae_core.data.videos import VideoProblem, read_clips

LOOK = {"frames": 4, "size": [8, 12], "channels": 1}
SHARES = {"validation": 0.25, "test": 0.25}


def folders(folder, each=4):
    for kind in ("cat", "dog"):
        for i in range(each):
            make_video(folder / kind / f"{i}.avi", 8 + (kind == "dog") + 2 * i)
    return folder


def by_split(source):
    return {part.name: part for part in source.parts}


def file_of(name):
    return name.rpartition("@")[0]


def test_class_folders_are_split_by_whole_files(tmp_path):
    source = read(folders(tmp_path), **LOOK, hold_out=SHARES)
    parts = by_split(source)
    assert source.classes == ["cat", "dog"] and source.described == {"stride": 1} and not source.refused
    files = {name: {file_of(origin) for origin in part.names} for name, part in parts.items()}
    assert {name: len(found) for name, found in files.items()} == {"train": 4, "validation": 2, "test": 2}
    assert not files["train"] & files["test"] and not files["train"] & files["validation"]
    assert all(len(np.unique(part.labels)) == 2 for part in parts.values()), "spread over the classes"
    assert parts["train"].samples.shape[1:] == (1, 4, 8, 12) and parts["train"].samples.dtype == np.uint8
    again = by_split(read(tmp_path, **LOOK, hold_out=SHARES))
    assert all(np.array_equal(again[name].samples, part.samples) for name, part in parts.items())


def test_what_lies_beside_and_empty_classes_are_told(tmp_path):
    make_video(folders(tmp_path) / "stray.avi")
    (tmp_path / "bird").mkdir()
    assert read(tmp_path, **LOOK, hold_out=SHARES).notes == [
        "class folder 'bird' of part train holds no videos",
        "1 videos lie beside the class folders and were ignored (set `unlabelled: loose` to use them)",
    ]


def test_the_end_of_each_file_in_time(tmp_path):
    make_video(tmp_path / "a.avi", 40)
    source = read(tmp_path, **LOOK, hop=2, hold_out=SHARES, by="time")
    starts = {part.name: [int(name.rpartition("@")[2]) for name in part.names] for part in source.parts}
    assert starts["train"] == list(range(0, 17, 2)) and starts["validation"] == [20, 22, 24, 26]
    assert starts["test"] == [30, 32, 34, 36]
    assert source.notes == ["2 clips reach over a border between splits and were left out"]
    assert all((part.labels == -1).all() for part in source.parts)


def test_parts_are_kept_and_the_rest_is_cut_from_train(tmp_path):
    folders(tmp_path / "mine")
    make_video(tmp_path / "theirs" / "cat" / "x.avi")
    source = read(tmp_path, **LOOK, parts={"train": "mine", "test": "theirs"}, hold_out={"validation": 0.25})
    assert {name: len({file_of(n) for n in part.names}) for name, part in by_split(source).items()} == {
        "train": 6, "test": 1, "validation": 2,
    }  # fmt: skip


def test_labels_from_a_table(tmp_path):
    for name in ("a.avi", "b.avi", "c.avi", "deep/d.avi"):
        make_video(tmp_path / name, 24)
    rows = [("a.avi", "one"), ("b.avi", "two"), ("deep/d.avi", "one"), ("gone.avi", "two")]
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *rows])
    (tmp_path / "LICENSE").write_text("x")
    (tmp_path / "empty").mkdir()
    source = read(tmp_path, **LOOK, labels="labels.csv", hold_out=SHARES, by="time")
    found = {file_of(name): label for name, label in zip(source.parts[0].names, source.parts[0].labels.tolist())}
    assert source.classes == ["one", "two"] and found == {"a.avi": 0, "b.avi": 1, "c.avi": -1, "deep/d.avi": 0}
    assert [(item.file, item.reason) for item in source.refused] == [("gone.avi", "no such file")]
    assert source.ignored == 1, "the table itself is no stray file"
    assert not any("class folder" in note for note in source.notes), "folders are no classes there"


def test_a_table_that_is_no_table_is_refused_by_its_line(tmp_path):
    for name in ("a.avi", "b.avi"):
        make_video(tmp_path / name, 24)
    options = {**LOOK, "labels": "labels.csv", "hold_out": SHARES, "by": "time"}
    (tmp_path / "labels.csv").write_text('file,label\na.avi,one\nb.avi,"two\n')
    with pytest.raises(SourceError, match=r"labels\.csv, line 3: .*: mend the quotes"):
        read(tmp_path, **options)
    (tmp_path / "labels.csv").write_bytes("file,label\na.avi,caf\xe9\n".encode("latin-1"))
    with pytest.raises(SourceError, match=r"labels\.csv is not utf-8: byte 0xe9 .* line 2"):
        read(tmp_path, **options)
    (tmp_path / "labels.csv").write_text("")
    with pytest.raises(SourceError, match="needs the columns file and label"):
        read(tmp_path, **options)
    (tmp_path / "labels.csv").write_text("file,label\na.avi,one\nb.avi\n")
    source = read(tmp_path, **options)
    assert [(item.file, item.reason) for item in source.refused] == [("labels.csv:3", "wrong number of fields")]
    assert source.items == 3, "two videos and a bad row, however many clips"


def test_bad_files_are_counted_and_give_no_clip(tmp_path):
    folders(tmp_path)
    (tmp_path / "cat" / "empty.avi").write_bytes(b"")
    (tmp_path / "dog" / "text.mp4").write_text("not a video\n")
    data = make_video(tmp_path / "dog" / "cut.avi", 40).read_bytes()
    (tmp_path / "dog" / "cut.avi").write_bytes(data[: data.index(b"00dc", len(data) // 2)])
    with pytest.raises(VideoProblem, match="truncated"):
        for clip in read_clips(tmp_path / "dog" / "cut.avi", source_of.Look(4, (8, 12), 1)):
            assert clip.pixels.shape == (1, 4, 8, 12), "the first clips are whole: only the end tells"
    source = read(tmp_path, **LOOK, hold_out=SHARES)
    assert sorted((item.file, item.reason) for item in source.refused) == [
        ("cat/empty.avi", "empty file"), ("dog/cut.avi", "truncated"), ("dog/text.mp4", "not a video"),
    ]  # fmt: skip
    assert not any("cut" in name for part in source.parts for name in part.names)


def test_a_limit_is_told(tmp_path):
    source = read(folders(tmp_path), **LOOK, most=2, hold_out=SHARES)
    assert sum(len(part.labels) for part in source.parts) == 16
    assert source.notes[0].startswith("8 videos gave 2 clips each; what may follow was not looked at: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no validation or test: .* never split at random"),
        ({"hold_out": {"validation": 0.1}}, "no test"),
        ({"hold_out": {"validation": 0.5, "test": 0.5}}, "leave some to train"),
        ({"hold_out": SHARES, "by": "tiem"}, "unknown cut 'tiem' .did you mean 'time'"),
        ({"hold_out": SHARES, "stride": 0}, "stride 0"),
        ({"hold_out": SHARES, "hop": 0}, "hop 0"),
        ({"hold_out": SHARES, "labels": "none.csv"}, "none.csv is missing"),
        ({"parts": {"test": "x"}, "hold_out": SHARES}, "there are train, validation, test"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, said):
    make_video(tmp_path / "a.avi")
    with pytest.raises(SourceError, match=said):
        read(tmp_path, **LOOK, **options)
