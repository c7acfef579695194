"""Which keys of a recipe an encoder or decoder takes, and what a search may choose of them."""

import re
from pathlib import Path

import pytest
import yaml

from experiments.recipe import DecoderSection, EncoderSection, Recipe, RecipeError, parse_recipe
from experiments.resolving import SEARCHABLE, resolve
from experiments.space import Tried, load_space, narrow, propose
from mae_core.modalities.table import TableModality
from mae_core.model import MaskedAutoencoder

DATASET = {"sample": {"shape": [1, 16, 16]}, "mean": [0.13], "std": [0.31]}


def config_of(text: str, chosen=None):
    return resolve(parse_recipe(text, "x"), DATASET, chosen).config


def test_defaults_take_what_they_took_and_the_options_of_the_transformer():
    config = resolve(Recipe(), DATASET).config
    assert config["encoder"] == {
        "kind": "vit", "width": 128, "depth": 6, "heads": 4, "local_start": False, "registers": 0, "qk_norm": False,
        "drop_path": 0.0, "layer_scale": 0.0, "positions": "sincos", "global_pool": "mean", "global_token": True,
    }  # fmt: skip
    assert config["decoder"] == {"kind": "joint", "width": 64, "depth": 1, "heads": 4, "local_start": False}


def test_other_kinds_take_other_keys():
    config = config_of("model: {encoder: {kind: conv, kernel: 5}, decoder: {kind: unet}}")
    assert config["encoder"] == {
        "kind": "conv", "width": 128, "depth": 6, "drop_path": 0.0, "positions": "sincos", "stages": 2, "kernel": 5
    }  # fmt: skip
    assert config["decoder"] == {"kind": "unet", "width": 64, "depth": 1, "kernel": 7}
    assert config_of("model: {decoder: {kind: linear, share: 0.5}}")["decoder"] == {
        "kind": "linear", "width": 64, "heads": 4, "share": 0.5
    }  # fmt: skip
    assert MaskedAutoencoder.build(config).encoder.makes_maps


def test_heads_that_are_left_open_divide_the_width():
    for width in range(8, 260, 4):
        config = config_of(f"model: {{encoder: {{width: {width}}}, decoder: {{width: {width}}}}}")
        for part, channels in (("encoder", 32), ("decoder", 16)):
            heads = config[part]["heads"]
            assert width % heads == 0 and (heads == 1 or width // heads >= channels)
    assert config_of("model: {encoder: {width: 192}}")["encoder"]["heads"] == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "{encoder: {kind: conv, registers: 4}}",
            ["model.encoder.registers: encoder 'conv' does not take it", "write 0"],
        ),
        ("{encoder: {kernel: 5}}", ["model.encoder.kernel: encoder 'vit' does not take it", "write 7"]),
        ("{decoder: {share: 0.5}}", ["model.decoder.share: decoder 'joint' does not take it", "write 1.0"]),
        ("{decoder: {kind: linear, depth: 4}}", ["model.decoder.depth", "it takes heads, share, width"]),
    ],
)
def test_a_key_that_would_do_nothing_is_refused(text, words):
    with pytest.raises(RecipeError) as refusal:
        config_of(f"model: {text}")
    assert all(word in str(refusal.value) for word in words)


@pytest.mark.parametrize(
    ("what", "asked", "section"),
    [("encoder", "{kind: conv, registers: 4}", EncoderSection), ("decoder", "{kind: unet, heads: 2}", DecoderSection)],
)
def test_the_keys_that_a_refusal_offers_can_be_written(what, asked, section):
    with pytest.raises(RecipeError) as refusal:
        config_of(
            f"model: {{{what}: {asked}}}"
            if what == "encoder"
            else f"model: {{encoder: {{kind: conv}}, {what}: {asked}}}"
        )
    offered = re.search(r"it takes ([\w, ]+)\)", str(refusal.value))[1].split(", ")
    assert "kernel" in offered and set(offered) <= set(section.model_fields)


@pytest.mark.parametrize("kind", ["conv", "hybrid"])
def test_an_encoder_that_the_modality_has_not_names_those_that_it_has(kind):
    table = TableModality.examples()["numbers"].config
    with pytest.raises(RecipeError, match=rf"model\.encoder\.kind: encoder '{kind}' .* 'table': there are vit"):
        resolve(parse_recipe(f"model: {{encoder: {{kind: {kind}}}}}", "x"), table, {}, "table")


