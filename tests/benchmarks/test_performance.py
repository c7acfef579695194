"""The page of speed says what was measured: gains in the direction that is better, aims met or missed, and nothing else."""

import json

import pytest

from benchmarks import performance, results


def row(name, ours, baseline, low=None, high=None, n=3):
    ratio = None if baseline is None else ours / baseline
    facts = {"name": name, "ours": ours, "baseline": baseline, "ratio": ratio, "low": low, "high": high, "n": n}
    return {**facts, "command": "python -m benchmarks.step", "facts": {}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a_ours_bf16_vs_vitmae_eager_fp32_cpu_s_per_step", (2.0, 1.25, 4.0)),
        ("a_extraction_vs_best_product_gflop_per_cpu_s", (0.5, 0.25, 0.8)),
        ("linear_accuracy_vs_scikit_learn", (0.5, 0.25, 0.8)),
    ],
)
def test_above_one_is_better(name, expected):
    assert performance.gain(row(name, 1.0, 2.0, 0.25, 0.8)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("vitmae_eager_fp32_cpu_s_per_step", ("vitmae_eager_fp32", "cpu s per step")),
        ("vit_pytorch_bf16_wall_s_per_step_2_threads", ("vit_pytorch_bf16", "wall s per step 2 threads")),
        ("kept_peak_mb", ("kept", "mb")),
        ("pillow_ms_per_image", ("pillow", "ms per image")),
        ("scikit_learn", ("scikit_learn", "")),
        ("best_product_gflop_per_cpu_s", ("best_product", "gflop per cpu s")),
        ("fit_seconds_for_3000_steps", ("fit", "seconds for 3000 steps")),
    ],
)
def test_units_are_told_from_names(rest, expected):
    name, unit = performance.split_unit(rest)
    assert (name.removesuffix("_peak"), unit) == expected


def test_aims_are_met_or_missed():
    name = "a_ours_bf16_vs_vitmae_eager_fp32_cpu_s_per_step"
    assert performance.line(row(name, 1.0, 2.2)).aim == "× 2.10: met"
    assert performance.line(row(name, 1.0, 2.0)).aim == "× 2.10: missed by 0.10"
    assert performance.line(row("probes_vs_scikit_learn_wall_s", 19.0, 100.0)).aim == "at most 20: met"
    assert performance.line(row("probes_vs_scikit_learn_wall_s", 21.0, 100.0)).aim == "at most 20: missed"
    assert performance.line(row("x_vs_y_s", 1.0, 2.0)).aim == ""


def test_the_page_holds_every_benchmark_of_speed_that_was_run(tmp_path, capsys):
    machine = {"cpu": "a CPU", "gpu": None, "torch": "2", "threads": 1}
    out = tmp_path / "out"
    out.mkdir()
    contents = {
        "step": [row("a_ours_fp32_vs_vitmae_eager_fp32_cpu_s_per_step", 1.0, 1.25, 0.7, 0.9)],
        "ngram": [row("x_vs_y", 1.0, 2.0)],
        "gpu": [row("alone", 1.0, None)],
    }
    for name, rows in contents.items():
        (out / f"{name}.json").write_text(json.dumps({"schema": 1, "machine": machine, "rows": rows}))
    performance.main(tmp_path, out)
    text = (tmp_path / "docs" / "performance.md").read_text()
    assert (
        "| a ours fp32 (cpu s per step) | 1 | vitmae eager fp32 | 1.25 | × 1.25 [1.11, 1.43] |  |" in text
        and "on a CPU, torch 2" in text
    )
    assert "ngram" not in text and "One GPU" not in text
    assert list(results.measured(tmp_path, out)) == ["Benchmark ngram"], "pages of speed are on the page of speed alone"


@pytest.mark.parametrize("others", [[], [row("mnist_ours_vs_vitmae_bf16_cpu_s_to_its_last_accuracy", 10.0, 40.0)]])
def test_a_comparison_that_was_lost_stays_on_the_page(tmp_path, others):
    lost = row("mnist_ours_vs_vit_pytorch_bf16_cpu_s_to_its_last_accuracy", 40.0, 30.0, n=9)
    rows = [{**lost, "ratio": None, "facts": {"not_reached": 2}}, *others]
    machine = {"cpu": "a CPU", "gpu": None, "torch": "2", "threads": 1}
    (tmp_path / "accuracy.json").write_text(json.dumps({"schema": 1, "machine": machine, "rows": rows}))
    page = tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    page.write_text("## Time to an accuracy\n\n| mnist ours | 10 | vit pytorch bf16 | 30 | × 3.00 | × 2.00: met |\n")
    performance.main(tmp_path, tmp_path)
    text = page.read_text()
    assert "| 40 | vit pytorch bf16 | 30 | not reached in 2 of 9 | × 2.00: missed |" in text
    assert "× 3.00" not in text, "what was measured before it is replaced"


def test_fewer_than_three_rounds_show_no_interval():
    assert performance.line(row("x_vs_y_s", 1.0, 2.0, 0.4, 0.6, n=2)).gain == "× 2.00"
    assert performance.line(row("x_vs_y_s", 1.0, 2.0, 0.4, 0.5, n=3)).gain == "× 2.00 [2.00, 2.50]"


def test_every_aim_is_of_a_row_that_a_benchmark_writes():
    from benchmarks.step import PAIRS, SHAPES

    steps = {f"{shape}_{a}_vs_{b}_cpu_s_per_step" for shape in SHAPES for a, b in PAIRS}
    assert {name for name in performance.AIMS if name.endswith("cpu_s_per_step")} <= steps
