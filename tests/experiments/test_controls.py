"""The controls stage without Ray: equal FLOPs, whole folders, and a run that was broken off."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from project import make_project, write_dataset, write_recipe
from without_ray import train_in_this_process

import experiments.controls as stage
import experiments.pretrain as pretrain
import experiments.train as train
from experiments.recipe import RecipeError
from mae_core.data.dataset import open_dataset
from mae_core.evaluation.classifier import Classifier
from mae_core.evaluation.finetune import predict
from mae_core.flops import encode_flops, train_flops
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import fit, start

MODELS = {"controls": {"models": ["autoencoder", "supervised"]}}


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Trains in this process; the names of what was trained."""
    return train_in_this_process(monkeypatch)


@pytest.fixture
def root(tmp_path):
    return make_project(tmp_path / "p", pretrain={"seeds": [0, 3]}, **MODELS)


def files(root):
    folder = root / "controls" / "tiny"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_twin_of_each_kind_for_each_seed_at_equal_flops(root, trained):
    stage.controls("tiny", root)
    folder = root / "controls" / "tiny"
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "autoencoder-0", "autoencoder-3", "supervised-0", "supervised-3",
    }  # fmt: skip
    assert trained == ["autoencoder-0", "autoencoder-3"]
    context = stage.prepare_context("tiny", root)
    pretraining = 60 * 12 * train_flops(context.resolved.config)
    for path in folder.iterdir():
        if path.is_dir():
            made = json.loads((path / "config.json").read_text())["provenance"]
            assert made["train_flops"] == pytest.approx(pretraining, rel=0.05), path.name
            assert made["steps"] < 60 or "supervised" in path.name  # whole images cost more than a quarter of them
            assert (path / "card.md").read_text().startswith("# Control of tiny")
    twin = MaskedAutoencoder.load(folder / "autoencoder-0")
    assert twin.ratio == 0 and twin.config["encoder"] == context.resolved.config["encoder"]
    network = Classifier.load(folder / "supervised-0")
    assert made["train_flops"] and encode_flops(network.config) == encode_flops(twin.config)
    first, other = (Classifier.load(folder / f"supervised-{k}").head.weight for k in (0, 3))
    assert not torch.equal(first, other)


def test_the_supervised_twin_has_learned_its_labels(root):
    write_recipe(root, pretrain={"steps": 400}, controls={"models": ["supervised"]})
    stage.controls("tiny", root)
    split = open_dataset(root / "data/tiny").split("test")
    network = Classifier.load(root / "controls/tiny/supervised-0")
    assert np.mean(predict(network, split.samples) == split.labels) > 0.8


def test_the_supervised_twin_sees_the_samples_that_the_model_sees(root, monkeypatch):
    changes = {"crop": 0.5, "flip": True, "color_jitter": 0.5, "seeds": [0]}
    write_recipe(root, pretrain=changes, controls={"models": ["supervised"]})
    batches = {}

    def noting(network, called):
        split = network.modality.split
        monkeypatch.setattr(
            network.modality, "split", lambda raw: batches.setdefault(called, []).append(raw) or split(raw)
        )

    context = stage.prepare_context("tiny", root)
    settings = replace(context.resolved.settings, precision="fp32")
    state = start(context.resolved.config, settings)
    noting(state.model, "model")
    list(fit(state, context.dataset.split("train").samples, settings))
    build = Classifier.build
    monkeypatch.setattr(Classifier, "build", lambda *asked: noting(made := build(*asked), "twin") or made)
    stage.controls("tiny", root)
    pairs = list(zip(batches["model"], batches["twin"]))
    assert len(pairs) == 60 and all(torch.equal(model, twin) for model, twin in pairs)


def test_the_supervised_twin_averages_its_weights_where_the_model_does(root):
    made = {}
    for ema in (0.0, 0.9):
        write_recipe(root, pretrain={"ema": ema, "seeds": [0]}, controls={"models": ["supervised"]})
        stage.controls("tiny", root)
        made[ema] = Classifier.load(root / "controls/tiny/supervised-0").head.weight
    assert 1e-5 < (made[0.9] - made[0.0]).abs().max() < 0.05


def test_none_asked_for_leaves_a_folder_that_says_so(root):
    write_recipe(root, controls={"models": []})
    stage.controls("tiny", root)
    assert list(files(root)) == ["README.md"] and b"none" in files(root)["README.md"]


def test_again_gives_the_same_bytes(root):
    write_recipe(root, **MODELS)
    stage.controls("tiny", root)
    first = files(root)
    stage.controls("tiny", root)
    assert files(root) == first
    assert not any(str(root).encode() in content for content in first.values())


def test_a_broken_off_run_goes_on_from_its_checkpoint_and_ends_alike(root, monkeypatch):
    write_recipe(root, pretrain={"checkpoint_every": 10}, controls={"models": ["autoencoder"]})
    stage.controls("tiny", root)
    whole = files(root)
    for path in (root / "runs").iterdir():
        path.rename(path.with_name("old"))
    save, saved = train.Saver.save, []

    def killed(saver, state):
        save(saver, state)
        saved.append(state.step)
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(train.Saver, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        stage.controls("tiny", root)
    assert files(root) == whole  # what had been delivered stays until there is something to replace it
    stage.controls("tiny", root)
    assert saved[0] == 10 and saved.count(10) == 1
    assert files(root) == whole


def test_a_supervised_twin_without_labels_is_refused_before_anything_runs(root, trained):
    write_dataset(root, labels=np.full(240, -1))
    with pytest.raises(RecipeError, match=r"supervised twin, but tiny has no labels"):
        stage.controls("tiny", root)
    write_dataset(root)
    write_recipe(root, **MODELS, pretrain={"batch_size": 1})
    with pytest.raises(RecipeError, match=r"pretrain\.batch_size has to be 2 or more"):
        stage.controls("tiny", root)
    assert trained == [] and not (root / "runs").exists()


def test_a_supervised_twin_of_a_start_has_the_recipes_network(root):
    pretrain.pretrain("tiny", root)
    (root / "models" / "tiny" / "seed-0").rename(root / "start")
    changed = {"model": {"encoder": {"drop_path": 0.5}}, "pretrain": {"init_from": "start", "steps": 1, "lr": 1e-12}}
    write_recipe(root, controls={"models": ["supervised"]}, **changed)
    stage.controls("tiny", root)
    twin = root / "controls" / "tiny" / "supervised-0"
    assert json.loads((twin / "config.json").read_text())["encoder"]["drop_path"] == 0.5
    begun = MaskedAutoencoder.load(root / "start").encoder.state_dict()
    found = Classifier.load(twin).encoder.state_dict()
    assert all((found[name] - value).abs().max() < 0.05 for name, value in begun.items()), "it begins there"
    with pytest.raises(ValueError, match=r"holds a classifier, .*: read it with Classifier\.load"):
        MaskedAutoencoder.load(twin)
