"""What people look at: every modality shows whole, masked and filled samples, and the records say what they hold."""

import io
import math
import typing
import wave

import contract
import numpy as np
import pytest
import torch

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
