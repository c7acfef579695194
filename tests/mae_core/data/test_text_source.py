"""Text as a source: splits that do not overlap, a vocabulary of train alone, and the answers to every hostile file."""

import csv
import json
import tracemalloc

import numpy as np
import pytest

from mae_core.data.pack import Rules, pack
from mae_core.data.quarantine import TooManyRefused
from mae_core.data.sources import SourceError
from mae_core.data.sources.text import read
from mae_core.data.tokens import tokenizer_of

SHARES = {"validation": 0.1, "test": 0.2}
REFUSED = {
    "invalid-utf8.txt": "invalid-utf8.txt: not UTF-8: byte 14",
    "empty.txt": "empty.txt: empty file",
    "shorter-than-context.txt": "shorter than one context: 3 tokens, the context is 8",
}
ACCEPTED = {"crlf-bom.txt", "long-line.txt", "broken.jsonl"}
SERIES = {"windows-truncated.json", "windows-bad.json"}
"""Anomaly windows of time series: no text."""


def decoded(source, part):
    tokenizer = tokenizer_of(source.described["tokens"])
    return [tokenizer.decode([i for i in row if i >= 0]) for row in part.samples.tolist()]


def parts_of(source):
    return {part.name: part for part in source.parts}


def test_the_lists_cover_every_hostile_text(shared_data):
    with open(shared_data / "broken" / "EXPECTED.tsv") as file:
        named = {row["file"][5:] for row in csv.DictReader(file, delimiter="\t") if row["file"].startswith("text/")}
    assert named == set(REFUSED) | ACCEPTED | SERIES


@pytest.mark.parametrize(("name", "words"), REFUSED.items())
def test_hostile_texts_are_refused_with_a_reason(shared_data, name, words):
    with pytest.raises(SourceError, match=words):
        read(
            shared_data / "broken" / "text",
            {"train": [name], "validation": ["crlf-bom.txt"], "test": ["crlf-bom.txt"]},
            8,
        )


def test_one_hostile_file_among_good_ones_is_set_aside(shared_data):
    folder = shared_data / "broken" / "text"
    source = read(folder, {"train": ["crlf-bom.txt", "invalid-utf8.txt", "empty.txt"]}, 2, hold_out=SHARES)
    assert [(row.file, row.reason) for row in source.refused] == [
        ("invalid-utf8.txt", "not UTF-8"),
        ("empty.txt", "empty file"),
    ]


def test_wrong_bytes_are_unknown_tokens_where_that_is_asked(shared_data):
    parts = {"train": ["invalid-utf8.txt"], "validation": ["crlf-bom.txt"], "test": ["crlf-bom.txt"]}
    source = read(shared_data / "broken" / "text", parts, 4, invalid="replace")
    assert (parts_of(source)["train"].samples == 0).sum() == 3
    assert any("tokens of train are unknown" in note for note in source.notes)


def test_the_byte_order_mark_is_no_character(shared_data):
    source = read(
        shared_data / "broken" / "text", {name: ["crlf-bom.txt"] for name in ("train", "validation", "test")}, 18
    )
    assert decoded(source, parts_of(source)["train"]) == ["line one\nline two\n"]


def test_memory_is_in_proportion_to_a_long_line(shared_data):
    tracemalloc.start()
    source = read(shared_data / "broken" / "text", {"train": ["long-line.txt"]}, 100, hold_out=SHARES)
    assert tracemalloc.get_traced_memory()[1] < 60e6, "1 MB of text, 28 bytes a character while it is encoded"
    tracemalloc.stop()
    assert {name: len(part.labels) for name, part in parts_of(source).items()} == {
        "train": 7000,
        "validation": 1000,
        "test": 2000,
    }


def test_bad_lines_are_counted_by_kind(shared_data):
    parts = {name: ["broken.jsonl"] for name in ("train", "validation", "test")}
    source = read(shared_data / "broken" / "text", parts, 6, label="label")
    kinds = {row.reason for row in source.refused}
    assert kinds == {"a value that is not finite", "blank line", "no text", "not JSON", "wrong type"}
    assert len(source.refused) == 15, "five of each part"
    assert parts_of(source)["train"].labels.tolist() == [0] and source.classes == ["0"]
    assert parts_of(source)["train"].samples[0, 4:].tolist() == [-1, -1], "padded"


