"""Series from the UCR form and from clocks: disorder is mended by a stated rule and counted."""

import json
from datetime import datetime, timedelta

import numpy as np
import pytest

from mae_core.data.anomaly_windows import read_windows
from mae_core.data.pack import Rules, pack
from mae_core.data.quarantine import TooManyRefused
from mae_core.data.sources import SourceError, clock, ucr


def test_ucr_lines(tmp_path):
    (tmp_path / "a").write_text("2\t1\t2\t3\n-1\t4\t5\n2\tx\t1\n1\t1\tinf\n1\tnan\tnan\n")
    (tmp_path / "b").write_text("10\t7\t8\t9\n")
    source = ucr.read(tmp_path, {"train": "a", "test": "b"})
    train, test = source.parts
    assert source.classes == ["-1", "2", "10"] and train.labels.tolist() == [1, 0] and test.labels.tolist() == [2]
    np.testing.assert_array_equal(train.samples, [[[1, 2, 3]], [[4, 5, np.nan]]])
    assert [(item.file, item.reason) for item in source.refused] == [
        ("a:3", "not a number"), ("a:4", "not finite"), ("a:5", "no values"),
    ]  # fmt: skip
    assert train.names == ["a:1", "a:2"]


def test_ucr_length_and_missing_split(tmp_path):
    (tmp_path / "a").write_text("1\t1\t2\t3\n")
    source = ucr.read(tmp_path, {"all": "a"}, length=2)
    assert source.parts[0].samples.shape == (1, 1, 2) and source.notes == ["1 series were cut to 2 moments"]
    with pytest.raises(SourceError, match=r"ECG5000_TEST\.tsv is missing: a split that was not published"):
        ucr.read(tmp_path, {"train": "a", "test": "ECG5000_TEST.tsv"})


def test_a_class_is_a_number_however_it_is_written(tmp_path):
    (tmp_path / "a").write_text("1\t1\t2\n2\t1\t3\n0.50\t1\t4\n")
    (tmp_path / "b").write_text("1.0000000e+00\t1\t2\n2.0\t1\t3\n5e-1\t1\t4\n")
    source = ucr.read(tmp_path, {"train": "a", "test": "b"})
    assert source.classes == ["0.5", "1", "2"]
    assert [part.labels.tolist() for part in source.parts] == [[1, 2, 0], [1, 2, 0]]


