"""From a folder of pictures to a dataset and a recipe: what is found is said, what is written works, nothing is overwritten."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from experiments.datasets import prepare
from experiments.initialise import InitialiseError, initialise
from experiments.params import recipe_row
from experiments.recipe import Recipe, RecipeError, load_recipe
from experiments.resolving import resolve
from mae_core.model import MaskedAutoencoder

PARAMS = "datasets: [mnist5k]\nrecipes:\n  digits: {dataset: mnist5k, modality: image}\ntransfers: {}\n"


@pytest.fixture
def root(tmp_path):
    """A project without datasets."""
    for kind in ("datasets", "recipes"):
        (tmp_path / "project" / "experiments" / kind).mkdir(parents=True)
    (tmp_path / "project" / "params.yaml").write_text(PARAMS)
    return tmp_path / "project"


def pictures(folder, counts, size=(48, 40), colour=True, seed=0):
    """``counts``: subfolder (``.`` for loose) → how many noisy pictures."""
    draw = np.random.default_rng(seed)
    for place, n in counts.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
            image = Image.fromarray(pixels if colour else pixels[..., :1].repeat(3, 2))
            image.save(folder / place / f"{i}.png")
    return folder


def made(root, folder, **options):
    """What was said, the dataset's YAML, the recipe, and the prepared dataset."""
    said = initialise(folder, root, **options)
    facts = yaml.safe_load(said.dataset.read_text())
    return said, facts, load_recipe(said.name, root), prepare(said.name, root)


def test_class_folders_with_many_unlabelled_pictures(root, tmp_path):
    folder = pictures(tmp_path / "My Pets", {"cat": 30, "dog": 20, "unlabelled": 150})
    said, facts, recipe, info = made(root, folder)
    assert said.name == "my_pets" and "200 pictures, 50 labelled, 150 without a label" in said.text
    assert "2 classes, by folder: cat 30, dog 20" in said.text and "class dog has about 14 training labels" in said.text
    assert facts["source"] == {"kind": "folder", "path": str(folder), "size": [32, 32], "channels": 3}
    assert info["classes"] == ["cat", "dog"] and info["splits"]["train"] == {"samples": 140, "labelled": 35}
    assert str(tmp_path) not in str(info), "what is prepared names no place of this machine"
    assert recipe.evaluate.labels_per_class == [1, 5, 10] and recipe.pretrain.flip and recipe.pretrain.crop < 1
    assert "TFLOP of training" in said.text or "GFLOP of training" in said.text
    assert recipe_row("my_pets", root).dataset == "my_pets"
    config = resolve(recipe, info).config
    assert MaskedAutoencoder.build(config).encode is not None and config["modality"]["size"] == [32, 32]
    *_, last_but_one, last = said.text.splitlines()
    assert last_but_one == "Next: dvc repro prepare@my_pets && maestro plan my_pets"
    assert last.startswith("Then: dvc repro evaluate@my_pets (it alone; ")


def test_every_section_and_key_is_written_out(root, tmp_path):
    said = initialise(pictures(tmp_path / "own", {"a": 6, "b": 6}), root)
    written = yaml.safe_load(said.recipe.read_text())
    whole = Recipe().model_dump()
    assert list(written) == list(whole)
    assert all(list(written[section]) == list(keys) for section, keys in whole.items())
    assert Recipe.model_validate(written) == load_recipe("own", root)


def test_loose_pictures_have_no_labels(root, tmp_path):
    said, facts, recipe, info = made(root, pictures(tmp_path / "own", {".": 30}))
    assert "no labels" in said.text and "unlabelled" not in facts["source"]
    assert info["classes"] == [] and sum(split["samples"] for split in info["splits"].values()) == 30
    assert recipe.evaluate.labels_per_class == [1]


