"""Tables from delimited text, .npz and scikit-learn: every hostile file gets its answer, nothing is shifted or swallowed."""

import csv as plain_csv
import math

import numpy as np
import pytest

from mae_core.data.dataset import DatasetError, open_dataset
from mae_core.data.delimited import Reading, read_delimited
from mae_core.data.kinds import BadValue, Text, days, guess_kind, number, words_of_days
from mae_core.data.pack import Rules, pack
from mae_core.data.sources import SourceError, csv, npz, sklearn

REFUSED_CSV = {
    "latin1.csv": r"latin1\.csv is not utf-8: byte 0xf8 at offset 13, line 2; .*encoding: latin-1",
    "duplicate-headers.csv": r"more than one column called 'x'",
    "semicolon-decimal-comma.csv": r"one column 'a;b' where ';' seems to separate several: set `delimiter: ';'`",
    "empty.csv": "empty.csv is empty",
    "header-only.csv": "header-only.csv has a header but no rows",
    "mixed-types.csv": r"column 'age' is mixed: 3 of its values read as number, 1 do not, the first in mixed-types\.csv, line 3: 'unknown'",
    "timestamps-disordered.csv": r"column 'timestamp' is mixed: .* line 7: 'not a date'",
}
"""File → what the error says when nothing is declared."""
ACCEPTED_CSV = {
    "ragged.csv", "missing-column.csv", "nan-inf.csv", "utf8-bom.csv", "utf16.csv", "constant-and-all-missing.csv",
    "quoted-newline.csv", "nul-bytes.csv", "huge-numbers.csv", "single-row.csv",
}  # fmt: skip
"""Files with an answer of their own below."""
REFUSED_NPZ = {
    "truncated.npz": "no whole .npz",
    "no-labels.npz": r"no array y: it has X, or set `labels: null`",
    "length-mismatch.npz": "X has 30 rows, y has 25 labels",
    "pickle-canary.npz": "without running what is in it",
    "pickle-canary.pkl": "no whole .npz",
}
RULES = Rules("t", "table", "CC0", "made here", True, {"validation": 0.25, "test": 0.25})


@pytest.fixture(scope="module")
def broken(shared_data):
    return shared_data / "broken"


def read(folder, name, **options):
    return csv.read(folder / "csv", {"all": name}, **options)


def columns(source):
    return [column["name"] for column in source.described["columns"]]


def test_every_file_of_the_list_has_an_answer(broken):
    lines = (broken / "EXPECTED.tsv").read_text().splitlines()
    listed = [row["file"] for row in plain_csv.DictReader(lines, delimiter="\t")]
    assert {f[4:] for f in listed if f.startswith("csv/")} == set(REFUSED_CSV) | ACCEPTED_CSV
    assert {f[4:] for f in listed if f.startswith("npz/")} == set(REFUSED_NPZ) | {"nan-inf.npz"}
    assert not set(REFUSED_CSV) & ACCEPTED_CSV


@pytest.mark.parametrize("name", REFUSED_CSV)
def test_hostile_csv_is_refused_by_name(broken, name):
    with pytest.raises(SourceError, match=REFUSED_CSV[name]):
        read(broken, name)


def test_ragged_rows_are_set_aside_with_line_and_column(broken, tmp_path):
    source = read(broken, "ragged.csv")
    assert source.parts[0].samples.tolist() == [[1, 2, 3], [11, 12, 13]]
    assert [(r.file, r.detail) for r in source.refused] == [
        ("ragged.csv:3", "line 3: 2 fields instead of 3, column 3 (c) is missing"),
        ("ragged.csv:4", "line 4: 4 fields instead of 3, column 4 has no name"),
    ]
    with pytest.raises(ValueError, match="2 of 4 items are bad"):
        pack(source, RULES, tmp_path / "t")


def test_a_missing_column_is_named(broken):
    with pytest.raises(SourceError, match=r"no column 'b'.*: it has a, c"):
        read(broken, "missing-column.csv", kinds={"a": "number", "b": "number", "c": "number"})
    with pytest.raises(SourceError, match=r"no column 'label'"):
        read(broken, "missing-column.csv", label="label")