def write(path, rows, header="timestamp,value"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_disorder_repeats_gaps_and_bad_dates_are_counted(shared_data):
    one = clock.record(shared_data / "broken" / "csv" / "timestamps-disordered.csv", ["value"], "timestamp")
    assert [item.reason for item in one.refused] == ["unreadable row"] and "not a date" in one.refused[0].detail
    words = " ".join(one.notes)
    assert (
        "1 time stamps come before" in words and "1 time stamps are repeated" in words and "have no row: gaps" in words
    )
    assert one.step == 3600
    np.testing.assert_array_equal(one.values[0, :3], [1, 3, 3])  # 02:00 is there twice, 2 and 4: averaged
    assert np.isnan(one.values[0, 3:48]).all() and one.values[0, 48] == 5


def test_real_recordings_with_known_disorder(shared_data):
    folder = shared_data / "nab" / "data" / "realKnownCause"
    one = clock.record(folder / "machine_temperature_system_failure.csv", ["value"], "timestamp")
    assert any("come before the one above" in note for note in one.notes) and one.step == 300


def test_windows_keep_to_their_split(tmp_path):
    rows = [f"2024-01-01 {h // 60:02d}:{h % 60:02d}:00,{h}" for h in range(100)]
    write(tmp_path / "x.csv", rows)
    source = clock.read(tmp_path, ["x.csv"], ["value"], "timestamp", window=10, stride=5, splits=(0.5, 0.2))
    spans = {part.name: (part.samples.min(), part.samples.max()) for part in source.parts}
    assert spans == {"train": (0, 49), "validation": (50, 69), "test": (70, 99)}
    assert source.parts[0].samples.shape == (9, 1, 10) and source.classes == []
    starts = {part.name: part.samples[:, 0, 0].tolist() for part in source.parts[1:]}
    assert starts == {"validation": [50, 60], "test": [70, 80, 90]}, "windows that share moments are no two samples"
    (wide,) = clock.read(tmp_path, ["x.csv"], ["value"], "timestamp", window=5, stride=10, splits=(0.5, 0.2)).parts[2:]
    assert wide.samples[:, 0, 0].tolist() == [70, 80, 90]


def test_values_that_are_missing_or_no_values(tmp_path):
    write(
        tmp_path / "x.csv",
        [f"2024-01-01 00:0{i}:00,{v}" for i, v in enumerate(["1", "NA", "?", "", "inf", "six", "7"])],
    )
    one = clock.record(tmp_path / "x.csv", ["value"], "timestamp")
    assert [item.reason for item in one.refused] == ["not finite", "unreadable row"]
    np.testing.assert_array_equal(one.values[0], [1, np.nan, np.nan, np.nan, np.nan, np.nan, 7])


def test_rows_with_another_number_of_fields_are_set_aside(tmp_path):
    """A field that is too many or too few may have shifted all behind it."""
    rows = [
        "2024-01-01 00:00:00,1,5",
        "2024-01-01 00:01:00,2,6,7",
        "",
        "2024-01-01 00:02:00,3",
        "2024-01-01 00:03:00,4,8",
    ]
    one = clock.record(write(tmp_path / "x.csv", rows, "timestamp,value,other"), ["value"], "timestamp")
    assert [item.file for item in one.refused] == ["x.csv:3", "x.csv:5"]
    assert {item.reason for item in one.refused} == {"wrong number of fields"}
    assert one.values[0, [0, -1]].tolist() == [1, 4] and one.step == 180


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("time,value", ["a,1"], "no column timestamp: it has time, value"),
        ("timestamp,value", ["2024-01-01,1"], "holds 1 readable rows"),
        ("timestamp,value", ["2024-01-01,1,"] * 3, "needs two; x.csv:2 was set aside: 3 fields instead of 2"),
        ("timestamp,value", ["2024-01-01,1", "2024-01-01,2"], "same time stamp"),
        (
            "timestamp,value",
            ["1024-01-01,1", "2024-01-01,1", "2024-01-01 00:00:01,2", "2024-01-01 00:00:02,2"],
            "is one of them wrong",
        ),
    ],
)
def test_hopeless_files_are_refused(tmp_path, header, rows, words):
    with pytest.raises(SourceError, match=words):
        clock.record(write(tmp_path / "x.csv", rows, header), ["value"], "timestamp")


def test_a_stray_quote_is_an_error_with_its_line_and_no_row(tmp_path):
    rows = [f"2024-01-01 {i // 60:02d}:{i % 60:02d}:00,{i}" for i in range(100)]
    rows[40] = rows[40].replace(",", ',"')
    with pytest.raises(SourceError, match=r"x\.csv, line 42: .*: mend the quotes"):
        clock.record(write(tmp_path / "x.csv", rows), ["value"], "timestamp")
    rows[60] = rows[60].replace(",", ',"')
    with pytest.raises(SourceError, match=r"x\.csv, line 42: .*: mend the quotes"):
        clock.record(write(tmp_path / "x.csv", rows), ["value"], "timestamp")


@pytest.mark.parametrize("line", ["timestamp,value,T °C", "2024-01-01,1,9 °"])
def test_a_file_that_is_not_utf_8_is_named_with_the_line(tmp_path, line):
    text = "timestamp,value,T\n" if line.startswith("2024") else ""
    (tmp_path / "x.csv").write_bytes(f"{text}{line}\n".encode("latin-1"))
    number = 2 if text else 1
    with pytest.raises(SourceError, match=rf"x\.csv is not utf-8: byte 0xb0 .* line {number}; convert"):
        clock.record(tmp_path / "x.csv", ["value"], "timestamp")