def test_loose_pictures_beside_class_folders_are_used_without_a_label(root, tmp_path):
    said, facts, _, info = made(root, pictures(tmp_path / "own", {"a": 20, "b": 20, ".": 60}))
    assert facts["source"]["unlabelled"] == "loose" and "40 labelled, 60 without" in said.text
    assert sum(split["labelled"] for split in info["splits"].values()) == 40
    assert sum(split["samples"] for split in info["splits"].values()) == 100


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_an_own_split_is_kept(root, tmp_path, validation):
    counts = {
        "train/a": 10,
        "train/b": 12,
        f"{validation}/a": 3,
        f"{validation}/b": 3,
        "test/a": 4,
        "test/b": 4,
        "raw": 5,
    }
    said, facts, _, info = made(root, pictures(tmp_path / "own", counts))
    assert facts["source"]["parts"] == {"train": "train", "validation": validation, "test": "test"}
    assert "splits" not in facts and [split["samples"] for split in info["splits"].values()] == [22, 6, 8]
    assert (
        "split as it lies: train 22, validation 6, test 8" in said.text
        and "not read, because train/ is there: raw" in said.text
    )


def test_what_an_own_split_lacks_is_cut_from_train(root, tmp_path):
    _, facts, _, info = made(root, pictures(tmp_path / "own", {"train/a": 10, "train/b": 10, "test/a": 4, "test/b": 4}))
    assert facts["splits"] == {"validation": 0.1}
    assert [split["samples"] for split in info["splits"].values()] == [18, 2, 8]


def test_a_class_called_test_is_no_split_without_train(root, tmp_path):
    _, _, _, info = made(root, pictures(tmp_path / "own", {"test": 20, "other": 20}))
    assert info["classes"] == ["other", "test"]


@pytest.mark.parametrize(
    ("shape", "side", "why"),
    [
        ((28, 28), 32, "32 is the least"),
        ((100, 70), 64, "70 pixels or more, rounded down to a multiple of 16"),
        ((300, 400), 224, "224 is the most"),
    ],
)
def test_the_size_follows_the_pictures(root, tmp_path, shape, side, why):
    said = initialise(pictures(tmp_path / "own", {"a": 3, "b": 3}, shape), root)
    assert said.size == side and why in said.text


def test_the_size_is_that_of_the_middle_one(root, tmp_path):
    folder = pictures(tmp_path / "own", {"a": 5}, (20, 20))
    pictures(folder, {"b": 6}, (100, 100))
    assert initialise(folder, root).size == 96


def test_grey_pictures_become_grey(root, tmp_path):
    said, _, recipe, info = made(root, pictures(tmp_path / "own", {"a": 20, "b": 20}, colour=False))
    assert said.channels == 1 and "40 of 40 opened pictures are grey" in said.text
    assert info["sample"]["shape"] == [1, 32, 32] and not recipe.pretrain.flip and recipe.pretrain.crop == 1


def test_size_and_channels_may_be_given(root, tmp_path):
    folder = pictures(tmp_path / "own", {"a": 20, "b": 20})
    _, _, recipe, info = made(root, folder, name="mine", size=56, channels=1)
    assert info["sample"]["shape"] == [1, 56, 56] and recipe.model.patch == 14
    with pytest.raises(InitialiseError, match="--channels 2"):
        initialise(folder, root, "other", None, 2)
    with pytest.raises(InitialiseError, match="--size 0"):
        initialise(folder, root, "other", 0)
    with pytest.raises(ValueError, match="leave no patch"):
        initialise(folder, root, "other", 3)
    assert not list(root.glob("experiments/*/other.yaml"))


def test_bad_pictures_are_counted_by_reason(root, tmp_path):
    folder = pictures(tmp_path / "own", {"a": 20, "b": 20})
    (folder / "a" / "text.jpg").write_text("no picture")
    (folder / "a" / "notes.txt").write_text("not even called one")
    said = initialise(folder, root)
    assert "41 opened, 1 of them refused: 1 not a picture" in said.text and "1 other files are passed over" in said.text


