"""Models of one dataset probed on another: brought to shape by the stated rule, or refused."""

import csv
import json

import numpy as np
import pytest
import yaml
from project import make_project, stripes

from experiments import transfer as stage
from experiments import words
from experiments.recipe import RecipeError, load_recipe
from experiments.resolving import resolve
from mae_core.data.dataset import open_dataset
from mae_core.data.pack import Rules, pack
from mae_core.data.sources import Part, Source
from mae_core.evaluation.classifier import Classifier
from mae_core.modalities.image_fitting import fitting
from mae_core.model import MaskedAutoencoder


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setenv("MAESTRO_MLFLOW", "off")
    monkeypatch.setattr("experiments.runs.end_with_parent", lambda: None)


@pytest.fixture
def root(tmp_path):
    made = make_project(tmp_path / "p")
    params = yaml.safe_load((made / "params.yaml").read_text())
    params["transfers"] = {"tiny_on_large": {"recipe": "tiny", "dataset": "large"}, "torn": {"recipe": "tiny"}}
    (made / "params.yaml").write_text(yaml.safe_dump(params))
    config = resolve(load_recipe("tiny", made), open_dataset(made / "data/tiny").info).config
    MaskedAutoencoder.build(config, 0).save(made / "models/tiny/seed-0")
    Classifier.build(config, ["a", "b"]).save(made / "controls/tiny/supervised-0")
    return made


def add_large(root, channels=3, overlaps=()):
    """The stripes twice as large, in ``channels`` channels."""
    samples, labels = stripes(180, seed=4)
    samples = samples.repeat(2, 2).repeat(2, 3).repeat(channels, 1)
    part = Part("all", samples, labels, [str(i) for i in range(180)])
    rules = Rules("large", "image", "CC0", "tests", True, {"validation": 0.2, "test": 0.3}, overlaps)
    pack(Source([part], ["across", "down", "slanted"], [], 0, []), rules, root / "data" / "large")


def table(root, name):
    with open(root / "results" / "tiny_on_large" / name) as file:
        return list(csv.DictReader(file))


def outs(root):
    return {path.name: path.read_bytes() for path in (root / "results/tiny_on_large").iterdir()}


def test_probes_on_another_shape_beside_its_own_pixels(root):
    add_large(root)
    stage.transfer("tiny_on_large", root, workers=1)
    rows = table(root, "scores.csv")
    assert {(row["recipe"], row["dataset"]) for row in rows} == {("tiny_on_large", "large")}
    assert {row["task"] for row in rows} == {"knn", "linear", "few_label"}
    assert {row["model"] for row in rows} == {"pretrained", "untrained", "pixels_knn", "pixels_logistic", "pca"}
    linear = [row for row in rows if row["model"] == "pretrained" and row["metric"] == "accuracy"]
    assert max(float(row["value"]) for row in linear if row["split"] == "test") > 0.6
    assert "linear" in json.loads((root / "results/tiny_on_large/metrics.json").read_text())["test"]
    assert table(root, "skipped.csv") == []
    first = outs(root)
    stage.transfer("tiny_on_large", root, workers=1)
    assert outs(root) == first


def test_a_dataset_with_the_same_images_is_measured_and_named(root):
    add_large(root, overlaps=["tiny"])
    stage.transfer("tiny_on_large", root, workers=1)
    told = ["large shares images with tiny, which the models were trained on"]
    assert words.caveats(row["reason"] for row in table(root, "skipped.csv")) == told


def test_channels_that_nothing_leads_to_are_refused(root):
    add_large(root, channels=2)
    with pytest.raises(ValueError, match=r"seed-0 on large: samples have 2 channels, the model takes 1"):
        stage.transfer("tiny_on_large", root, workers=1)
    assert not (root / "results/tiny_on_large").exists()


def test_names_that_are_not_listed_or_not_whole(root):
    with pytest.raises(RecipeError, match=r"did you mean 'tiny_on_large'"):
        stage.transfer("tiny_on_larg", root)
    with pytest.raises(RecipeError, match=r"transfers\.torn lacks dataset"):
        stage.transfer("torn", root)


def test_fitting_leaves_what_fits_and_states_the_rule():
    grey = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 6)).astype(np.uint8)
    assert fitting(grey, 1, (8, 6)) is grey
    colour = fitting(grey, 3, (8, 6))
    assert len(colour) == 5
    np.testing.assert_array_equal(colour[1:3], grey[1:3].repeat(3, 1))
    np.testing.assert_array_equal(fitting(colour[:], 1, (8, 6))[:], grey)
    red = np.zeros((1, 3, 4, 4), np.uint8)
    red[:, 0] = 100
    assert (fitting(red, 1, (4, 4))[:] == 30).all()
    checks = (np.indices((8, 8)).sum(0) % 2 * 200).astype(np.uint8)[None, None]
    small = fitting(checks, 1, (2, 2))[:]
    assert (
        small.shape == (1, 1, 2, 2) and np.abs(small.astype(int) - 100).max() <= 12
    )  # antialiased: grey, not black or white