def test_what_is_quoted_of_a_bad_row_is_short_and_huge_numbers_are_none(tmp_path):
    rows = ["2024-01-01,1", f"{'x' * 5000},2", f"2024-01-02,{'y' * 5000}", "2024-01-03,1e300", "2024-01-04,4"]
    one = clock.record(write(tmp_path / "x.csv", rows), ["value"], "timestamp")
    assert [item.reason for item in one.refused] == ["unreadable row", "unreadable row", "not finite"]
    assert max(len(item.detail) for item in one.refused) < 100
    huge = write(tmp_path / "y.csv", [f"{10**30},1,1,1,1", *(f"2024,1,1,{h},1" for h in range(3))], "y,m,d,h,value")
    assert [item.reason for item in clock.record(huge, ["value"], ["y", "m", "d", "h"]).refused] == ["unreadable row"]


def test_rows_that_meet_on_a_tick_are_not_called_repeated(tmp_path):
    minutes = ["00:00", "01:00", "01:00", "02:00", "02:10", "03:00", "04:00", "05:00"]
    one = clock.record(
        write(tmp_path / "x.csv", [f"2024-01-01 00:{m},{i}" for i, m in enumerate(minutes)]), ["value"], "timestamp"
    )
    assert one.notes == [
        "1 time stamps are repeated: their values are averaged",
        "1 time stamps fell on the tick of another (60 s): their values are averaged",
    ]
    assert one.values[0].tolist() == [0, 1.5, 3.5, 5, 6, 7]


def test_a_fast_clock_and_a_calendar_lose_no_row(tmp_path):
    start = datetime(2024, 1, 1)
    rows = [f"{(start + timedelta(milliseconds=i)).isoformat()},{i}" for i in range(20_000)]
    one = clock.record(write(tmp_path / "x.csv", rows), ["value"], "timestamp")
    assert one.step == 0.001 and not one.notes and one.values[0].tolist() == list(range(20_000))
    rows = [f"{1949 + i // 12}-{i % 12 + 1:02d}-01,{i}" for i in range(144)]
    (tmp_path / "marked.json").write_text(json.dumps({"y.csv": [["1950-03-01", "1950-03-01"]]}))
    write(tmp_path / "y.csv", rows)
    source = clock.read(tmp_path, ["y.csv"], ["value"], "timestamp", 6, 6, splits=(0.5, 0.2), anomalies="marked.json")
    assert source.parts[0].samples.ravel().tolist() == list(range(72)) and not source.notes
    assert source.parts[0].labels.tolist() == [0, 0, 1] + [0] * 9


def test_bad_rows_are_a_share_of_the_rows_and_not_of_the_windows(tmp_path):
    def prepared(every):
        rows = [f"2024-01-01 {i // 60:02d}:{i % 60:02d}:00,{'x' if i % every == 7 else i}" for i in range(1200)]
        write(tmp_path / "x.csv", rows)
        source = clock.read(tmp_path, ["x.csv"], ["value"], "timestamp", 24, 24)
        assert source.items == 1200
        return pack(source, Rules("clock", "series", "CC0", "a test", True, {}), tmp_path / "out")

    assert prepared(60)["quarantined"] == 20, "20 of 1,200 rows, however few windows they make"
    with pytest.raises(TooManyRefused, match="120 of 1200 items are bad"):
        prepared(10)


def test_splits_and_windows_that_leave_nothing(tmp_path):
    write(tmp_path / "x.csv", [f"2024-01-01 00:{i:02d}:00,{i}" for i in range(20)])
    with pytest.raises(SourceError, match="which leave something for test"):
        clock.read(tmp_path, ["x.csv"], ["value"], "timestamp", 5, 5, splits=(0.8, 0.2))
    with pytest.raises(SourceError, match="no window of 15 ticks fits into validation"):
        clock.read(tmp_path, ["x.csv"], ["value"], "timestamp", 15, 5, splits=(0.8, 0.1))


def test_windows_that_are_cut_off_are_refused_with_the_position(shared_data):
    with pytest.raises(SourceError, match=r"windows-truncated\.json is no whole JSON: .* at line 1, column \d+"):
        read_windows(shared_data / "broken" / "text" / "windows-truncated.json")


