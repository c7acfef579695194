"""Each part in its own unit, each part's mean in the loss, sample by sample."""

import pytest
import torch

from mae_core.cells import Plan
from mae_core.modalities.image import ImageModality
from mae_core.modalities.joint import JointModality
from mae_core.targets.parts import Parts
from mae_core.targets.pixels import Pixels
from mae_core.targets.tokens import Tokens

PARTS = [
    {"name": "picture", "kind": "image", "channels": 1, "size": [4, 4], "patch": 2},
    {"name": "words", "kind": "text", "context": 3, "tokens": {"kind": "characters", "known": "abc"}},
]
HIDE = torch.tensor([[0, 5, 2], [4, 6, 5], [1, 3, 0]])
OK = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
PLAN = Plan(torch.tensor([[1, 3]]).expand(3, -1), HIDE, torch.ones(3, 2, dtype=torch.bool), OK)


def case(weights=None):
    torch.manual_seed(0)
    modality = JointModality(8, PARTS)
    target = Parts(modality, weights)
    head = target.head(8)
    raw = torch.cat([torch.arange(48.0).view(3, 16), torch.tensor([[1.0, 2, 3]] * 3)], 1)
    cells = modality.split(raw)
    prediction = head(torch.randn(3, 3, 8), PLAN)
    return modality, target, cells, prediction


def own_errors():
    """By hand: each part's target on its own cells."""
    modality, _, cells, prediction = case()
    pixels = Pixels(modality.parts[0]).cell_loss(
        prediction[..., :4], cells.values[0].values, modality.layout.plan_of(PLAN, 0)
    )
    tokens = Tokens(modality.parts[1]).cell_loss(
        prediction[..., 4:], cells.values[1].values, modality.layout.plan_of(PLAN, 1)
    )
    return torch.where(HIDE < 4, pixels, tokens)


def loss(weights=None):
    _, target, cells, prediction = case(weights)
    return target, target.cell_loss(prediction, target.target(cells, PLAN), PLAN)


def test_the_mean_over_hidden_cells_is_the_mean_over_parts():
    error = own_errors()
    _, found = loss()
    expected = [((error[0, 0] + error[0, 2]) / 2 + error[0, 1]) / 2, (error[1, 0] + error[1, 1]) / 2, error[2, 0]]
    for i, value in enumerate(expected):
        torch.testing.assert_close(found[i][OK[i]].mean(), value)


def test_weights():
    error = own_errors()
    _, found = loss({"words": 3.0})
    torch.testing.assert_close(found[0].mean(), ((error[0, 0] + error[0, 2]) / 2 + 3 * error[0, 1]) / 4)
    torch.testing.assert_close(found[2][OK[2]].mean(), error[2, 0])


def test_parts_are_named_in_their_own_units():
    error = own_errors()
    target, found = loss({"words": 3.0})
    (pictures, few), (words, many) = (target.parts(found, PLAN)[name] for name in ("picture", "words"))
    torch.testing.assert_close(pictures, error[0, 0] + error[0, 2] + error[2, 0])
    torch.testing.assert_close(words, error[0, 1] + error[1, 0] + error[1, 1])
    assert (int(few), int(many)) == (3, 3)


def test_a_part_that_hides_nothing_is_a_sum_of_nothing():
    target, found = loss()
    pictures = PLAN._replace(hide_ok=OK & (HIDE < 4))
    total, count = target.parts(found.detach(), pictures)["words"]
    assert float(total) == 0 and int(count) == 0


def test_decode_takes_each_cells_own_part():
    _, target, cells, prediction = case()
    found = target.decode(prediction, cells, PLAN)
    assert found.values.shape == (3, 3, 4) and not found.used_true_statistics
    torch.testing.assert_close(found.values[0, 0], prediction[0, 0, :4])
    assert found.values[0, 1].tolist() == [float(prediction[0, 1, 4:].argmax()), 0, 0, 0]


def test_what_makes_no_sense():
    with pytest.raises(ValueError, match="for joint samples"):
        Parts(ImageModality(8, 1, [4, 4], 2))
    for weights in ({"sound": 1.0}, {"words": 0.0}):
        with pytest.raises(ValueError, match="of picture, words"):
            Parts(JointModality(8, PARTS), weights)
