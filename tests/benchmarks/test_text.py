"""The n-grams count as by hand and use both sides; the benchmark compares the same holes."""

import numpy as np
import pytest

from benchmarks import text
from benchmarks.ngram import LEFT, REACH, Ngram, TwoSided
from mae_core.data.dataset import open_dataset
from mae_core.data.pack import Rules, pack
from mae_core.data.sources.text import read
from mae_core.model import MaskedAutoencoder


def around(**known):
    """One row of neighbours; those not given are unknown."""
    row = np.full((1, 2 * REACH + 1), -1)
    for name, value in known.items():
        row[0, REACH + {"left": -1, "second": -2, "right": 1}[name]] = value
    return row


def test_witten_bell_as_by_hand():
    ids = np.array([0, 0, 0, 0, 0, 1, 0, 1, 2, 1, 0, 0, 0, 0])  # the four at each end are context alone: 0 1 0 1 2 1
    made = Ngram(ids, 3, LEFT)
    alone = made.probabilities(around())[0]
    expected = (np.array([2, 3, 1]) + 3 * np.full(3, 1 / 3)) / (6 + 3)
    np.testing.assert_allclose(alone, expected)
    after_one = made.probabilities(around(left=1))[0]
    np.testing.assert_allclose(after_one, (np.array([1, 0, 1]) + 2 * expected) / (2 + 2))
    np.testing.assert_allclose(made.probabilities(around(second=1))[0], alone)  # an unknown neighbour ends the context


def test_every_answer_is_a_distribution():
    ids = np.random.default_rng(0).integers(0, 5, 400)
    made = TwoSided(ids, 5)
    samples, hidden = ids[:40].reshape(4, 10), np.random.default_rng(1).random((4, 10)) < 0.3
    weights = made.tuned(samples, hidden)
    found = np.exp(made.log_prob(made.experts(samples, hidden), weights))
    assert found.shape == (hidden.sum(), 5)
    np.testing.assert_allclose(found.sum(1), 1)


def test_both_sides_are_seen():
    """In abcabd… the letter between two others is known from both together alone."""
    ids = np.array([0, 1, 2, 3, 0, 4, 2, 5] * 60)  # 0 _ 2 is 1 or 4, told apart by what is around
    made = TwoSided(ids, 6)
    samples = ids[:80].reshape(10, 8)
    hidden = np.zeros((10, 8), bool)
    hidden[:, 5] = True
    said = made.log_prob(made.experts(samples, hidden), made.tuned(samples, hidden))
    assert (said.argmax(1) == 4).all() and -said[:, 4].mean() < 0.1


@pytest.fixture
def folders(tmp_path):
    """A dataset of periodic text and an untrained model of it."""
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 120)
    source = read(tmp_path, {"train": ["a.txt"]}, 16, stride=5, hold_out={"validation": 0.1, "test": 0.2})
    info = pack(source, Rules("cats", "text", "none", "a test", True, {}), tmp_path / "data")
    config = {
        "modality": {"kind": "text", "context": 16, "tokens": info["tokens"], "log_shares": info["log_shares"]},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": 0.15},
        "objective": {"reconstruction": 1.0, "target": "tokens"},
    }
    return MaskedAutoencoder.build(config).save(tmp_path / "model"), tmp_path / "data"


def test_the_training_text_is_put_together_again(folders):
    split = open_dataset(folders[1]).split("train")
    ids = text.text_of(split)
    assert len(ids) == 2016 and np.array_equal(ids[5:21], split.samples[1])


def test_rows_compare_the_same_holes(folders):
    found = {one.name: one for one in text.measure(*folders, "command")}
    right, bits = (found[f"text_hidden_15_{what}_vs_two_sided_5gram"] for what in ("right", "bits"))
    assert right.baseline > 0.9 and bits.baseline < 0.5, "the text repeats itself"
    assert right.ours < 0.5 and bits.ours > 2 and bits.low <= bits.ratio <= bits.high
    unigram = found["text_hidden_15_bits_vs_unigram"]
    assert 2.5 < unigram.baseline < 3.6 and unigram.n == 36 and unigram.command == "command"
    together = found["text_hidden_15_bits_with_5gram_vs_two_sided_5gram"]
    assert together.facts["share"] == min(text.SHARES) and together.baseline < together.ours < bits.ours


def test_a_product_of_experts_is_a_distribution():
    first, second = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
    np.testing.assert_allclose(np.exp(text.product(first, second, 1.0)), [[0.9, 0.1]])
    np.testing.assert_allclose(np.exp(text.product(first, second, 0.5)), [[0.75, 0.25]])
