"""Benchmark rows: paired ratios with an interval, one schema, a table that shows what was not measured as not measured."""

import json

import numpy as np
import pytest

from benchmarks.rows import Row, compare, paired, publish, ratio_of_means, table


def test_a_ratio_is_paired_within_rounds():
    found = paired([2.0, 20.0, 200.0], [1.0, 10.0, 100.0])
    assert found == pytest.approx((2.0, 2.0, 2.0)), "a slow round is slow for both"


def test_the_interval_holds_the_ratio_and_widens_with_noise():
    calm = paired([1.10, 1.11, 1.09, 1.10, 1.12], [1.0] * 5)
    wild = paired([0.7, 1.5, 1.1, 0.9, 1.9], [1.0] * 5)
    assert calm.low <= calm.ratio <= calm.high and calm.high - calm.low < 0.04
    assert wild.low < 1 < wild.high
    assert paired([1.0, 1.0, 8.0], [1.0] * 3).ratio == pytest.approx(2), "of ratios the geometric mean"


@pytest.mark.parametrize("rounds", [3, 5, 9])
def test_the_interval_covers_what_it_says_at_few_rounds(rounds):
    noise = np.random.default_rng(0).lognormal(np.log(2), 0.1, (2000, rounds))
    found = [paired(one, np.ones(rounds)) for one in noise]
    assert 0.94 < np.mean([one.low <= 2 <= one.high for one in found]) < 0.96


@pytest.mark.parametrize("rounds", [1, 2])
def test_fewer_than_three_rounds_have_no_interval(rounds):
    row = compare("a_vs_b_ms", [3.0, 4.0][:rounds], [2.0, 2.0][:rounds], "here")
    assert row.ratio == pytest.approx([1.5, 3**0.5][rounds - 1]) and (row.low, row.high) == (None, None)


def test_a_round_of_nothing_has_no_interval():
    assert compare("waiting_vs_limit", [0.0, 0.1, 0.1], [0.1] * 3, "here")[3:6] == (0.0, None, None)


@pytest.mark.parametrize("rounds", [([1.0], [1.0, 2.0]), ([], [])])
def test_rounds_that_do_not_match_are_refused(rounds):
    with pytest.raises(ValueError, match="compared round by round"):
        paired(*rounds)


def test_rows_are_written_with_their_schema_and_command(tmp_path, capsys):
    rows = [
        compare("a_vs_b_ms", [3.0] * 3, [2.0] * 3, "python -m benchmarks.a", memory_gb=1.5, mfu=None),
        Row("alone_ms", 1.0, None, None, None, None, 1, "python -m benchmarks.a"),
    ]
    content = json.loads(publish("a", rows, tmp_path).read_text())
    assert content["schema"] == 1 and content["machine"]["torch"]
    first, second = content["rows"]
    assert list(first)[:8] == ["name", "ours", "baseline", "ratio", "low", "high", "n", "command"]
    assert (first["n"], first["facts"]) == (3, {"memory_gb": 1.5, "mfu": None}) and first["ratio"] == pytest.approx(1.5)
    assert second["baseline"] is None
    printed = capsys.readouterr().out
    assert "[1.500, 1.500]" in printed and "memory_gb 1.5" in printed and "mfu –" in printed
    assert table(rows) in printed


def test_the_ratio_is_one_of_sums():
    found = ratio_of_means(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert found.ratio == 1 and found.low <= 1 <= found.high
    assert ratio_of_means(np.array([4.0, 4.0]), np.array([1.0, 1.0]), root=True) == (2.0, 2.0, 2.0)
