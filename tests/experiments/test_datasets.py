"""Dataset descriptions: every one parses, mistakes are named, and what is prepared is what was described."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from experiments.datasets import load_dataset_spec, parse_dataset, prepare
from experiments.recipe import Recipe, RecipeError
from experiments.resolving import resolve
from mae_core.data.dataset import DatasetError, open_dataset
from mae_core.data.download import FetchError
from mae_core.data.quarantine import TooManyRefused
from mae_core.data.sources import SourceError
from mae_core.model import MaskedAutoencoder

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTIONS = sorted((ROOT / "experiments" / "datasets").glob("*.yaml"))
PLAIN = {
    "schema": 1,
    "modality": "image",
    "licence": "CC0",
    "source": {"kind": "folder", "size": [8, 8], "channels": 3},
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty project with the descriptions of this one."""
    monkeypatch.delenv("MAESTRO_MIRROR", raising=False)
    shutil.copytree(ROOT / "experiments" / "datasets", tmp_path / "experiments" / "datasets")
    return tmp_path


def describe(root, name="mine", source=None, **facts):
    whole = {
        **PLAIN,
        "source": {**PLAIN["source"], **(source or {})},
        "splits": {"validation": 0.2, "test": 0.2},
        **facts,
    }
    (root / "experiments" / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump(whole))


def pictures(folder, n, classes=("",), seed=0):
    pixels = np.random.default_rng(seed)
    for i in range(n):
        place = folder / classes[i % len(classes)] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(place)
    return str(folder)


def sizes(info):
    return [info["splits"][name]["samples"] for name in ("train", "validation", "test")]


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.stem)
def test_every_description_parses(path):
    spec = load_dataset_spec(path.stem, ROOT)
    assert spec.licence and spec.origin
    assert all(other in {p.stem for p in DESCRIPTIONS} for other in spec.overlaps)
    assert all(file.url.startswith(("https://", "http://")) for file in spec.files)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"licnce": "x"}, r"unknown key 'licnce' \(did you mean 'licence'\?\)"),
        ({"splits": {"vaildation": 0.1}}, r"unknown key 'splits\.vaildation' \(did you mean 'validation'\?\)"),
        ({"splits": {"test": 1.5}}, r"splits\.test"),
        ({"modality": "imge"}, r"unknown modality 'imge' \(did you mean 'image'\?\)"),
        ({"schema": 2}, "schema"),
        ({"source": {"kind": "foldr"}}, r"unknown kind 'foldr' \(did you mean 'folder'\?\)"),
        (
            {"source": {**PLAIN["source"], "chanels": 3}},
            r"unknown option 'chanels' of kind folder \(did you mean 'channels'\?\)",
        ),
        ({"source": {"kind": "folder", "channels": 3}}, "kind folder needs 'size'"),
        ({"source": {**PLAIN["source"], "size": [8]}}, r"size \[8\]: give \[rows, columns\]"),
        ({"source": {**PLAIN["source"], "channels": 4}}, "channels 4"),
        ({"files": [{"path": "a", "url": "example.org/a"}]}, r"files\.0\.url"),
        ({"files": [{"path": "a", "url": "https://example.org/a", "sha256": "12"}]}, r"files\.0\.sha256"),
    ],
)
def test_mistakes_are_named_with_the_nearest_right_word(change, reason):
    with pytest.raises(DatasetError, match=rf"(?s)^mine\.yaml:.*{reason}"):
        parse_dataset(yaml.safe_dump({**PLAIN, **change}), "mine.yaml")


def test_what_is_no_description_is_refused(root):
    with pytest.raises(DatasetError, match="is not YAML"):
        parse_dataset("a: [", "mine.yaml")
    with pytest.raises(DatasetError, match=r"mine\.yaml"):
        parse_dataset("[1, 2]", "mine.yaml")
    with pytest.raises(DatasetError, match=r"no dataset 'mnist5' \(did you mean 'mnist5k'\?\)"):
        prepare("mnist5", root)
    with pytest.raises(DatasetError, match=r"no dataset '\.\./x'"):
        prepare("../x", root)


def test_the_digits_of_the_package(root):
    info = prepare("mnist5k", root)
    assert sizes(info) == [3600, 400, 1000] and info["verified"] and info["duplicates"]["across_splits"] == 0
    dataset = open_dataset(root / "data" / "mnist5k")
    for name, each in (("train", 360), ("validation", 40), ("test", 100)):
        assert np.bincount(dataset.split(name).labels).tolist() == [each] * 10
    first = (root / "data" / "mnist5k").rename(root / "first")
    assert prepare("mnist5k", root) == info
    for path in first.iterdir():
        assert path.read_bytes() == (root / "data" / "mnist5k" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("name", "expected", "shape"),
    [("mnist", [55_000, 5000, 10_000], [1, 28, 28]), ("cifar10_subset", [4500, 500, 1000], [3, 32, 32])],
)
def test_published_sets_from_a_mirror(root, shared_data, monkeypatch, name, expected, shape):
    monkeypatch.setenv("MAESTRO_MIRROR", str(shared_data))
    info = prepare(name, root)
    assert sizes(info) == expected and info["sample"]["shape"] == shape and len(info["classes"]) == 10
    assert info["verified"] and info["quarantined"] == 0 and info["notes"] == []