def test_windows_that_mean_nothing_are_named_by_their_series(shared_data):
    marked = read_windows(shared_data / "broken" / "text" / "windows-bad.json")
    assert marked.stretches == {"a.csv": [], "missing.csv": [], "b.csv": []}
    assert [item.file for item in marked.refused] == ["windows-bad.json: a.csv", "windows-bad.json: b.csv"]
    assert "ends (2014-02-19 10:50:00) before it begins" in marked.refused[0].detail
    assert "yesterday" in marked.refused[1].detail


def test_windows_of_a_clock_are_labelled_by_marked_stretches(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "x.csv", [f"2024-01-01 {hour:02}:00:00,{hour}" for hour in range(20)])
    write(tmp_path / "data" / "y.csv", [f"2024-01-01 {hour:02}:00:00,{hour}" for hour in range(20)])
    stretch = ["2024-01-01 02:30:00", "2024-01-01 05:00:00"]
    (tmp_path / "marked.json").write_text(json.dumps({"x.csv": [stretch, ["now", "then"]], "gone.csv": []}))
    options = {"window": 2, "stride": 2, "splits": (0.5, 0.2), "anomalies": "marked.json"}
    source = clock.read(tmp_path, ["data/x.csv", "data/y.csv"], ["value"], "timestamp", **options)
    assert source.classes == ["normal", "anomaly"]
    assert (
        list(source.parts[0].labels) == [0, 1, 1, 0, 0] + [-1] * 5
    )  # hours 2-3 and 4-5 meet the stretch; y.csv was never looked at
    assert [item.file for item in source.refused] == ["marked.json: x.csv"]
    assert source.notes[0] == "1 series with marked anomalies are not among the files, gone.csv first"


def test_windows_of_a_clock_are_labelled_by_a_column_of_its_own(tmp_path):
    rows = [f"2024-01-01 00:00:{second:02};{second};{int(second in (3, 12))}.0" for second in range(20)]
    write(tmp_path / "x.csv", rows, "timestamp;value;anomaly")
    write(tmp_path / "y.csv", [row.rpartition(";")[0] for row in rows], "timestamp;value")
    options = {"window": 2, "stride": 2, "splits": (0.5, 0.2), "anomaly_column": "anomaly", "delimiter": ";"}
    source = clock.read(tmp_path, ["x.csv", "y.csv"], ["value"], "timestamp", **options)
    assert source.classes == ["normal", "anomaly"]
    assert [list(part.labels) for part in source.parts] == [
        [0, 1, 0, 0, 0] + [0] * 5,
        [0, 1] + [0] * 2,
        [0] * 3 + [0] * 3,
    ]
    assert source.parts[0].samples[1].tolist() == [[2, 3]]
    with pytest.raises(SourceError, match="two ways to say what is anomalous"):
        clock.read(tmp_path, ["x.csv"], ["value"], "timestamp", anomalies="a.json", **options)


def test_any_mark_but_0_is_an_anomaly_and_none_is_not(tmp_path):
    marks = ["0", "-1", "0.5", "", "NaN", "2", "0.0", "-0", "0", "1"]
    rows = [f"2024-01-01 00:00:0{second},{second},{mark}" for second, mark in enumerate(marks)]
    path = write(tmp_path / "x.csv", rows, "timestamp,value,anomaly")
    one = clock.record(path, ["value"], "timestamp", "anomaly")
    assert np.flatnonzero(one.anomalous).tolist() == [1, 2, 5, 9] and not one.refused


def test_a_column_of_marks_that_no_file_has_is_refused(tmp_path):
    for name in ("x.csv", "y.csv"):
        write(tmp_path / name, [f"2024-01-01 00:00:{second:02},1,0" for second in range(20)], "timestamp,value,anomaly")
    with pytest.raises(
        SourceError, match=r"has a column 'anomly' \(did you mean 'anomaly'\?\): they have timestamp, value"
    ):
        clock.read(tmp_path, ["x.csv", "y.csv"], ["value"], "timestamp", 2, 2, anomaly_column="anomly")
