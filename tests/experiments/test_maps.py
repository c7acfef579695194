"""What recipes say of masking: options and schedules are checked by name, a map is read from a file and checked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.maps import OF_SCHEDULE, read_map
from experiments.recipe import RecipeError, load_recipe, parse_recipe
from experiments.resolving import resolve
from mae_core.flops import train_flops
from mae_core.masking.ratio import SCHEDULES
from mae_core.model import MaskedAutoencoder

DATASET = {"sample": {"shape": [1, 28, 28]}, "mean": [0.13], "std": [0.31]}


def config_of(masking: str):
    return resolve(parse_recipe(f"model: {{patch: 7}}\nmasking: {masking}", "x"), DATASET).config


def test_nothing_is_added_to_a_config_that_says_nothing():
    assert config_of("{ratio: 0.6}")["masking"] == {"strategy": "random", "ratio": 0.6, "ratio_spread": 0.0}


def test_options_and_schedule_reach_the_model():
    config = config_of("{strategy: variance, ratio: 0.5, options: {hide: little}, schedule: {kind: linear, end: 0.9}}")
    assert config["masking"]["options"] == {"hide": "little"}
    assert config["masking"]["schedule"] == {"kind": "linear", "end": 0.9}, "only what the kind reads"
    model = MaskedAutoencoder.build(config)
    assert model.masker.sign == -1 and len(model.ratios.rows) == 8
    steps = config_of("{ratio: 0.5, schedule: {kind: steps, steps: [[0.5, 0.8]]}}")
    assert MaskedAutoencoder.build(steps).ratios.rows == [[0.5], [0.8]]


def test_looks_reach_the_model_and_count():
    config, once = config_of("{ratio: 0.5, looks: 3}"), config_of("{ratio: 0.5}")
    assert (config["masking"]["looks"], "looks" in once["masking"]) == (3, False)
    assert train_flops(config) == 3 * train_flops(once)


def test_every_kind_of_schedule_says_what_it_reads():
    assert set(OF_SCHEDULE) == {"fixed", *SCHEDULES}


@pytest.mark.parametrize(
    ("masking", "said"),
    [
        ("{strategy: variance, options: {hid: much}}", "no 'hid'.*did you mean 'hide'"),
        ("{strategy: coarse, options: {size: 0}}", "at least 1"),
        ("{schedule: {kind: lineer, end: 0.5}}", "did you mean 'linear'"),
        ("{schedule: {kind: linear}}", "end is None"),
        ("{ratio_spread: 0.1, schedule: {kind: linear, end: 0.9}}", "set it to 0 for linear"),
        ("{strategy: weight_map}", "needs masking.weights"),
        ("{strategy: grid, weights: a.npy}", "the strategy is grid"),
        ("{strategy: auto, options: {size: 2}}", "name it instead of auto"),
        ("{strategy: policy, looks: 2}", r"policy masking has its own, masking\.options\.plans: set looks to 1"),
        ("{looks: 0}", "masking.looks"),
        ("{schedule: {end: 0.9}}", "masking.schedule.end means nothing to the kind 'fixed'"),
        ("{schedule: {kind: cosine, end: 0.9, low: 0.5}}", "masking.schedule.low means nothing to the kind 'cosine'"),
        ("{schedule: {kind: steps}}", "masking.schedule.steps is empty"),
        ("{strategy: bandit}", "one arm has nothing to choose"),
        ("{strategy: bandit, options: {ratios: 0.5}}", "option ratios is 0.5: a list"),
        ("{strategy: bandit, options: {ratios: [0.5, 0.75]}, ratio_spread: 0.1}", "are those of a bandit's arms"),
        ("{schedule: {end: 1.5}}", "masking.schedule.end"),
        ("{schedule: {ends: 0.5}}", "did you mean 'end'"),
    ],
)
def test_what_is_refused(masking, said):
    with pytest.raises(RecipeError, match=said):
        config_of(masking)


class TestMaps:
    def write(self, folder, values):
        path = folder / "map.npy"
        np.save(path, values)
        return path

    def test_a_number_a_cell(self, tmp_path):
        values = np.arange(12.0).reshape(3, 4)
        assert read_map(self.write(tmp_path, values), [3, 4]) == values.ravel().tolist()
        assert read_map(self.write(tmp_path, values.ravel()), [3, 4]) == values.ravel().tolist()

    def test_finer_maps_are_averaged(self, tmp_path):
        fine = np.arange(24.0).reshape(4, 6)
        expected = fine.reshape(2, 2, 3, 2).mean((1, 3)).ravel()
        np.testing.assert_allclose(read_map(self.write(tmp_path, fine), [2, 3]), expected)

    def test_a_picture_is_a_map(self, tmp_path):
        grey = np.zeros((4, 8), np.uint8)
        grey[:, 4:] = 200
        Image.fromarray(grey).save(tmp_path / "map.png")
        assert read_map(tmp_path / "map.png", [2, 4]) == [0, 0, 200, 200] * 2

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            (np.ones((3, 5)), r"has the shape \(3, 5\): 2 x 4 numbers, one a cell, or whole multiples"),
            (np.full((2, 4), -1.0), "negative or not finite"),
            (np.full((2, 4), np.nan), "negative or not finite"),
            (np.zeros((2, 4)), "0 everywhere"),
            (np.array(["a"]), "neither a .npy file of numbers nor a picture"),
        ],
    )
    def test_what_is_no_map(self, tmp_path, values, said):
        with pytest.raises(RecipeError, match=said):
            read_map(self.write(tmp_path, values), [2, 4])

    def test_files_that_are_not_there_or_hold_objects(self, tmp_path):
        with pytest.raises(RecipeError, match=r"is not there: the path is meant from the project's folder"):
            read_map(tmp_path / "none.npy", [2, 4])
        (tmp_path / "text.png").write_text("not a picture")
        with pytest.raises(RecipeError, match="nor a picture"):
            read_map(tmp_path / "text.png", [2, 4])
        np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
        with pytest.raises(RecipeError, match="nor a picture"):
            read_map(tmp_path / "objects.npy", [2, 4])

    def test_a_model_carries_its_map_as_numbers(self, tmp_path):
        """From a recipe below the project's folder to a saved model that no longer needs the file."""
        (tmp_path / "experiments" / "recipes").mkdir(parents=True)
        recipe = "model: {patch: 7}\nmasking: {strategy: weight_map, ratio: 0.25, weights: map.npy}"
        (tmp_path / "experiments" / "recipes" / "mapped.yaml").write_text(recipe)
        weights = np.zeros((4, 4))
        weights[0] = 1.0
        self.write(tmp_path, weights)
        config = resolve(load_recipe("mapped", tmp_path), DATASET).config
        assert config["masking"]["weights"] == weights.ravel().tolist()
        folder = MaskedAutoencoder.build(config).save(tmp_path / "m")
        (tmp_path / "map.npy").unlink()
        raw = torch.zeros(5, 1, 28, 28, dtype=torch.uint8)
        hide = MaskedAutoencoder.load(folder).reconstruct(raw).plan.hide
        assert hide.sort(1).values.tolist() == [[0, 1, 2, 3]] * 5