def test_lone_surrogates_are_set_aside_by_their_line(tmp_path):
    rows = [{"text": f"text {i} \U0001f600", "kind": "a"} for i in range(20)]
    rows[3]["text"], rows[5]["kind"] = "cut \ud83d", "\ude00"
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = read(tmp_path, {"train": ["a.jsonl"]}, 8, hold_out=SHARES, label="kind")
    assert [(item.file, item.reason) for item in source.refused] == [
        ("a.jsonl:4", "half a character"),
        ("a.jsonl:6", "half a character"),
    ]
    assert "U+D83D at character 4 of the text" in source.refused[0].detail
    assert "U+DE00 at character 0 of the label" in source.refused[1].detail
    assert sum(len(part.labels) for part in source.parts) == 18 and source.classes == ["a"]


def test_held_out_text_comes_from_the_end_and_overlaps_nothing(tmp_path):
    text = "".join(chr(0x4E00 + i) for i in range(1000))
    (tmp_path / "a.txt").write_text(text)
    source = read(tmp_path, {"train": ["a.txt"]}, 10, stride=3, hold_out=SHARES, vocabulary=None)
    found = parts_of(source)
    assert list(found) == ["train", "validation", "test"]
    seen = set("".join(decoded(source, found["train"])))
    assert seen <= set(text[:700]) and len(found["train"].labels) == 231 and found["train"].names[1] == "a.txt[3]"
    assert source.described["tokens"]["known"] == text[:700], "characters of the held out parts are unknown"
    assert (found["test"].samples == 0).all() and len(found["test"].labels) == 20
    assert "200 tokens of test are unknown: characters that train lacks, or has too seldom" in source.notes
    assert any("tokens of train at the end of a file fill no window" in note for note in source.notes) == (690 % 3 != 0)


def write_rows(path, count=60):
    lines = [f'"query number {i} of kind {i % 3}",{"abc"[i % 3]}' for i in range(count)]
    path.write_text("text,kind\n" + "\n".join(lines) + "\n")


def test_rows_are_held_out_evenly_by_their_hash(tmp_path):
    write_rows(tmp_path / "a.csv")
    source = read(tmp_path, {"train": ["a.csv"]}, 16, hold_out=SHARES, label="kind", tokens="bpe", vocabulary=300)
    found = parts_of(source)
    assert {name: np.bincount(part.labels).tolist() for name, part in found.items()} == {
        "train": [14, 14, 14], "validation": [2, 2, 2], "test": [4, 4, 4],
    }  # fmt: skip
    texts = {name: set(decoded(source, part)) for name, part in found.items()}
    assert not texts["train"] & texts["test"] and source.classes == ["a", "b", "c"]
    again = read(tmp_path, {"train": ["a.csv"]}, 16, hold_out=SHARES, label="kind", tokens="bpe", vocabulary=300)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(source.parts, again.parts))


def test_long_rows_are_cut_and_counted(tmp_path):
    write_rows(tmp_path / "a.csv")
    source = read(tmp_path, {name: ["a.csv"] for name in ("train", "validation", "test")}, 8, label="kind")
    assert "60 of 60 texts of train are longer than 8 tokens and are cut" in source.notes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"context": 1}, "2 tokens or more"),
        ({"tokens": "byte"}, "unknown tokens 'byte'"),
        ({"invalid": "ignore"}, "there are refuse, replace"),
        ({"hold_out": {"test": 0.1}}, "no validation: name its files"),
        ({"hold_out": {"validation": 0.5, "test": 0.5}}, "leave some to train"),
        ({"hold_out": {"validation": 0.5, "tset": 0.2}}, "text has train"),
        ({"parts": {"train": ["none.txt"]}}, "none.txt is missing"),
        ({"parts": {"train": ["a.txt", "a.csv"]}}, "do not mix"),
    ],
)
def test_what_is_asked_for_wrongly_is_said(tmp_path, changes, words):
    (tmp_path / "a.txt").write_text("some words " * 30)
    write_rows(tmp_path / "a.csv")
    with pytest.raises(SourceError, match=words):
        read(tmp_path, **{"parts": {"train": ["a.txt"]}, "context": 8, "hold_out": SHARES, **changes})


def test_bad_files_are_a_share_of_the_files_and_not_of_the_windows(tmp_path):
    letters = np.random.default_rng(0).choice(list("abcdefgh \n"), 4000)
    (tmp_path / "good.txt").write_text("".join(letters))
    for i in range(4):
        (tmp_path / f"{i}.txt").write_bytes(b"caf\xe9 " * 100)
    source = read(tmp_path, {"train": ["*.txt"]}, 16, hold_out=SHARES)
    assert source.items == 5
    with pytest.raises(TooManyRefused, match=r"4 of 5 items are bad .*4 × not UTF-8"):
        pack(source, Rules("text", "text", "CC0", "a test", True, {}), tmp_path / "out")
