"""Tokenizers: what is encoded comes back, what is unknown is said, and all of it is JSON."""

import json

import numpy as np
import pytest

from mae_core.data.tokens import TOKENS, UNKNOWN, Characters, tokenizer_of

TEXT = "So shaken as we are, so wan with care,\nFind we a time. Grüße, 名前!"


@pytest.mark.parametrize("kind", TOKENS)
def test_a_text_comes_back_also_through_json(kind):
    made = TOKENS[kind].learn([TEXT])
    again = tokenizer_of(json.loads(json.dumps(made.spec())))
    ids = again.encode(TEXT)
    assert ids.dtype == np.int32 and ids.min() >= 1 and ids.max() < len(again.pieces)
    assert again.decode(ids.tolist()) == TEXT and np.array_equal(ids, made.encode(TEXT))
    assert again.pieces[0] == UNKNOWN and again.pieces == made.pieces


@pytest.mark.parametrize("kind", TOKENS)
def test_learning_is_the_same_every_time(kind):
    assert TOKENS[kind].learn([TEXT, "and more"]).spec() == TOKENS[kind].learn([TEXT, "and more"]).spec()


def test_characters_that_train_lacks_are_unknown():
    made = Characters.learn(["abca"])
    assert made.encode("azb").tolist() == [1, 0, 2] and made.decode([1, 0, 2]) == f"a{UNKNOWN}b"
    assert Characters("").encode("ab").tolist() == [0, 0]


def test_a_small_vocabulary_holds_the_most_frequent_characters():
    assert Characters.learn(["aaabbc"], 3).pieces == [UNKNOWN, "a", "b"]


def test_byte_pairs_know_every_text_and_have_the_size_asked_for():
    made = TOKENS["bpe"].learn([TEXT * 20], 270)
    assert len(made.pieces) == 270
    other = "żółć 🙂"
    assert made.decode(made.encode(other).tolist()) == other
    assert made.decode([0, *made.encode("we").tolist(), 0]) == f"{UNKNOWN}we{UNKNOWN}"


def test_known_characters_are_distinct_and_sorted():
    with pytest.raises(ValueError, match="distinct and in order"):
        Characters("ba")
