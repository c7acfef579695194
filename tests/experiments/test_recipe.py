"""The recipe schema: wrong keys are named with the nearest right one, autos resolve with their origin."""

import re
from pathlib import Path

import pytest

from experiments.params import recipe_row
from experiments.recipe import Recipe, RecipeError, load_recipe, parse_recipe
from experiments.resolving import SEARCHABLE, resolve
from experiments.yaml_files import dump_yaml, load_quickly, parse_yaml
from mae_core.flops import train_flops
from mae_core.modalities.image import ImageModality
from mae_core.model import MaskedAutoencoder

DATASET = {"sample": {"shape": [1, 28, 28]}, "mean": [0.13], "std": [0.31]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modle: {}", ["'modle'", "did you mean 'model'"]),
        ("masking: {ration: 0.5}", ["'masking.ration'", "did you mean 'ratio'"]),
        ("model: {encoder: {widht: 3}}", ["'model.encoder.widht'", "did you mean 'width'"]),
        ("masking: {ratio: 1.5}", ["masking.ratio", "less than 1", "1.5"]),
        ("masking: {strategy: randm}", ["did you mean 'random'"]),
        ("pretrain: {steps: 0}", ["pretrain.steps", "greater than or equal to 1"]),
        ("pretrain: {seeds: [1, 1]}", ["pretrain.seeds", "repeat"]),
        ("pretrain: {seeds: [0, -1]}", ["pretrain.seeds.1", "greater than or equal to 0", "-1"]),
        ("search: {seed: -1}", ["search.seed", "greater than or equal to 0"]),
        ("evaluate: {probe_seeds: [-1]}", ["evaluate.probe_seeds.0", "greater than or equal to 0"]),
        ("evaluate: {tasks: [knnn]}", ["evaluate.tasks", "'knn'"]),
        ("search: {metric: auto}", ["search.metric", "unknown metric 'auto'"]),
        ("search: {proxies: [auto]}", ["search.proxies", "unknown proxy 'auto'"]),
        ("search: {objectives: [metric, auto]}", ["search.objectives", "unknown objective 'auto'"]),
        ("search: {method: population, objectives: [metric, flops]}", ["population ranks by the score alone"]),
        ("pretrain: {lr: .inf}", ["pretrain.lr", "finite"]),
        ("objective: {variance: .inf}", ["objective.variance", "finite"]),
        ("objective: {targets: {hog: .inf}}", ["objective.targets.hog", "finite"]),
        ("[1, 2]", ["list", "mapping of sections"]),
        ("false", ["bool", "mapping of sections"]),
        ("masking: {ratio: 0.5}\nmasking: {strategy: grid}", ["not YAML", "masking is said twice", "line 2"]),
        ("pretrain: {steps: " + "9" * 5000 + "}", ["not YAML"]),
        ("pretrain: {seeds: [99999999999999999999]}", ["pretrain.seeds"]),
        ("model: {encoder: {width: 10000000000000}}", ["model.encoder.width", "less than or equal to"]),
        ("a: [", ["not YAML"]),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(text, words):
    with pytest.raises(RecipeError) as refusal:
        parse_recipe(text, "my.yaml")
    assert all(word in str(refusal.value) for word in ["my.yaml", *words])


def test_a_file_that_is_no_text_is_named(tmp_path):
    folder = tmp_path / "experiments" / "recipes"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_bytes("masking: {ratio: 0.5}  # für".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"mine\.yaml cannot be read: 'utf-8' codec"):
        load_recipe("mine", tmp_path)


def test_a_merged_mapping_may_say_a_key_again():
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", "x", RecipeError)["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1e-03", "1_0e-4", ".001", "1.e-3", "0.1e-2", "10.0e-4"])
def test_numbers_are_those_of_yaml_1_2_as_dvc_reads_them(text):
    assert parse_yaml(text, "x", RecipeError) == load_quickly(text) == 0.001
    recipe = parse_recipe(f"masking: {{strategy: policy, options: {{rate: {text}}}}}", "x")
    assert recipe.masking.options == {"rate": 0.001}


@pytest.mark.parametrize("content", ["1e-3", "12e4", "12e4a", "e3", "0x1e3", "on", 1e-5, 0.001])
def test_what_is_dumped_is_read_again_as_it_was(content):
    assert parse_yaml(dump_yaml({"a": [content]}), "x", RecipeError) == {"a": [content]}


@pytest.mark.parametrize(
    "rows", ["[digits]", "5", "{digits: [a, b]}", "{digits: 5}", "{digits: {dataset: 3, modality: image}}", "{1: {}}"]
)
def test_rows_of_params_that_are_none_are_refused(tmp_path, rows):
    (tmp_path / "params.yaml").write_text(f"recipes: {rows}\n")
    with pytest.raises(RecipeError, match=r"params\.yaml"):
        recipe_row("digits", tmp_path)


def test_unknown_recipe_names_the_nearest(tmp_path):
    folder = tmp_path / "experiments" / "recipes"
    folder.mkdir(parents=True)
    (folder / "digits.yaml").write_text("{}")
    with pytest.raises(RecipeError, match="did you mean 'digits'"):
        load_recipe("digit", tmp_path)
    with pytest.raises(RecipeError, match="a-z, 0-9"):
        load_recipe("../digits", tmp_path)


def test_origins_literal_beats_search_beats_default():
    recipe = parse_recipe("masking: {ratio: 0.6, strategy: auto}\nmodel: {patch: 7}", "x")
    values = resolve(recipe, DATASET, {"masking.ratio": 0.9, "masking.strategy": "grid"}).values
    assert values["masking.ratio"] == (0.6, "recipe")
    assert values["masking.strategy"] == ("grid", "search")
    assert values["pretrain.lr"].origin == "default"
    assert set(values) == set(SEARCHABLE)


def test_another_architecture_gets_the_steps_of_equal_flops():
    recipe = parse_recipe("masking: {ratio: auto}\nmodel: {patch: 7, encoder: {width: auto, depth: auto}}", "x")
    plain = resolve(recipe, DATASET)
    assert plain.settings.steps == recipe.pretrain.steps
    for chosen in ({"masking.ratio": 0.4}, {"model.encoder.width": 64}, {"model.encoder.depth": 9}):
        other = resolve(recipe, DATASET, chosen)
        cost = train_flops(other.config) * other.settings.steps
        assert cost == pytest.approx(train_flops(plain.config) * plain.settings.steps, rel=0.01)


@pytest.mark.parametrize("page", ["README.md", "docs/recipes.md", "pipelines/cli.py"])
def test_the_ratio_that_pages_pin_stands_with_the_steps_of_equal_flops(page):
    """A literal keeps the steps beside it, so that the ratio alone would have a third more compute."""
    recipe = load_recipe("digits", Path())
    steps = resolve(recipe, DATASET, {"masking.ratio": 0.6}).settings.steps
    pinned = recipe.model_copy(update={"masking": recipe.masking.model_copy(update={"ratio": 0.6})})
    assert resolve(pinned, DATASET).settings.steps == recipe.pretrain.steps > steps
    assert re.search(rf"masking\.ratio=0\.6' -S '\S+:pretrain\.steps={steps}'", Path(page).read_text())


def test_a_resolved_config_builds():
    assert MaskedAutoencoder.build(resolve(Recipe(), DATASET).config).modality.cells == 16


@pytest.mark.parametrize(
    ("size", "patch"), [((28, 28), 7), ((32, 32), 8), ((224, 224), 16), ((64, 64), 16), ((48, 96), 12)]
)
def test_default_patch_divides_and_leaves_cells(size, patch):
    assert ImageModality.default_patch({"sample": {"shape": [1, *size]}}) == patch
    assert size[0] % patch == 0 and size[1] % patch == 0


def test_default_patch_refuses_tiny_images():
    with pytest.raises(RecipeError, match="4 cells a side"):
        resolve(Recipe(), {**DATASET, "sample": {"shape": [1, 3, 3]}})


def test_params_row_names_what_is_missing(tmp_path):
    (tmp_path / "params.yaml").write_text("recipes: {digits: {dataset: mnist5k}}")
    with pytest.raises(RecipeError, match="lacks modality"):
        recipe_row("digits", tmp_path)
    with pytest.raises(RecipeError, match="maestro enable other"):
        recipe_row("other", tmp_path)
