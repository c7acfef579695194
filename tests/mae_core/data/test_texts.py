"""Bytes to text, rows of files, windows: what is refused says where."""

import numpy as np
import pytest

from mae_core.data.quarantine import Refused
from mae_core.data.sources import SourceError
from mae_core.data.text_rows import Item, read_rows
from mae_core.data.texts import TextProblem, decode_text, padded, windows


def test_marks_and_line_ends_are_no_part_of_a_text():
    assert decode_text(b"\xef\xbb\xbfone\r\ntwo\rthree\n") == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty file"), (b" \n\t", "no text: white space alone"), (b"abc\xff\xfe", r"not UTF-8: byte 3 \(ff\)")],
)
def test_what_is_no_text_is_refused(data, words):
    with pytest.raises(TextProblem, match=words):
        decode_text(data)


def test_wrong_bytes_are_replaced_where_that_is_asked():
    assert decode_text(b"a\xffb", "replace") == "a\ufffdb"


def test_windows_lie_whole_in_a_text():
    assert windows(np.arange(10), 4, 3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    with pytest.raises(TextProblem, match="shorter than one context: 3 tokens, the context is 4"):
        windows(np.arange(3), 4, 4)


def test_rows_are_cut_or_padded():
    assert padded(np.arange(2), 4).tolist() == [0, 1, -1, -1] and padded(np.arange(9), 3).tolist() == [0, 1, 2]


def rows(path, text="text", label="label"):
    return list(read_rows(path, path.name, text, label, "refuse"))


def test_each_bad_line_of_jsonl_is_named_with_its_kind(shared_data):
    found = rows(shared_data / "broken" / "text" / "broken.jsonl")
    assert found[0] == Item("fine", "broken.jsonl:1", "0")
    said = {row.file: row.reason for row in found[1:] if isinstance(row, Refused)}
    assert said == {
        "broken.jsonl:2": "not JSON",
        "broken.jsonl:3": "blank line",
        "broken.jsonl:4": "wrong type",
        "broken.jsonl:5": "no text",
        "broken.jsonl:6": "a value that is not finite",
    }


@pytest.mark.parametrize(
    "line", ["[1]", '{"text": " "}', '{"text": "a", "label": 1.5}', '{"text": "a", "label": true}']
)
def test_other_bad_objects(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n' + line)
    good, bad = rows(tmp_path / "a.jsonl")
    assert good == Item("good", "a.jsonl:1", None) and isinstance(bad, Refused) and bad.file == "a.jsonl:2"


def test_columns_with_quoted_newlines_and_bad_rows(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'label,text\r\nx,"two\r\nlines, one"\r\ny\r\n\r\n,no label\r\nz, \r\n')
    found = rows(tmp_path / "a.csv")
    assert found[0] == Item("two\nlines, one", "a.csv:3", "x")
    assert [type(row).__name__ for row in found] == ["Item", "Refused", "Refused", "Item", "Refused"]
    assert [row.reason for row in found if isinstance(row, Refused)] == [
        "wrong number of fields",
        "blank line",
        "no text",
    ]
    assert found[3].label is None


def test_tabs_part_the_columns_of_tsv(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\na, b\tx\n")
    assert rows(tmp_path / "a.tsv") == [Item("a, b", "a.tsv:2", "x")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n", "no column text, label: it has a, b"),
        (b"", "empty file"),
        (b'text,label\n"a', "line"),
        (b"\xff", "byte 0"),
    ],
)
def test_files_that_cannot_be_read_at_all(tmp_path, content, words):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(SourceError, match=words):
        rows(tmp_path / "a.csv")
