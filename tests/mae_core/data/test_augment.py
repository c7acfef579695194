"""What a training changes at random in its samples."""

from __future__ import annotations

import colorsys

import pytest
import torch

from mae_core.data.augment import GREY, JITTERED, Augmentation, change_pictures, color_jitter, excerpt
from mae_core.draws import Draws
from mae_core.modalities import MODALITIES
from mae_core.registry import resolve
from mae_core.training.loop import Settings, fit, start

N = 4000
DRAWS = Draws(0, 0, torch.arange(N))


def flat(*colour: int) -> torch.Tensor:
    """(N, C, 2, 2) of one colour."""
    return torch.tensor(colour, dtype=torch.uint8).view(1, -1, 1, 1).expand(N, -1, 2, 2)


def hues(pictures: torch.Tensor) -> torch.Tensor:
    return torch.tensor([colorsys.rgb_to_hsv(*colour)[0] for colour in (pictures[:, :, 0, 0] / 255).tolist()])


def test_nothing_is_changed_by_default():
    raw = flat(10, 20, 30)
    assert torch.equal(change_pictures(raw, DRAWS, Augmentation()), raw) and color_jitter(raw, DRAWS, 0.0) is raw


def test_a_fifth_of_the_pictures_lose_their_colours_and_four_fifths_of_the_rest_change_them():
    raw = flat(150, 100, 60)
    found = color_jitter(raw, DRAWS, 0.5)
    assert found.dtype == torch.uint8 and found.shape == raw.shape
    grey = (found[:, 0] == found[:, 1]).flatten(1).all(1) & (found[:, 1] == found[:, 2]).flatten(1).all(1)
    same = (found == raw).flatten(1).all(1)
    assert grey.float().mean().item() == pytest.approx(GREY, abs=0.03)
    assert same.float().mean().item() == pytest.approx((1 - GREY) * (1 - JITTERED), abs=0.03)


def test_grey_pictures_keep_their_brightness_where_nothing_else_is_changed():
    found = color_jitter(flat(150, 100, 60), DRAWS, 1e-6)
    values = found[:, :, 0, 0].unique(dim=0).tolist()
    assert sorted(values) == [[110, 110, 110], [150, 100, 60]], "0.299 × 150 + 0.587 × 100 + 0.114 × 60 = 110.4"


@pytest.mark.parametrize("strength", [0.25, 0.5])
def test_hue_strays_by_a_fifth_of_the_strength_to_either_side(strength):
    found = color_jitter(flat(90, 120, 90), DRAWS, strength)
    coloured = (found.amax(1) - found.amin(1)).flatten(1).amin(1) > 12  # of others rounding decides the hue
    turned = hues(found[coloured]) - 1 / 3
    assert 0.16 * strength < turned.max() < 0.24 * strength and -0.24 * strength < turned.min() < -0.16 * strength


def test_contrast_is_about_the_mean_and_brightness_scales_it():
    raw = torch.tensor([90, 110], dtype=torch.uint8).view(1, 1, 1, 2).expand(N, 1, 1, 2)
    found = color_jitter(raw, DRAWS, 0.5).float()
    bright, wide = found.mean((1, 2, 3)) / 100, (found[..., 1] - found[..., 0]).flatten() / 20
    assert bright.min() == pytest.approx(0.6, abs=0.02) and bright.max() == pytest.approx(1.4, abs=0.02)
    contrast = wide / bright
    assert contrast.min() == pytest.approx(0.6, abs=0.1) and contrast.max() == pytest.approx(1.4, abs=0.1)
    assert abs(torch.corrcoef(torch.stack([bright, contrast]))[0, 1]) < 0.15, "the two are drawn apart"


def test_a_sample_is_changed_alike_in_whatever_batch_it_is():
    raw = torch.randint(0, 256, (8, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    how = Augmentation(crop=0.5, flip=True, color_jitter=0.8)
    together = change_pictures(raw, Draws(3, 5, torch.arange(8)), how)
    alone = torch.cat([change_pictures(raw[i : i + 1], Draws(3, 5, torch.tensor([i])), how) for i in range(8)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, change_pictures(raw, Draws(3, 6, torch.arange(8)), how)), "anew at every step"


@pytest.mark.parametrize("name", sorted(MODALITIES))
def test_each_kind_names_what_it_cannot_be_changed_by(name):
    kind = resolve(MODALITIES, name, "modality")
    assert kind.cannot_change(Augmentation()) == ""
    for field, value in (("crop", 0.5), ("flip", True), ("color_jitter", 0.5)):
        problem = kind.cannot_change(Augmentation(**{field: value}))
        assert (f"pretrain.{field}: " in problem) == (field not in kind.augmentations)
        assert not problem or problem.endswith(f"take {field}: {str(Augmentation._field_defaults[field]).lower()}")


def test_a_training_refuses_what_makes_no_sense_before_its_first_step(make_config):
    config = make_config()
    config["modality"] = {"kind": "series", "channels": 1, "length": 12, "patch": 3, "mean": [0.0], "std": [1.0]}
    config["objective"] = {"reconstruction": 1.0, "target": "series"}
    settings = Settings(steps=1, batch_size=2, lr=1e-3, flip=True)
    with pytest.raises(ValueError, match=r"pretrain\.flip: a .* cannot be changed so, only by: pretrain\.crop"):
        list(fit(start(config, settings), torch.zeros(4, 1, 12).numpy(), settings))


@pytest.mark.parametrize("axes", [(1, 2), (1,)])
def test_an_excerpt_lies_within_what_is_there(axes):
    """Of a short sound in a long window, and of one that nothing precedes."""
    raw = torch.full((N, 32, 4), -50.0) + torch.arange(32.0).view(32, 1)
    raw[:, 8:] = raw[1, :2] = float("nan")
    raw[2] = float("nan")
    found = excerpt(raw, DRAWS, 0.25, axes)
    assert torch.equal(found.isnan().any(2)[1:], raw.isnan().any(2)[1:]), "the padding stays where it is"
    assert not found[3:, :8].isnan().any() and found[3:, :8].min() >= -50 and found[3:, :8].max() <= -43
    assert found[2].isnan().all() and found[3:, 0, 0].unique().numel() > N // 2


def test_an_excerpt_of_a_gap_alone_is_not_taken():
    raw = torch.full((N, 1, 64), float("nan"))
    raw[..., 0] = raw[..., -1] = 1.0
    assert not excerpt(raw, DRAWS, 0.3, (2,)).isnan().flatten(1).all(1).any()