def test_mnist_of_a_mirror_is_mnist(root, shared_data, monkeypatch):
    monkeypatch.setenv("MAESTRO_MIRROR", str(shared_data))
    prepare("mnist", root)
    dataset = open_dataset(root / "data" / "mnist")
    assert np.bincount(dataset.split("test").labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # published figures of the training part: mean 0.1307, deviation 0.3081
    assert dataset.info["mean"] == pytest.approx([0.1307], abs=2e-4) and dataset.info["std"] == pytest.approx(
        [0.3081], abs=2e-4
    )


def test_a_tree_without_a_mirror_says_where_to_put_it(root):
    with pytest.raises(FetchError, match=r"put it at .*downloads/cifar10-jpeg-subset, or at \$MAESTRO_MIRROR"):
        prepare("cifar10_subset", root)


def test_a_class_tree_with_all_that_people_leave_in_it(root, shared_data):
    place = {"path": str(shared_data / "broken" / "class-tree")}
    describe(root, source=place)
    with pytest.raises(TooManyRefused, match=r"1 of 6 items are bad .*1 × empty file.*cat/empty\.png.*max_bad"):
        prepare("mine", root)
    assert not (root / "data" / "mine").exists()
    describe(root, source=place, max_bad=0.2)
    info = prepare("mine", root)
    assert info["classes"] == ["cat", "dog", "empty-class"] and sum(sizes(info)) == 5
    assert info["quarantined"] == 1 and info["ignored"] == 6 and not info["verified"]
    assert (root / "data" / "mine" / "quarantine.csv").read_text().splitlines()[1] == "cat/empty.png,empty file,"
    assert str(shared_data) not in (root / "data" / "mine" / "dataset.json").read_text()


def test_too_many_bad_pictures_stop_with_the_top_reasons(root, tmp_path):
    folder = tmp_path / "own"
    pictures(folder, 94, ("a", "b"))
    for i in range(4):
        (folder / "a" / f"text{i}.jpg").write_text("no picture")
    (folder / "b" / "empty.png").write_bytes(b"")
    (folder / "b" / "page.png").write_text("<html>404</html>")
    describe(root, source={"path": str(folder)})
    with pytest.raises(
        TooManyRefused, match=r"6 of 100 items are bad \(6%, at most 5% may be\): 5 × not a picture; 1 × empty file"
    ):
        prepare("mine", root)
    (folder / "b" / "page.png").unlink()
    for i in range(94, 96):
        shutil.copy(folder / "a" / "0.png", folder / "a" / f"{i}.png")
    assert prepare("mine", root)["quarantined"] == 5


def test_one_class_prepares_and_says_that_probes_are_skipped(root, tmp_path):
    describe(root, source={"path": pictures(tmp_path / "own", 20, ("only",))})
    info = prepare("mine", root)
    assert info["notes"] == ["one class only (only): probes are skipped"]
    assert not open_dataset(root / "data" / "mine").labelled


def test_few_labels_among_many_pictures(root, tmp_path):
    pictures(tmp_path / "own", 200, ("unlabelled",))
    describe(root, source={"path": pictures(tmp_path / "own", 40, ("cat", "dog"), seed=1)})
    info = prepare("mine", root)
    assert [info["splits"][name]["labelled"] for name in ("train", "validation", "test")] == [24, 8, 8]
    assert sizes(info) == [144, 48, 48] and info["classes"] == ["cat", "dog"]


def test_a_path_is_taken_from_the_project_where_it_is_relative(root):
    pictures(root / "own", 20)
    describe(root, source={"path": "own"})
    assert sum(sizes(prepare("mine", root))) == 20
    describe(root, source={"path": "elsewhere"})
    with pytest.raises(SourceError, match="elsewhere is not a folder"):
        prepare("mine", root)


def test_pictures_smaller_than_a_patch_are_refused_by_name(root, tmp_path):
    describe(root, source={"path": pictures(tmp_path / "own", 20)})
    info = prepare("mine", root)
    recipe = Recipe.model_validate({"model": {"patch": 16}})
    with pytest.raises(ValueError, match=r"(?s)16.*8"):
        MaskedAutoencoder.build(resolve(recipe, info).config)
    describe(root, source={"path": str(tmp_path / "own"), "size": [3, 3]})
    with pytest.raises(RecipeError, match="images of 3x3 leave no patch"):
        resolve(Recipe(), prepare("mine", root))
