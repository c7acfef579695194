"""Listing recipes in params.yaml keeps its comments and never damages it."""

import re

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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("datasets: [2024]\nrecipes:\n", r"params\.yaml: datasets lists 2024, a int instead of a name"),
        ("datasets: 5\nrecipes:\n", r"params\.yaml: datasets is a int instead of a list of names"),
        ("datasets: a\nrecipes:\n", r"params\.yaml: datasets is a str instead of a list of names"),
        (
            "datasets: [a]\nrecipes: [digits]\n",
            r"params\.yaml: recipes is a list instead of a mapping of names to rows",
        ),
        (None, r"params\.yaml cannot be read"),
    ],
)
def test_enable_names_the_file_and_what_is_wanted_there(tmp_path, text, told):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecipeError, match=told):
        enable(tmp_path, "s", "a")
    assert text is None or path.read_text() == text


NO_WORDS = ("2024", "08", "1_000", "0o17", "2e5", "0x1f", "on", "no", "true", "null")
NO_PATHS = ("", "a b", "a\n", "../a", "Ä", "a" * 41)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *((name, "YAML reads it as .*, not as a word: .*--name") for name in NO_WORDS),
        *((name, "use 1 to 40 of a-z, 0-9 and _: .*--name") for name in NO_PATHS),
    ],
)
def test_enable_refuses_names_that_are_no_words_in_yaml_or_would_break_paths(tmp_path, name, told):
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    for recipe, dataset in ((name, "a"), ("s", name)):
        with pytest.raises(RecipeError, match=f"^name {re.escape(repr(name))}: {told}"):
            enable(tmp_path, recipe, dataset)
    assert path.read_text() == TEXT


def test_enable_leaves_comments_where_they_are(tmp_path):
    path = tmp_path / "params.yaml"
    text = (
        "datasets: [a, 'b']  # my pictures\nrecipes:  # what runs\n  r: {dataset: a, modality: image}  # the demo\n"
        "  # and another\n  t: {dataset: a, modality: image}\ntransfers:\n  x: {recipe: r, dataset: b}\n"
    )
    path.write_text(text)
    assert enable(tmp_path, "r", "b") == "a"
    moved = text.replace("r: {dataset: a, modality: image}", "r: {dataset: b, modality: image}")
    assert path.read_text() == moved, "in its place"
    assert enable(tmp_path, "r", "b") == "" and path.read_text() == moved
    enable(tmp_path, "s", "c")
    grown = moved.replace("[a, 'b']  # my pictures", "[a, 'b', c]  # my pictures")
    assert path.read_text() == grown.replace("# what runs\n", "# what runs\n  s: {dataset: c, modality: image}\n")


def test_enable_leaves_a_list_of_datasets_alone_that_has_the_dataset(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("datasets:\n- a  # mine\nrecipes:\n")
    enable(tmp_path, "s", "a")
    assert path.read_text() == "datasets:\n- a  # mine\nrecipes:\n  s: {dataset: a, modality: image}\n"
