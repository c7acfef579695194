"""Sounds in folders: classes and splits from names, classes from folders, and what is set aside."""

import shutil

import numpy as np
import pytest
import soundfile

from mae_core.data.sources import SourceError
from mae_core.data.sources.audio import read
from mae_core.modalities.audio_signal import FLOOR

LOOK = {"rate": 8000, "frames": 16, "mels": 20}


def tone(path, hertz=440.0, seconds=0.2, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate), rate)


def named(folder):
    for digit in range(2):
        for speaker in ("ann", "bob"):
            for index in range(3):
                tone(folder / f"{digit}_{speaker}_{index}.wav", 300 + 50 * digit)
    return folder


BY_NAME = {"pattern": "{digit}_{speaker}_{index}.wav", "label": "digit"}


def test_names_say_class_and_split(tmp_path):
    source = read(
        named(tmp_path), **LOOK, **BY_NAME, where={"test": {"index": [0]}, "validation": {"speaker": ["bob"]}}
    )
    parts = {part.name: part for part in source.parts}
    assert {name: len(part.labels) for name, part in parts.items()} == {"train": 4, "test": 4, "validation": 4}
    assert parts["test"].names == ["0_ann_0.wav", "0_bob_0.wav", "1_ann_0.wav", "1_bob_0.wav"]
    assert parts["test"].labels.tolist() == [0, 0, 1, 1] and source.classes == ["0", "1"]
    assert parts["train"].samples.shape == (4, 16, 20) and parts["train"].samples.dtype == np.float32
    assert source.described["length"] == "pad" and source.described["spectrum"]["hop"] == 128


def test_all_conditions_of_a_split_have_to_hold(tmp_path):
    source = read(named(tmp_path), **LOOK, **BY_NAME, where={"test": {"index": [0], "speaker": ["bob"]}})
    assert {part.name: len(part.labels) for part in source.parts} == {"train": 10, "test": 2}


def test_a_name_that_does_not_fit_is_refused(tmp_path):
    tone(named(tmp_path) / "other.wav")
    source = read(tmp_path, **LOOK, **BY_NAME)
    assert [(item.file, item.reason) for item in source.refused] == [("other.wav", "name does not fit the pattern")]


def test_class_folders(tmp_path):
    for name in ("cat/a.wav", "cat/deep/b.flac", "dog/c.ogg", "unlabelled/d.wav", "stray.wav"):
        tone(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "bird").mkdir()
    source = read(tmp_path, **LOOK)
    (part,) = source.parts
    assert source.classes == ["cat", "dog"] and dict(zip(part.names, part.labels)) == {
        "cat/a.wav": 0, "cat/deep/b.flac": 0, "dog/c.ogg": 1, "unlabelled/d.wav": -1,
    }  # fmt: skip
    empty, stray = source.notes
    assert empty == "class folder 'bird' of part all holds no sounds"
    assert source.ignored == 2 and stray.startswith("1 sounds lie beside the class folders")
    assert not read(tmp_path, **LOOK, pattern="{name}.wav", label="name").notes, "folders are no classes there"


def test_official_parts(tmp_path):
    for name in ("tr/cat/a.wav", "te/cat/b.wav"):
        tone(tmp_path / name)
    source = read(tmp_path, **LOOK, parts={"train": "tr", "test": "te"})
    assert [(part.name, part.names) for part in source.parts] == [
        ("train", ["tr/cat/a.wav"]),
        ("test", ["te/cat/b.wav"]),
    ]


def test_hostile_sounds_are_set_aside_and_awkward_ones_are_told_of(tmp_path, shared_data):
    shutil.copytree(shared_data / "broken" / "audio", tmp_path / "sounds")
    source = read(tmp_path / "sounds", **LOOK, unlabelled="loose")
    assert {item.file: item.reason for item in source.refused} == {
        "text.wav": "not a sound", "empty.wav": "empty file", "zero-frames.wav": "no samples", "zero-rate.wav": "sample rate",
        "zero-channels.wav": "channel count", "float32-nan.wav": "samples are not finite",
    }  # fmt: skip
    (part,) = source.parts
    assert len(part.names) == 7 and not np.isnan(part.samples).all((1, 2)).any()
    assert (part.samples[part.names.index("silence.wav")] == FLOOR).all(), "no log of zero"
    assert any(note.startswith("1 sounds have channels that cancel out") and "stereo" in note for note in source.notes)
    assert any("2 sounds end before their header says" in note and "3978 are there" in note for note in source.notes)
    assert any("5 sounds are longer than 0.256 s: the rest is cut" in note for note in source.notes)


def test_padding_and_stretching(tmp_path):
    tone(tmp_path / "a" / "x.wav", seconds=0.1)
    padded = read(tmp_path, **LOOK).parts[0].samples[0]
    ends = np.isnan(padded).all(1)
    assert ends.tolist() == [False] * 7 + [True] * 9, "800 samples begin seven hops of 128"
    stretched = read(tmp_path, **LOOK, length="stretch").parts[0].samples[0]
    assert np.isfinite(stretched).all() and np.abs(stretched[5:11] - padded[2:5].mean(0)).max() < 6


def test_sounds_are_made_equally_loud(tmp_path):
    for name, loud in (("loud", 0.5), ("quiet", 0.005)):
        time = np.arange(800) / 8000
        soundfile.write(tmp_path / f"{name}.wav", loud * np.sin(2 * np.pi * 440 * time), 8000, subtype="FLOAT")
    (tmp_path / "a").mkdir()
    for path in tmp_path.glob("*.wav"):
        path.rename(tmp_path / "a" / path.name)
    kept = read(tmp_path, **LOOK)
    assert "level" not in kept.described
    loud, quiet = (kept.parts[0].samples[kept.parts[0].names.index(f"a/{name}.wav")] for name in ("loud", "quiet"))
    assert np.nanmax(loud) - np.nanmax(quiet) == pytest.approx(40, abs=0.1)
    equal = read(tmp_path, **LOOK, level=-25)
    assert equal.described["level"] == -25
    loud, quiet = equal.parts[0].samples
    assert np.nanmax(np.abs(loud - quiet)) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "{digit}.wav"}, "has the fields digit, but not label None"),
        ({"pattern": "{digit}.wav", "label": "speaker"}, "but not label 'speaker'"),
        ({"pattern": "x.wav", "label": "x"}, "needs fields in braces"),
        ({"pattern": "{a}_{a}.wav", "label": "a"}, "each once"),
        ({**BY_NAME, "where": {"test": {"place": ["x"]}}}, "but not place"),
        ({**BY_NAME, "where": {"exam": {"index": [0]}}}, "where makes exam: it may make validation and test"),
        ({**BY_NAME, "parts": {"train": "x"}}, "parts is for folders"),
        ({"label": "digit"}, "give a pattern"),
        ({"parts": {"train": "nowhere"}}, "part train: .*nowhere is not a folder"),
        ({"length": "squeeze"}, "one of pad, stretch"),
        ({"level": 3}, "level is 3: between -60 and 0 dB"),
        ({"mels": 200}, r"bands lie between two lines"),
        ({"high": 5000}, "half the rate, 4000 Hz"),
    ],
)  # fmt: skip
def test_impossible_options(tmp_path, options, message):
    with pytest.raises(SourceError, match=message):
        read(tmp_path, **{**LOOK, **options})


def test_no_folder(tmp_path):
    with pytest.raises(SourceError, match="is not a folder"):
        read(tmp_path / "nowhere", **LOOK)