def test_only_some_of_many_pictures_are_opened(root, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.initialise.LOOKED_AT", 10)
    said = initialise(pictures(tmp_path / "own", {"a": 20, "b": 20}), root)
    assert "40 pictures" in said.text and "10 opened" in said.text


@pytest.mark.parametrize(("side", "better"), [(31, 32), (62, 64), (33, 40), (32, 0), (45, 0), (8, 0), (12, 0)])
def test_a_side_that_only_small_patches_divide_is_said_to_be_dear(root, tmp_path, side, better):
    said = initialise(pictures(tmp_path / "own", {"a": 6, "b": 6}), root, size=side).text
    if better:
        assert (
            f"{side} has no larger patch that divides it into 4 cells or more: " in said
            and f"such as {better}, costs far less" in said
        )
    assert ("a smaller --size costs less" in said) == (not better)


def test_few_pictures_are_seen_more_often(root, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.initialise.FEWEST_STEPS", 5)
    few = initialise(pictures(tmp_path / "few", {"a": 20, "b": 20}), root)
    many = initialise(pictures(tmp_path / "many", {"a": 80, "b": 80}), root)
    steps = [load_recipe(said.name, root).pretrain.steps for said in (few, many)]
    assert steps[0] == 100 * 28 // 128 and steps[1] == 100 * 112 // 128


def test_what_is_there_is_never_overwritten(root, tmp_path):
    folder = pictures(tmp_path / "own", {"a": 6, "b": 6})
    said = initialise(folder, root)
    before = said.dataset.read_text(), said.recipe.read_text(), (root / "params.yaml").read_text()
    with pytest.raises(InitialiseError, match=r"own\.yaml exists already .* give another --name"):
        initialise(folder, root)
    said.dataset.unlink()
    with pytest.raises(InitialiseError, match=r"recipes/own\.yaml exists already"):
        initialise(folder, root)
    assert (said.recipe.read_text(), (root / "params.yaml").read_text()) == before[1:] and not said.dataset.exists()


def test_nothing_is_left_where_params_cannot_be_edited(root, tmp_path):
    (root / "params.yaml").write_text("recipes: {}\ndatasets:\n  - mnist5k\n")
    with pytest.raises(RecipeError, match="laid out by hand"):
        initialise(pictures(tmp_path / "own", {"a": 6, "b": 6}), root)
    assert not list(root.glob("experiments/*/*.yaml"))


def test_nothing_is_left_where_a_file_cannot_be_written(root, tmp_path):
    folder = pictures(tmp_path / "own", {"a": 6, "b": 6})
    shutil.rmtree(root / "experiments" / "recipes")
    (root / "experiments" / "recipes").write_text("in the way")
    with pytest.raises(OSError):
        initialise(folder, root)
    assert not (root / "experiments" / "datasets" / "own.yaml").exists()
    (root / "experiments" / "recipes").unlink()
    assert initialise(folder, root).name == "own"
    (root / "params.yaml").unlink()
    with pytest.raises(InitialiseError, match=r"has no params\.yaml: run maestro init in the folder of a project"):
        initialise(folder, root, name="other")


def test_folders_that_cannot_be_used_are_refused(root, tmp_path):
    with pytest.raises(InitialiseError, match="is no folder"):
        initialise(tmp_path / "nowhere", root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InitialiseError, match="holds no pictures"):
        initialise(tmp_path / "empty", root)
    (tmp_path / "empty" / "a.png").write_text("text")
    with pytest.raises(InitialiseError, match=r"none of 1 pictures can be used: a\.png: not a picture"):
        initialise(tmp_path / "empty", root)
    with pytest.raises(InitialiseError, match="'2024': YAML reads it as a number, not as a word: give --name"):
        initialise(tmp_path / "empty", root, name="2024")
    with pytest.raises(InitialiseError, match="give --name"):
        initialise(pictures(tmp_path / "名前", {"a": 2}), root)
    with pytest.raises(InitialiseError, match=r"name '\.\./x'"):
        initialise(tmp_path / "名前", root, "../x")


def test_real_pictures_prepare_at_once(root, shared_data):
    said, _, recipe, info = made(root, shared_data / "restoration", name="photos")
    assert said.size == 224 and said.channels == 3 and "18 opened, 0 of them refused" in said.text
    assert info["classes"] == ["Set14", "Set5"] and resolve(recipe, info).config["modality"]["patch"] == 16


def test_the_command_says_it(root, tmp_path, monkeypatch):
    from pipelines.cli import app

    monkeypatch.chdir(root)
    folder = pictures(tmp_path / "own", {"a": 6, "b": 6})
    done = CliRunner().invoke(app, ["init", str(folder), "--size", "32"], catch_exceptions=False)
    assert done.exit_code == 0 and "12 pictures, 12 labelled" in done.output and "as asked for" in done.output
    assert Path("experiments/datasets/own.yaml").is_file()
