"""Text as a modality: words, padding, facts of train, files, plain features and pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from mae_core.flops import forward_flops
from mae_core.masking.plan import ratio_buckets
from mae_core.modalities.text import TextModality
from mae_core.model import MaskedAutoencoder

TOKENS = {"kind": "characters", "known": "\n abcde"}


def modality(context: int = 8, **changes: Any) -> TextModality:
    return TextModality(16, **{"context": context, "tokens": TOKENS, **changes})


def ids(*texts: str, context: int = 8) -> torch.Tensor:
    made = modality(context)
    rows = [made.tokenizer.encode(text).tolist() for text in texts]
    return torch.tensor([row + [-1] * (context - len(row)) for row in rows]).int()


def config(spread: float = 0.0, ratio: float = 0.5) -> dict[str, Any]:
    return {
        "modality": {"kind": "text", "context": 8, "tokens": TOKENS},
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 8, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": ratio, "ratio_spread": spread},
        "objective": {"reconstruction": 1.0, "target": "tokens"},
    }


def test_words_are_groups_and_white_space_stands_alone():
    cells = modality().split(ids("ab cd\ne", "  ab"))
    assert cells.group is not None and cells.valid is not None
    assert cells.group.tolist()[0][:7] == [0, 0, 1, 2, 2, 3, 4]
    assert cells.group.tolist()[1][:4] == [0, 1, 2, 2]
    assert cells.valid.sum(1).tolist() == [7, 4]


def test_pieces_that_begin_with_a_space_begin_a_word():
    from mae_core.data.tokens import BytePairs

    tokens = BytePairs.learn(["the cat the cat sat"] * 30, 300)
    made = TextModality(16, 6, tokens.spec())
    raw = torch.from_numpy(tokens.encode("the cat sat"))
    group = made.split(torch.nn.functional.pad(raw, (0, 6 - len(raw)), value=-1)[None]).group
    assert group is not None
    pieces = [tokens.pieces[i] for i in raw.tolist()]
    starts = [i for i, piece in enumerate(pieces) if i and piece.startswith(" ")]
    assert [i for i in range(1, len(raw)) if group[0, i] != group[0, i - 1]] == starts and len(starts) == 2


def test_facts_are_of_the_given_samples_alone():
    samples = ids("aab", "bcccc", "eeeeeeee").numpy()
    facts = TextModality.facts(samples, np.array([0, 1]), {"tokens": TOKENS})
    known = np.array([0, 0, 0, 2, 2, 4, 0, 0]) + 1
    np.testing.assert_allclose(facts.entries["log_shares"], np.log(known / known.sum()), atol=1e-4)
    assert facts.entries["lengths"] == {"shortest": 3, "median": 3, "longest": 5}
    assert facts.notes[0].startswith("8 different tokens, 2.68 bits")


def test_configure_needs_a_cell_a_token():
    info = {"sample": {"shape": [8]}, "tokens": TOKENS, "log_shares": [0.0] * 8}
    assert TextModality.configure(info, 1) == {"context": 8, "tokens": TOKENS, "log_shares": [0.0] * 8}
    assert TextModality.default_patch(info) == 1 and TextModality.misfit(info, 1) == ""
    with pytest.raises(ValueError, match=r"model\.patch is 1"):
        TextModality.configure(info, 4)
    with pytest.raises(ValueError, match="3 entries for 8 tokens"):
        modality(log_shares=[0.0] * 3)
    with pytest.raises(ValueError, match="at least two cells"):
        modality(1)
    with pytest.raises(ValueError, match=r"this model takes \(B, 8\)"):
        modality().split(torch.zeros(2, 9).int())


def test_files_become_windows_and_texts_come_back():
    made = modality()
    raw = made.read(b"abc de\r\nabcd")
    assert raw.dtype == np.int32 and raw.shape == (2, 8) and raw[1, 3:].tolist() == [-1] * 5
    assert made.words(torch.from_numpy(raw)) == ["abc de\na", "bcd"]
    with pytest.raises(ValueError, match="byte 1"):
        made.read(b"a\xff")
    assert made.words(torch.tensor([[3, -2, 4, -1, -1, -1, -1, -1]])) == ["a\ufffdb"]


def test_other_tokens_are_not_those_of_the_model():
    assert modality().differs({"tokens": TOKENS}) == ""
    assert "tokens" in modality().differs({"tokens": {"kind": "characters", "known": "ab"}})


def test_the_trivial_answer_is_the_most_frequent_token():
    made = modality(log_shares=[-9, -9, -1, -2, -3, -3, -3, -3])
    raw = ids("ab cd")
    hidden = torch.zeros(1, 8, dtype=torch.bool)
    hidden[0, [1, 2]] = True
    filled = made.fills(raw, hidden)["unigram_fill"]
    assert made.words(filled) == ["a  cd"]
    assert made.quality(filled, raw, hidden)["accuracy_hidden"].tolist() == [0.5]
    assert made.error(filled, raw).sum() == 1


def test_plain_features_count_runs_and_know_no_padding():
    samples = ids("abcab", "abcab", "abcba", "a").numpy()
    found = TextModality.plain(samples, {})
    assert found.shape == (4, 2048) and found.dtype == np.float32
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any(), "the same letters in another order"
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert np.count_nonzero(found[3]) == 1, "one run of one token"
    wide = ids("abcab", context=30).numpy()
    np.testing.assert_array_equal(TextModality.plain(wide, {})[0], found[0])


def test_pictures_show_right_and_wrong_guesses_and_boxes():
    made = modality()
    raw, masked, filled = ids("abcd", "ee"), ids("abcd", "ee"), ids("abce", "ee")
    masked[0, 2:4] = -2
    picture = made.picture(raw, masked, filled)
    colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert {(196, 196, 196), (184, 226, 196), (247, 190, 176)} <= colours and picture.dtype == np.uint8
    assert picture.shape[1] == 560
    assert made.render(masked).shape[0] == 2 and (196, 196, 196) in {
        tuple(c) for c in made.render(masked).reshape(-1, 3).tolist()
    }


def test_each_batch_draws_its_ratio_from_the_spread_and_the_cost_is_the_mean():
    from mae_core.draws import Draws

    model = MaskedAutoencoder.build(config(spread=0.5))
    raw = ids("abcdeabc", "bcdeabcd")
    counts = [int(model(raw, Draws(0, step, torch.arange(2))).hidden) // 2 for step in range(200)]
    assert set(counts) == {8 - k for k in (7, 6, 5, 4, 3, 2, 1)}
    shares = [counts.count(n) / 200 for n in sorted(set(counts))]
    assert all(abs(share - expected) < 0.1 for share, expected in zip(shares, [1 / 8] * 6 + [2 / 8]))
    alone = [forward_flops(config(ratio=ratio)) for ratio in ratio_buckets(0.5, 0.5)]
    assert math.isclose(forward_flops(config(spread=0.5)), sum(alone) / 8)


def test_ratio_buckets():
    assert ratio_buckets(0.75, 0.0) == [0.75] and ratio_buckets(0.0, 0.3) == [0.0]
    found = ratio_buckets(0.5, 0.5)
    assert len(found) == 8 and found[0] == 1 / 16 and found[-1] == 15 / 16
    clipped = ratio_buckets(0.9, 0.3)
    assert 0.6 < clipped[0] < clipped[-1] < 1
    with pytest.raises(ValueError, match=r"ratio_spread 0\.7"):
        ratio_buckets(0.5, 0.7)


def test_nothing_hidden_says_nothing():
    raw, hidden = ids("abc", "ee"), torch.zeros(2, 8, dtype=torch.bool)
    hidden[0, 0] = True
    np.testing.assert_array_equal(modality().quality(raw, raw, hidden)["accuracy_hidden"], [1, np.nan])