@pytest.mark.parametrize(
    "text",
    [
        "{encoder: {kind: cnv}}", "{encoder: {positions: learned}}", "{encoder: {drop_path: 1.0}}",
        "{encoder: {registers: -1}}", "{decoder: {share: 0}}", "{decoder: {kind: unett}}",
    ],
)  # fmt: skip
def test_values_that_are_none_are_refused(text):
    with pytest.raises(RecipeError, match=r"model\."):
        config_of(f"model: {text}")


def test_a_switch_is_named_as_it_was_written():
    with pytest.raises(RecipeError) as refusal:
        config_of("model: {encoder: {qk_norm: perhaps}}")
    assert "model.encoder.qk_norm: " in str(refusal.value) and "qk_norm.bool" not in str(refusal.value)


def test_every_key_of_both_networks_can_be_searched():
    text = "model: {encoder: {kind: auto, qk_norm: auto, stages: auto}, decoder: {kind: auto, share: auto}}"
    recipe = parse_recipe(text, "x")
    chosen = {
        "model.encoder.kind": "conv",
        "model.encoder.stages": 1,
        "model.decoder.kind": "cross",
        "model.decoder.share": 0.5,
    }
    found = resolve(recipe, DATASET, {**chosen, "model.encoder.qk_norm": True})
    assert found.config["encoder"]["kind"] == "conv" and found.config["encoder"]["stages"] == 1
    assert "qk_norm" not in found.config["encoder"], "chosen by a search, and without meaning here"
    assert found.config["decoder"]["share"] == 0.5
    assert set(found.values) == set(SEARCHABLE)
    assert found.values["model.encoder.kind"] == ("conv", "search")


def space_of(folder: Path, keys, recipe: str):
    path = folder / "experiments" / "spaces"
    path.mkdir(parents=True)
    (path / "mine.yaml").write_text(yaml.safe_dump(keys))
    return narrow(load_space("mine", folder), parse_recipe(recipe, "x"), DATASET)


def test_a_space_may_hold_kinds_and_switches(tmp_path):
    keys = {
        "model.encoder.kind": {"choices": ["vit", "conv"]},
        "model.encoder.qk_norm": {"choices": [False, True]},
        "model.encoder.stages": {"choices": [1, 2]},
        "model.decoder.kind": {"choices": ["joint", "cross", "unet"]},
    }
    recipe = "model: {encoder: {kind: auto, qk_norm: auto, stages: auto}, decoder: {kind: auto}}"
    space = space_of(tmp_path, keys, recipe)
    assert list(space.keys) == sorted(keys), "what one kind does not take another may"
    assert space.defaults["model.encoder.qk_norm"] is False
    assert any("unet" in note and "does not make" in note for note in space.notes), "the default encoder has no maps"
    for chosen in propose(space, [], 8, 0, 8):
        MaskedAutoencoder.build(resolve(parse_recipe(recipe, "x"), DATASET, chosen).config)


def test_a_network_is_not_proposed_again_with_another_value_of_a_key_that_its_kind_does_not_take(tmp_path):
    keys = {
        "model.encoder.kind": {"choices": ["vit", "conv"]},
        "model.encoder.registers": {"choices": [0, 2, 4]},
        "model.encoder.stages": {"choices": [1, 2]},
    }
    recipe = "model: {encoder: {kind: auto, registers: auto, stages: auto}}"
    space = space_of(tmp_path, keys, recipe)
    proposed = propose(space, [], 11, 0, 12)
    configs = [resolve(parse_recipe(recipe, "x"), DATASET, one).config for one in (space.defaults, *proposed)]
    assert len({str(config) for config in configs}) == len(configs) == 5, "three with registers, two with stages"
    later = propose(space, [Tried(one, 0.5) for one in (space.defaults, *proposed[:2])], 4, 0, 12)
    assert len(later) == 2, "nor is what was tried before"


def test_keys_that_the_kind_does_not_take_are_not_searched(tmp_path):
    keys = {"model.encoder.registers": {"choices": [0, 4]}, "model.encoder.kernel": {"choices": [3, 7]}}
    space = space_of(tmp_path, keys, "model: {encoder: {registers: auto, kernel: auto}}")
    assert list(space.keys) == ["model.encoder.registers"]
    assert space.notes == ["model.encoder.kernel is not searched: encoder 'vit' does not take it"]