def test_marks_are_missing_and_infinity_is_not(broken):
    source = read(broken, "nan-inf.csv", missing=["?"])
    assert columns(source) == ["a", "b", "c"]
    np.testing.assert_array_equal(source.parts[0].samples, np.array([[1, np.nan, 3], [np.nan] * 3], np.float32))
    assert [r.file for r in source.refused] == ["nan-inf.csv:3", "nan-inf.csv:4"]
    assert "column 3 (c): 'inf' is infinite" in source.refused[0].detail
    with pytest.raises(SourceError, match=r"column 'c' is mixed: .*line 5: '\?'"):
        read(broken, "nan-inf.csv")


def test_mixed_columns_are_used_as_declared(broken):
    source = read(broken, "mixed-types.csv", missing=["unknown"], kinds={"city": "category", "id": "ignore"})
    assert source.described["columns"] == [
        {"name": "age", "kind": "number"},
        {"name": "city", "kind": "category", "categories": ["17", "Bergen", "Oslo"]},
    ]
    expected = [[34, 2], [math.nan, 1], [41.5, 0], [1000, math.nan]]
    np.testing.assert_array_equal(source.parts[0].samples, np.array(expected, np.float32))
    as_number = read(broken, "mixed-types.csv", kinds={"age": "number", "city": "category"})
    assert [r.detail for r in as_number.refused] == ["line 3, column 2 (age): 'unknown' is no number"]


def test_marks_of_byte_order_are_no_part_of_a_name(broken):
    for name in ("utf8-bom.csv", "utf16.csv"):
        source = read(broken, name)
        assert columns(source) == ["name", "value"] and source.parts[0].samples[:, 1].tolist() == [1, 2]
    assert read(broken, "latin1.csv", encoding="latin-1").described["columns"][0]["categories"][0].startswith("Sm\xf8r")


def test_semicolons_and_decimal_commas(broken):
    source = read(broken, "semicolon-decimal-comma.csv", delimiter=";", decimal=",")
    assert source.parts[0].samples.tolist() == [[1.5, 2.25], [3.75, 4]]
    assert number("1,5", ",") == 1.5
    with pytest.raises(BadValue):
        number("1.234,5", ",")


def test_constant_and_empty_columns_divide_by_nothing(broken, tmp_path):
    source = read(broken, "constant-and-all-missing.csv")
    assert columns(source) == ["k", "x"] and "'m' has no value at all" in source.notes[0]
    info = pack(source, RULES, tmp_path / "t")
    assert info["columns"][0]["std"] == 1 and "constant in train: k" in info["notes"]


def test_quoted_newlines_stay_inside_their_row(broken):
    source = read(broken, "quoted-newline.csv")
    assert source.parts[0].names == ["quoted-newline.csv:2", "quoted-newline.csv:4"] and not source.refused
    assert source.described["columns"][1]["categories"] == ['a "quoted" word', "two\nlines, and a comma"]


def test_a_nul_byte_is_set_aside_with_its_place(broken):
    source = read(broken, "nul-bytes.csv")
    assert source.parts[0].samples.tolist() == [[1, 2]]
    assert source.refused[0] == ("nul-bytes.csv:3", "NUL byte", "line 3, column 1 (a)")


def test_numbers_too_large_are_reported(broken):
    source = read(broken, "huge-numbers.csv")
    assert [r.detail for r in source.refused] == ["line 2, column 1 (a): '1e400' is too large for a float32"]
    assert source.notes == ["column 'a': 2 whole numbers above 2^24 lose digits in float32"]


def test_disordered_dates_are_reported_each(broken):
    source = read(broken, "timestamps-disordered.csv", kinds={"timestamp": "date"})
    (note,) = source.notes
    assert "goes back at line 4 (1 times)" in note and "repeats a date 1 times" in note and "gap after line 5" in note
    assert [r.detail[:34] for r in source.refused] == ["line 7, column 1 (timestamp): 'not"]
    assert (
        words_of_days(days("2024-03-31 02:00:00")) == "2024-03-31 02:00"
        and words_of_days(days("1999-12-31")) == "1999-12-31"
        and words_of_days(days("9999-12-31")) == "9999-12-31"
    )
    assert days("2024-03-31T02:00:00+02:00") == days("2024-03-31")


def test_a_single_row_makes_no_split(broken, tmp_path):
    with pytest.raises(DatasetError, match="is empty; give more samples"):
        pack(read(broken, "single-row.csv", label="label"), RULES, tmp_path / "t")


@pytest.mark.parametrize("name", REFUSED_NPZ)
def test_hostile_npz_is_refused_and_never_run(broken, name, capsys):
    with pytest.raises(SourceError, match=REFUSED_NPZ[name]):
        npz.read(broken / "npz", {"all": name})
    assert "UNPICKLING" not in "".join(capsys.readouterr())


