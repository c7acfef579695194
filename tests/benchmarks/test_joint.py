"""Canonical correlations find what is linear; the benchmark compares the same items."""

import numpy as np
import pytest
import torch

from benchmarks import cca, joint
from mae_core.data.dataset import open_dataset
from mae_core.data.joining import described, joined
from mae_core.data.pack import Rules, pack
from mae_core.data.sources import Part, Source
from mae_core.data.tokens import Characters
from mae_core.evaluation.parts import ranks
from mae_core.model import MaskedAutoencoder

SIZE, CONTEXT = 12, 8


def test_canonical_correlations_find_a_hidden_cause():
    generator = np.random.default_rng(0)
    cause = generator.normal(size=(120, 3))
    first = cause @ generator.normal(size=(3, 200)) + 0.1 * generator.normal(size=(120, 200))
    second = cause @ generator.normal(size=(3, 150)) + 0.1 * generator.normal(size=(120, 150))
    made = cca.fit(cca.side(first[:80]), cca.side(second[:80]), 20, 0.1, 4.0)
    found = ranks(made(first[80:], 0), made(second[80:], 1))
    assert (found < 3).mean() > 0.8


@pytest.fixture(scope="module")
def emoji(tmp_path_factory):
    """Coloured squares and the names of their colours, prepared; and an untrained model."""
    folder = tmp_path_factory.mktemp("joint")
    generator = np.random.default_rng(0)
    names = ["red one", "green b", "blue cc", "grey dd"]
    colours = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220], [128, 128, 128]])
    tokenizer = Characters.learn(names)
    parts = []
    for split, n in (("train", 48), ("validation", 12), ("test", 12)):
        kind = np.arange(n) % 4
        pixels = colours[kind][:, :, None, None] + generator.integers(-25, 26, (n, 3, SIZE, SIZE))
        ids = np.stack([np.append(tokenizer.encode(names[k]), -1) for k in kind]).astype(np.int32)
        samples = joined([pixels.clip(0, 255).astype(np.uint8), ids])
        parts.append(Part(split, samples, kind, [f"{split} {i}" for i in range(n)]))
    known = [
        described("picture", "image", np.zeros((1, 3, SIZE, SIZE), np.uint8)),
        described("words", "text", np.zeros((1, CONTEXT), np.int32), tokens=tokenizer.spec()),
    ]
    source = Source(parts, names, [], 0, [], {"parts": known})
    info = pack(source, Rules("emoji", "joint", "CC0", "a test", True, {}), folder / "emoji")
    from mae_core.modalities.joint import JointModality

    config = {
        "modality": {"kind": "joint", **JointModality.configure(info, {"picture": 6})},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": 0.5},
        "objective": {"reconstruction": 1.0, "target": "parts"},
    }
    return MaskedAutoencoder.build(config).eval(), open_dataset(folder / "emoji")


def test_retrieval_stands_beside_correlations_and_the_untrained_model(emoji):
    model, dataset = emoji
    found = {one.name: one for one in joint.retrieval(model, model, dataset, "command")}
    assert len(found) == 12
    row = found["emoji_words_by_picture_recall_10_vs_untrained"]
    assert row.facts["gain"] == 0 and row.n == 12 and row.ratio in (1.0, None)
    assert found["emoji_words_by_picture_recall_5_vs_cca"].facts["chance"] == 5 / 12


def test_filling_shows_the_same_holes_with_and_without_the_picture(emoji):
    model, dataset = emoji
    rows = joint.filling(model, np.array(dataset.split("test").samples), "command")
    assert [row.name for row in rows][::2] == [
        "emoji_name_50_hidden_right_with_picture_vs_without", "emoji_name_100_hidden_right_with_picture_vs_without",
    ]  # fmt: skip
    assert all(
        0 <= row.ours <= 1 and row.facts["gain_low"] <= row.facts["gain"] <= row.facts["gain_high"] for row in rows
    )


def test_hidden_tokens_are_exact_and_the_same_again():
    known = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    half, whole = joint.hidden_tokens(known, 0.5), joint.hidden_tokens(known, 1.0)
    assert half.sum(1).tolist() == [3, 2] and torch.equal(whole, known) and not (half & ~known).any()
    assert torch.equal(half, joint.hidden_tokens(known, 0.5))
