"""The classifier: same head for both starts, layers for layer decay, saved and read again."""

import json

import numpy as np
import pytest
import torch

from mae_core.evaluation.classifier import Classifier
from mae_core.evaluation.features import extract
from mae_core.model import MaskedAutoencoder
from mae_core.training.optim import param_groups

CLASSES = ["a", "b", "c"]


def test_pretrained_differs_from_scratch_in_the_encoder_alone(model, config):
    model = MaskedAutoencoder.build(config, seed=5)
    ours, twin = Classifier.from_pretrained(model, CLASSES, 0), Classifier.build(config, CLASSES, 0)
    assert torch.equal(ours.head.weight, twin.head.weight)
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(ours.encoder.state_dict()[name], value)
    assert not torch.equal(ours.modality.project.weight, twin.modality.project.weight)
    with torch.no_grad():
        ours.modality.project.weight.zero_()
    assert model.modality.project.weight.abs().sum() > 0  # a copy


def test_building_leaves_the_global_generator_alone(config):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Classifier.build(config, CLASSES, 7)
    assert torch.equal(torch.rand(1), expected)


def test_layer_decay_groups(config):
    made = Classifier.build(config, CLASSES)
    scales = {}
    for group in param_groups(made, 0.05, 0.5, made.layer_of, made.layers):
        for parameter in group["params"]:
            scales[id(parameter)] = (group["lr_scale"], group["weight_decay"])
    by_name = {name: scales[id(parameter)] for name, parameter in made.named_parameters()}
    assert made.layers == 4  # embedding, two blocks, head
    assert by_name["modality.project.weight"] == (0.125, 0.05)
    assert by_name["encoder.global_token"] == (0.125, 0.0)
    assert {v[0] for n, v in by_name.items() if n.startswith("encoder.blocks.0")} == {0.25}
    assert {v[0] for n, v in by_name.items() if n.startswith("encoder.blocks.1")} == {0.5}
    assert by_name["encoder.norm.weight"] == (1.0, 0.0) and by_name["head.weight"] == (1.0, 0.05)


def test_an_unknown_parameter_has_no_depth(config):
    with pytest.raises(ValueError, match=r"depth parameter encoder\.extra"):
        Classifier.build(config, CLASSES).layer_of("encoder.extra")


def test_features_are_those_of_the_model_it_was_made_of(model, images):
    samples, _ = images(7)
    made = Classifier.from_pretrained(model, CLASSES)
    np.testing.assert_array_equal(extract(made, samples, precision="fp32"), extract(model, samples, precision="fp32"))
    np.testing.assert_array_equal(
        extract(made, samples, pool="global", precision="fp32"),
        extract(model, samples, pool="global", precision="fp32"),
    )


def test_saved_and_read_again(model, images, tmp_path):
    samples, _ = images(6)
    made = Classifier.from_pretrained(model, CLASSES).eval()
    made.save(tmp_path / "head", {"recipe": "r"}, "# Mine\n")
    again = Classifier.load(tmp_path / "head")
    raw = torch.from_numpy(samples)
    with torch.no_grad():
        assert torch.equal(again(raw), made(raw))
    assert again.config["classes"] == CLASSES and (tmp_path / "head" / "card.md").read_text() == "# Mine\n"
    assert json.loads((tmp_path / "head" / "config.json").read_text())["provenance"] == {"recipe": "r"}


def test_other_folders_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        Classifier.load(tmp_path)
    model.save(tmp_path / "mae")
    with pytest.raises(ValueError, match="a classifier of schema"):
        Classifier.load(tmp_path / "mae")
