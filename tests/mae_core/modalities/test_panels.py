"""What people look at: every modality shows whole, masked and filled samples, and the records say what they hold."""

import io
import math
import typing
import wave

import contract
import numpy as np
import pytest
import torch

from mae_core.cells import Belief
from mae_core.modalities import MODALITIES, panels
from mae_core.modalities.audio_signal import log_mel
from mae_core.modalities.base import Modality
from mae_core.modalities.panels import Curves, Panel, Picture, Piece, Row, Sound, Text, Value

NAN = math.nan


def shown(modality: str, example: str) -> tuple[Modality, typing.Any, list[list[list[Panel]]]]:
    """The modality, a reconstruction, and views of the original, the masked and the filled samples."""
    kind = contract.KINDS[modality]
    case = {"modality": modality, "example": example, "masker": kind.maskers[0], "encoder": "vit", "decoder": "joint"}
    case |= {"target": kind.default_target, "objective": "reconstruction", "ratio": 0.5, "batch": 3}
    s = contract.Subject(case)
    made, view = s.model.reconstruct(s.raw), s.model.modality.view
    views = [view(s.raw), view(made.masked, made.hidden), view(made.filled, made.hidden, s.raw, made.belief)]
    return s.model.modality, made, views


@pytest.mark.parametrize("modality", list(MODALITIES))
def test_every_sample_has_panels(modality):
    for example in contract.EXAMPLES[modality]:
        _, _, views = shown(modality, example)
        for some in views:
            assert len(some) == 3 and all(len(one) for one in some)
            for panel in (panel for one in some for panel in one):
                assert isinstance(panel, typing.get_args(Panel))
                if isinstance(panel, Picture):
                    assert panel.rgb.ndim == 3 and panel.rgb.shape[2] == 3 and panel.rgb.dtype == np.uint8


def test_pictures_stand_beside_their_error():
    _, made, (original, masked, filled) = shown("image", "wide")
    assert [len(views[0]) for views in (original, masked, filled)] == [1, 1, 2]
    error = filled[0][1]
    assert "error" in error.name
    known = ~made.hidden[0].any(0).numpy()
    assert (error.rgb[known] == error.rgb[known][0]).all() and error.rgb.max() > error.rgb[known].max()


def test_sounds_can_be_heard():
    modality, _, (original, masked, _) = shown("audio", "any length")
    sound = next(panel for panel in original[1] if isinstance(panel, Sound))
    with wave.open(io.BytesIO(sound.wav())) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, modality.look.spectrum.rate)
        assert file.getnframes() == len(sound.levels) * modality.look.spectrum.hop
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    again = log_mel(torch.from_numpy(heard.copy()), modality.look.spectrum)
    assert np.abs(again.numpy() - sound.levels).mean() < 8  # noise has no phase that fits it well
    silent = next(panel for panel in masked[1] if isinstance(panel, Sound))
    assert silent.levels.min() == modality.blank and np.isfinite(silent.levels).all()


def test_texts_know_what_was_filled_in_and_how_likely_it_is():
    modality, made, (original, masked, filled) = shown("text", "padded")
    for i in range(3):
        assert modality.written(made.filled[i : i + 1]) == "".join(piece.text for piece in filled[i][0].pieces)
        hidden = [piece for piece in filled[i][0].pieces if piece.hidden]
        assert len(hidden) == int(made.hidden[i].sum()) and all(0 < piece.probability <= 1 for piece in hidden)
        true = "".join(piece.true or piece.text for piece in filled[i][0].pieces)
        assert true == "".join(piece.text for piece in original[i][0].pieces)
        assert sum(piece.hidden and not piece.true for piece in masked[i][0].pieces) == len(hidden)


@pytest.fixture(scope="module")
def by_bytes():
    """A modality whose tokens are bytes of all but the words that it learned."""
    from mae_core.data.tokens import BytePairs
    from mae_core.modalities.text import TextModality

    tokens = BytePairs.learn(["the naive cat sat on the mat and ate the rat"] * 20, 300)
    return TextModality(8, 24, tokens.spec())


def test_bytes_of_one_character_are_shown_as_it(by_bytes):
    raw = torch.from_numpy(by_bytes.read("naïve café – тест".encode()))
    (panel,) = by_bytes.view(raw)[0]
    assert "".join(piece.text for piece in panel.pieces) == "naïve café – тест"
    hidden = raw >= 0
    (panel,) = by_bytes.view(raw, hidden, raw, Belief(*[torch.full(raw.shape, 0.5)] * 3))[0]
    assert not any(piece.wrong for piece in panel.pieces) and "[ï]" in panel.marked()
    assert next(piece for piece in panel.pieces if piece.text == "ï").probability == 0.25, "of two bytes"
    (panel,) = by_bytes.view(torch.where(hidden, -2, raw), hidden)[0]
    assert {piece.text for piece in panel.pieces} == {"▁"} and len(panel.pieces) == int(hidden.sum())


