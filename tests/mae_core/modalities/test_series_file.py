"""Series as files: read, written, and mended where they have gaps."""

import numpy as np
import pytest

from mae_core.modalities.series_file import mend_series, read_series, write_series

NAN = float("nan")


def test_several_channels_are_fields_and_moments_are_lines():
    data = b"\xef\xbb\xbftemperature;pressure\n1;10\n2;\n3;30\n"
    found = read_series(data, 2, 2)
    np.testing.assert_array_equal(found, [[[1, 2], [10, NAN]], [[3, NAN], [30, NAN]]])
    assert found.dtype == np.float32


@pytest.mark.parametrize("mark", ["\t", ",", ";"])
def test_a_moment_of_which_all_channels_are_missing_keeps_its_place(mark):
    data = f"1{mark}10\n{mark}\n  \n3{mark}30\n".encode()
    found = read_series(data, 2, 4)
    np.testing.assert_array_equal(found, [[[1, NAN, 3, NAN], [10, NAN, 30, NAN]]])
    filled = np.array([[[9, 2, 9, 9], [9, 20, 9, 9]]], np.float32)
    assert mend_series(data, filled, [1, 1]) == f"1{mark}10\n2{mark}20\n3{mark}30\n".encode()


@pytest.mark.parametrize(("shape", "channels"), [((3, 1, 5), 1), ((2, 4, 3), 4)])
def test_what_is_written_is_read(shape, channels):
    raw = np.random.default_rng(0).normal(size=shape).astype(np.float32).round(3)
    raw[0, 0, 1] = NAN
    np.testing.assert_array_equal(read_series(write_series(raw, [1] * channels).encode(), channels, shape[2]), raw)


def test_gaps_are_filled_and_nothing_else_changes():
    data = b"1.50,,4\n\n5\t \t6\t7\n"
    filled = np.array([[[9, 2.25, 9, 9]], [[9, 8, 9, 9]]], np.float32)
    assert mend_series(data, filled, [1]) == b"1.50,2.25,4\n5\t8\t6\t7\n"
    several = np.array([[[9, 2], [9, 9]]], np.float32)
    assert mend_series(b"x,y\n1,10\n,20\n", several, [1, 1]) == b"x,y\n1,10\n2,20\n"


@pytest.mark.parametrize(
    ("data", "channels", "words"),
    [
        (b"1,2\n3,x\n", 1, "line 2: '3,x' holds something else"),
        (b"1,inf\n", 1, "line 1"),
        (b"\xff\xfe\xfa", 1, "no UTF-8 text"),
        (b"\n \n", 1, "empty"),
        (b"a,b\n", 2, "no numbers"),
        (b"1,2\n\n1,2,3\n", 2, "line 3 has 3 fields, this model takes one for each of 2 channels"),
    ],
)
def test_what_cannot_be_read_is_named(data, channels, words):
    with pytest.raises(ValueError, match=words):
        read_series(data, channels, 4)


def test_digits_show_the_spread_of_their_channel():
    data = b"1000004.5,10.5\n,\n"
    filled = np.array([[[0, 1000006.25], [0, 1.23456789]]], np.float32)
    assert mend_series(data, filled, [2, 1]) == b"1000004.5,10.5\n1000006.25,1.23457\n"
    raw = (5412345.5 + np.arange(6).reshape(1, 1, 6) / 2).astype(np.float32)
    np.testing.assert_array_equal(read_series(write_series(raw, [2.0]).encode(), 1, 6), raw)