def test_npz_values_that_are_not_finite(broken):
    source = npz.read(broken / "npz", {"all": "nan-inf.npz"}, labels="y")
    assert np.isnan(source.parts[0].samples).sum() == 1 and not np.isinf(source.parts[0].samples).any()
    assert len(source.refused) == 1 and source.refused[0].reason == "infinite value"
    assert (npz.read(broken / "npz", {"all": "no-labels.npz"}, labels=None).parts[0].labels == -1).all()


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)


def test_parts_share_kinds_and_categories_and_labels(tmp_path):
    write(tmp_path, train="1, red, yes\n2, ?, no\n", test="3, blue, yes.\n, red, ?\n")
    options = {"label": "y", "header": False, "names": ["n", "c", "y"], "missing": ["?"], "label_strip": "."}
    source = csv.read(tmp_path, {"train": "train.csv", "test": ["test.csv"]}, **options)
    assert source.classes == ["no", "yes"] and [p.labels.tolist() for p in source.parts] == [[1, 0], [1, -1]]
    np.testing.assert_array_equal(source.parts[0].samples, np.array([[1, 1], [2, np.nan]], np.float32))
    np.testing.assert_array_equal(source.parts[1].samples, np.array([[3, 0], [np.nan, 1]], np.float32))
    write(tmp_path, other="n,c\n1,red\n", first="n,d\n1,red\n")
    with pytest.raises(SourceError, match=r"other\.csv has the columns n, c, first\.csv has n, d"):
        csv.read(tmp_path, {"train": "first.csv", "test": "other.csv"})


def test_names_of_rows_are_left_out_and_said(tmp_path):
    write(tmp_path, a="id,x\n" + "".join(f"name{i},{i}\n" for i in range(300)))
    source = csv.read(tmp_path, {"all": "a.csv"})
    assert columns(source) == ["x"] and "300 different texts" in source.notes[0]
    assert columns(csv.read(tmp_path, {"all": "a.csv"}, kinds={"id": "category"})) == ["id", "x"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('a,b\n1,"2\n', "line 2: unexpected end"),
        ("a,,b\n1,2,3\n", "column 2 has no name"),
        ("x\nword\n", "no usable row"),
    ],
)
def test_other_damage(tmp_path, text, says):
    write(tmp_path, a=text)
    with pytest.raises(SourceError, match=says):
        csv.read(tmp_path, {"all": "a.csv"}, kinds={"x": "number"} if text[0] == "x" else None)
    with pytest.raises(SourceError, match=r"gone\.csv is missing"):
        csv.read(tmp_path, {"all": "gone.csv"})
    with pytest.raises(ValueError, match="give `names`"):
        read_delimited(b"1,2\n", "f", Reading(header=False))


def test_guessing_has_one_rule():
    def guess(*texts):
        return guess_kind("c", [Text("f", i, text) for i, text in enumerate(texts)], {"?"}, ".")

    assert [guess("1", "?", "2e5"), guess("a", "b"), guess("2024-01-01", ""), guess("", "?")] == [
        "number", "category", "date", "ignore",
    ]  # fmt: skip
    assert guess("1_000", "x") == "category"


@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("breast_cancer", (569, 30), 2), ("diabetes", (442, 11), 0), ("wine", (178, 13), 3)]
)
def test_tables_of_scikit_learn(name, shape, classes, tmp_path):
    source = sklearn.read(tmp_path, name)
    assert source.parts[0].samples.shape == shape and len(source.classes) == classes
    info = pack(source, RULES, tmp_path / name)
    assert len(info["columns"]) == shape[1] and info["columns"][0]["kind"] == "number"
    assert open_dataset(tmp_path / name).labelled == bool(classes)
    with pytest.raises(SourceError, match="carries no table"):
        sklearn.read(tmp_path, "titanic")


@pytest.mark.parametrize("value", [1e9, float("inf"), float(np.float32(days("9999-12-31 23:59:59")))])
def test_days_that_no_calendar_has_are_its_ends(value):
    assert words_of_days(value) == "9999-12-31 23:59"
    assert words_of_days(-abs(value)) == "0001-01-01" or value < 1e7
    assert days("0001-01-01") >= -2_921_939 and words_of_days(days("0001-01-01")) == "0001-01-01"