def test_a_wrong_byte_is_not_right(by_bytes):
    """No two of the bytes that are no characters are the same, though a text shows each as U+FFFD."""
    raw = torch.from_numpy(by_bytes.read("é т –".encode()))
    hidden, filled = raw >= 0, raw.clone()
    odd = [i for i in range(24) if hidden[0, i] and by_bytes.tokenizer.pieces[raw[0, i]] == "\ufffd"]
    assert len(odd) == 7
    filled[0, odd] = raw[0, odd[::-1]]
    (panel,) = by_bytes.view(filled, hidden, raw)[0]
    wrong = int((filled != raw).sum())
    assert sum(piece.wrong for piece in panel.pieces) == wrong == 6
    assert panel.marked().startswith("[<93>|<C3>][<80>|<A9>]") and "\ufffd" not in panel.marked()
    half = hidden & (torch.arange(24) == odd[1])
    (panel,) = by_bytes.view(raw, half, raw)[0]
    assert [piece.text for piece in panel.pieces[:2]] == ["<C3>", "<A9>"] and panel.pieces[1].right, "one is seen"


def test_pictures_of_bytes_mark_what_is_wrong(by_bytes):
    raw = torch.from_numpy(by_bytes.read("é т –".encode()))
    masked, filled = torch.where(raw >= 0, -2, raw), raw.clone()

    def colours(one):
        return {tuple(colour) for colour in by_bytes.picture(raw, masked, one).reshape(-1, 3).tolist()}

    red, green = (247, 190, 176), (184, 226, 196)
    assert green in colours(filled) and red not in colours(filled)
    filled[0, :2] = filled[0, [1, 0]]
    assert {green, red} <= colours(filled)


def test_a_piece_is_right_by_its_tokens():
    unknown = Piece("\ufffd", True, "\ufffd", right=False)
    assert unknown.wrong and Text([unknown]).marked() == "[\ufffd|\ufffd]"
    assert Piece("a", True, "b").wrong and not Piece("a", True, "a").wrong and not Piece("a", True).wrong


def test_rows_know_intervals_and_grades():
    modality, made, (original, _, filled) = shown("table", "mixed")
    for i in range(3):
        for before, after, column in zip(original[i][0].values, filled[i][0].values, range(7)):
            assert after.hidden == bool(made.hidden[i, column])
            if not after.hidden:
                assert after.text == before.text and after.sure == "" == after.grade
                continue
            assert after.true == before.text and after.grade in ("near", "off", "far")
            assert (after.between is None) == (not modality.columns.number[column])
            assert after.sure.endswith("%") or " to " in after.sure


def test_curves_take_each_moment_once():
    _, made, (original, masked, filled) = shown("series", "three with gaps")
    for i in range(3):
        one, known = filled[i][0], ~np.isnan(original[i][0].seen)
        assert isinstance(one, Curves)
        hidden = made.hidden[i].numpy()
        np.testing.assert_array_equal(~np.isnan(one.seen), known & ~hidden)
        np.testing.assert_array_equal(~np.isnan(one.filled), hidden)
        np.testing.assert_array_equal(one.true[hidden], original[i][0].seen[hidden])
        assert np.isnan(masked[i][0].filled).all()


def test_words_mark_what_was_filled_in():
    text = Text([Piece("a"), Piece("b", True, "b", 0.5), Piece("c", True, "d", 0.2), Piece("e", True)])
    assert text.marked() == "a[b][c|d][e]"
    values = [
        Value("x", "1"),
        Value("y", "2.5", True, "3", ("1", "4"), NAN, "near"),
        Value("z", "red", True, "", None, 0.72),
    ]
    assert [one.marked() for one in Row(values).values] == ["1", "[2.5 (1 to 4)|3]", "[red (72 %)]"]


def test_a_modality_that_says_nothing_is_a_picture_with_its_words():
    class Plain(Modality):
        def render(self, raw):
            return torch.zeros(len(raw), 2, 3, 3, dtype=torch.uint8)

        def words(self, raw):
            return ["one", "two"]

    views = Plain().view(torch.zeros(2, 1))
    assert [type(panel) for panel in views[1]] == [Picture, Text]
    assert views[1][1].pieces == [panels.Piece("two")]


def test_joint_samples_show_the_parts_they_have_and_how_sure_each_part_is():
    modality, made, (original, _, filled) = shown("joint", "parts missing")
    kinds = [[type(panel) for panel in some] for some in original]
    there = [[bool(modality.there(made.filled, i)[row]) for i in range(2)] for row in range(3)]
    assert [[Picture in some, Text in some] for some in kinds] == there and [True, True] in there
    assert [True, False] in there or [False, True] in there
    pieces = [piece for some in filled for panel in some if isinstance(panel, Text) for piece in panel.pieces]
    sure = [piece.probability for piece in pieces if piece.hidden]
    assert sure and all(0 < one <= 1 for one in sure)
