"""How often masks hide each cell, where these lie, and the pictures of a model's own masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mae_core.cells import Plan
from mae_core.draws import Draws
from mae_core.masking.coverage import Coverage, agreed, agreement, coverage, evenness, hides
from mae_core.masking.gallery import GAP, NAME, own_gallery
from mae_core.masking.plan import plan_from_scores
from mae_core.modalities.table import TableModality
from mae_core.model import MaskedAutoencoder


def of(coords, often=None):
    coords = torch.tensor(coords, dtype=torch.float)
    return Coverage(torch.arange(len(coords)).float() if often is None else often, coords, 1.0, 0.0, 1)


def test_hidden_cells_are_counted_and_padding_is_not():
    plan = Plan(
        torch.tensor([[0], [1]]), torch.tensor([[1, 2], [2, 0]]), None, torch.tensor([[True, True], [True, False]])
    )
    assert hides(plan, 4).tolist() == [[0, 1, 1, 0], [0, 0, 1, 0]]
    assert hides(plan._replace(hide_ok=None), 4).tolist() == [[0, 1, 1, 0], [1, 0, 1, 0]]


def test_masks_agree_by_chance_or_always():
    draws = Draws(0, 0, torch.arange(3000))
    one, other = (hides(plan_from_scores(draws.uniform(stream, 9), 0.6), 9) for stream in "ab")
    assert abs(float(agreement(agreed(one, other, None)))) < 0.03
    assert float(agreement(agreed(one, one, None))) == pytest.approx(1)
    assert float(agreement(agreed(torch.ones(4, 9), torch.ones(4, 9), None))) == 0, "all hidden: nothing could differ"
    valid = torch.arange(9) < torch.tensor([2, 5, 9]).repeat(1000)[:, None]
    one, other = (hides(plan_from_scores(draws.uniform(stream, 9), 0.6, valid), 9) for stream in "ab")
    assert abs(float(agreement(agreed(one, other, valid)))) < 0.03
    assert float(agreement(agreed(one, one, valid))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("often", "even"), [([0.5] * 8, 1.0), ([1.0] + [0.0] * 7, 1 / 8), ([0.3, 0.3] + [0.0] * 6, 2 / 8)]
)
def test_evenness_counts_the_cells_that_are_hidden(often, even):
    assert float(evenness(torch.tensor(often))) == pytest.approx(even, abs=1e-4)


def test_cells_lie_as_in_the_sample():
    assert of([[0], [1], [2]]).grid().tolist() == [[0, 1, 2]]
    assert of([[1, 0], [0, 0], [0, 1], [1, 1]]).grid().tolist() == [[1, 2], [0, 3]]
    film = of([[t, y, x] for t in range(2) for y in range(2) for x in range(2)]).grid()
    np.testing.assert_array_equal(film, [[0, 1, np.nan, 4, 5], [2, 3, np.nan, 6, 7]])
    assert of([[0, 0], [0, 0]]).grid().tolist() == [[0, 1]], "cells of several parts, at one place"


def test_a_random_mask_hides_all_alike_and_a_led_one_what_it_is_told_to(make_config, make_raw):
    raw = make_raw(400, config := make_config())
    model = MaskedAutoencoder.build(config)
    found = coverage(model, raw)
    assert found.samples == 400 and float(found.often.mean()) == pytest.approx(model.ratio)
    assert (found.often - model.ratio).abs().max() < 0.12 and found.evenness > 0.99
    assert abs(found.agreement) < 0.1
    weights = [1.0] * 8 + [0.0] * 8
    led = MaskedAutoencoder.build(make_config(masking={"strategy": "weight_map", "ratio": 0.5, "weights": weights}))
    found = coverage(led, raw)
    assert found.often.tolist() == weights and found.agreement == pytest.approx(1)


def test_a_bandits_are_all_its_strategies_as_often_as_it_draws_them(make_config, make_raw):
    masking = {"strategy": "bandit", "ratio": 0.5, "options": {"families": ["grid", "random"], "ratios": [0.25, 0.5]}}
    model = MaskedAutoencoder.build(make_config(masking=masking))
    model.masker.value.copy_(torch.tensor([9.0, 9.0, 0.0, 0.0]))
    assert model.masker.shares() == pytest.approx({"grid": 0.9, "random": 0.1}, abs=1e-3)
    raw = make_raw(200, model.config)
    found = coverage(model, raw, 0.5)
    grid, random = (coverage(model, raw, 0.5, name) for name in ("grid", "random"))
    torch.testing.assert_close(found.often, 0.9 * grid.often + 0.1 * random.often, atol=1e-3, rtol=0)
    assert found.agreement == pytest.approx(0.9 * grid.agreement + 0.1 * random.agreement, abs=0.01)


def test_cells_that_no_sample_has_are_not_counted(make_config):
    example = next(iter(TableModality.examples().values()))
    model = MaskedAutoencoder.build(
        {
            **make_config(),
            "modality": {"kind": "table", **example.config},
            "objective": {"reconstruction": 1.0, "target": "columns"},
        }
    )
    raw = example.raw(40, torch.Generator().manual_seed(0))
    raw[:, 0] = float("nan")
    often = coverage(model, raw, 0.5).often
    assert often[0].isnan() and not often[1:].isnan().any()


def test_a_models_own_masks_are_drawn(make_config, make_raw):
    weights = [1.0] * 8 + [0.0] * 8
    model = MaskedAutoencoder.build(make_config(masking={"strategy": "weight_map", "ratio": 0.5, "weights": weights}))
    sheet = own_gallery(model, make_raw(2, model.config), 0.5, draws=2)
    high = sheet.shape[0] // 3
    whole, first, second = (sheet[i * high : (i + 1) * high - GAP, NAME:] for i in range(3))
    assert (first == second).all(), "half of the cells always, the other never"
    middle = whole.shape[0] // 2
    assert (first[middle:] == whole[middle:]).all() and (first[:middle] != whole[:middle]).any()
