"""Listing recipes in params.yaml keeps its comments and never damages it."""

import pytest
import yaml

from experiments.params import enable
from experiments.recipe import RecipeError

TEXT = "# first\ndatasets: [a]\nrecipes:\n  r: {dataset: a, modality: image}\n# last\ntransfers: {}\n"


def test_enable_adds_and_keeps_comments(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    assert enable(tmp_path, "s", "b") == "" and enable(tmp_path, "s", "b") == "", "it has not moved"
    found = yaml.safe_load(path.read_text())
    assert found["datasets"] == ["a", "b"]
    assert found["recipes"] == {"r": {"dataset": "a", "modality": "image"}, "s": {"dataset": "b", "modality": "image"}}
    assert "# first" in path.read_text() and "# last" in path.read_text()


def test_enable_moves_a_recipe_to_another_dataset(tmp_path):
    (tmp_path / "params.yaml").write_text(TEXT)
    assert enable(tmp_path, "r", "b") == "a"
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["recipes"]["r"]["dataset"] == "b"


def test_enable_refuses_what_it_cannot_edit(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("datasets:\n- a\nrecipes: {}\n")
    with pytest.raises(RecipeError, match="yourself"):
        enable(tmp_path, "s", "b")
    assert path.read_text() == "datasets:\n- a\nrecipes: {}\n"
    with pytest.raises(RecipeError, match="a-z"):
        enable(tmp_path, "S p", "b")
