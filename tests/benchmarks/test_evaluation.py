"""The benchmark of probes: ours and scikit-learn's answer alike, and rates of work are counted from the same FLOPs."""

import numpy as np
import pytest

from benchmarks import evaluation
from benchmarks.step import Shape


@pytest.fixture
def data():
    """Three classes that overlap a little, in 12 dimensions."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 12))

    def some(n):
        labels = np.arange(n) % 3
        return (centres[labels] + 0.9 * rng.normal(size=(n, 12))).astype(np.float32), labels

    return evaluation.Data(*some(600), *some(150), *some(300))


def test_both_find_the_same(data):
    (cpu, wall, *tasks) = evaluation.probe_rows(data, "command")
    assert cpu.name == "probes_vs_scikit_learn_cpu_s" and wall.name == "probes_vs_scikit_learn_wall_s"
    assert cpu.facts["samples"] == 1050 and cpu.ours > 0
    assert [row.name for row in tasks] == [
        f"{task}_accuracy_vs_scikit_learn" for task in ("knn", "linear", "few_label")
    ]
    for row in tasks:
        assert 0.6 < row.ours < 1
        assert row.ours == pytest.approx(row.baseline, abs=0.011), row.name


def test_extraction_is_counted_in_flops():
    shape = Shape(16, 4, (16, 2, 2), (8, 1, 2), 4)
    row = evaluation.extraction_row("a", shape, 10.0, 2, "command")
    assert row.baseline == 10.0 and row.n == 2
    work = evaluation.encode_flops(shape.config()) / 1e9
    assert row.ours == pytest.approx(row.facts["images_per_cpu_s"] * work, rel=1e-6)


def test_the_peak_is_a_rate(monkeypatch):
    monkeypatch.setattr(evaluation, "SIDES", (128,))
    assert 0.1 < evaluation.peak_gflops(evaluation.torch.float32, tries=3) < 1e5
