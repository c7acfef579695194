"""The pretrain stage without Ray: what it writes, and what it does with a run that was broken off, finished or delivered."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from project import make_project, write_dataset, write_recipe
from without_ray import train_in_this_process

import experiments.pretrain as stage
from experiments.cluster import Machines, Node
from experiments.placement import ResourceError
from experiments.recipe import RecipeError
from experiments.runs import RunBusy, claim, fingerprint
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import TrainingDiverged


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    return train_in_this_process(monkeypatch)


@pytest.fixture
def root(tmp_path):
    return make_project(tmp_path / "p", pretrain={"seeds": [0, 3]})


def weights(root, seed=0):
    return MaskedAutoencoder.load(root / "models" / "tiny" / f"seed-{seed}").state_dict()


def equal(first, second):
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def run_folder(root):
    return root / "runs" / f"pretrain-tiny-{fingerprint('pretrain', 'tiny', 'fp32', root)}"


def test_models_history_and_timing_are_written(root, in_this_process):
    stage.pretrain("tiny", root)
    assert in_this_process == ["seed-0", "seed-3"]
    config = json.loads((root / "models" / "tiny" / "seed-3" / "config.json").read_text())
    assert config["masking"] == {"strategy": "random", "ratio": 0.75, "ratio_spread": 0.0}
    facts = config["provenance"]
    assert (facts["recipe"], facts["dataset"], facts["seed"], facts["steps"]) == ("tiny", "tiny", 3, 60)
    assert facts["origins"]["masking.ratio"] == "recipe" and facts["origins"]["model.patch"] == "recipe"
    with open(root / "results" / "tiny" / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["seed"]), int(row["step"])) for row in rows] == [(s, k) for s in (0, 3) for k in (20, 40, 60)]
    assert float(rows[2]["loss"]) < float(rows[0]["loss"]) and float(rows[2]["epoch"]) == pytest.approx(60 * 12 / 132)
    timing = json.loads((run_folder(root) / "timing.json").read_text())
    assert timing["seconds"] > 0 and timing["workers"] == 1 and timing["precision"] == "fp32"
    assert "seed-3" in (root / "models" / "tiny" / "seed-3" / "card.md").read_text()


def test_the_same_run_twice_gives_the_same_bytes(root):
    stage.pretrain("tiny", root)
    names = ["models/tiny/seed-0/model.safetensors", "models/tiny/seed-0/config.json", "models/tiny/seed-0/card.md"]
    names += ["results/tiny/history.csv"]
    first = [(root / name).read_bytes() for name in names]
    stage.pretrain("tiny", root)
    assert first == [(root / name).read_bytes() for name in names]


def test_searched_values_are_used_and_pinned_ones_left_alone(tmp_path):
    root = make_project(tmp_path / "p", masking={"strategy": "auto", "ratio": 0.6})
    (root / "results" / "tiny" / "best.yaml").write_text("masking.ratio: 0.5\nmasking.strategy: grid\n")
    stage.pretrain("tiny", root)
    config = json.loads((root / "models" / "tiny" / "seed-0" / "config.json").read_text())
    assert config["masking"] == {"strategy": "grid", "ratio": 0.6, "ratio_spread": 0.0}
    assert config["provenance"]["origins"]["masking.strategy"] == "search"


@pytest.mark.parametrize("content", ["<<<<<<< HEAD\nmasking.ratio: 0.5\n", "- 0.5\n"])
def test_a_damaged_choice_of_the_search_is_named(root, content):
    (root / "results" / "tiny" / "best.yaml").write_text(content)
    with pytest.raises(RecipeError, match=r"best\.yaml .*make it again with dvc repro search@tiny"):
        stage.pretrain("tiny", root)


def test_a_run_that_was_broken_off_goes_on(root):
    stage.pretrain("tiny", root)
    whole = weights(root)
    run = run_folder(root)
    (run / "DELIVERED").unlink()
    for path in (run / "checkpoints").glob("seed-*/step-00000060"):
        shutil.rmtree(path)
    before = len((run / "log.jsonl").read_text().splitlines())
    stage.pretrain("tiny", root)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()[before:]]
    assert [(row.get("event"), row["step"]) for row in rows] == [("resumed", 40), (None, 60)] * 2
    assert equal(weights(root), whole)


def test_a_finished_run_that_was_not_delivered_is_delivered_without_training(root, in_this_process):
    stage.pretrain("tiny", root)
    whole = weights(root)
    (run_folder(root) / "DELIVERED").unlink()
    in_this_process.clear()
    stage.pretrain("tiny", root)
    assert in_this_process == [] and equal(weights(root), whole)


def test_a_delivered_run_is_handed_over_until_dvc_has_it_and_then_never_resumed(root, in_this_process):
    """DVC removes what a stage made before it runs it again: what it could not record, as it was killed, is still here."""
    stage.pretrain("tiny", root)
    whole, trained = weights(root), ["seed-0", "seed-3"]
    written = yaml.safe_load((root / "experiments/recipes/tiny.yaml").read_text())
    sections = {name: written.get(name) for name in ("model", "masking", "objective", "pretrain")}
    for params in (None, {**sections, "pretrain": {}}):  # of nothing, and of an earlier recipe
        entry = {} if params is None else {"pretrain@tiny": {"params": {"experiments/recipes/tiny.yaml": params}}}
        (root / "dvc.lock").write_text(yaml.safe_dump({"stages": entry}))
        shutil.rmtree(root / "models")
        stage.pretrain("tiny", root)
        assert in_this_process == trained and equal(weights(root), whole)
    entry = {"pretrain@tiny": {"params": {"experiments/recipes/tiny.yaml": sections}}}
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": entry}))
    stage.pretrain("tiny", root)
    assert in_this_process == trained * 2 and equal(weights(root), whole)


def test_a_changed_recipe_starts_afresh(root):
    stage.pretrain("tiny", root)
    before = run_folder(root)
    write_recipe(root, pretrain={"lr": 1e-3})
    assert run_folder(root) != before
    stage.pretrain("tiny", root)
    assert before.is_dir() and run_folder(root).is_dir()


@pytest.mark.parametrize("key", [{"pretrain": {"init_from": "given"}}, {"objective": {"features_from": "given"}}])
def test_another_model_under_the_same_name_is_another_run(root, key):
    write_recipe(root, **key)
    (root / "given").mkdir()
    (root / "given" / "model.safetensors").write_bytes(b"one")
    before = run_folder(root)
    (root / "given" / "model.safetensors").write_bytes(b"two")
    assert run_folder(root) != before


def test_evaluation_settings_are_no_part_of_a_training(root):
    before = run_folder(root)
    write_recipe(root, pretrain={"seeds": [0, 3]}, evaluate={"knn_k": 7})
    assert run_folder(root) == before


def test_a_second_process_is_refused_and_told_who_holds_the_folder(root):
    mark = fingerprint("pretrain", "tiny", "fp32", root)
    with claim("pretrain", "tiny", mark, root), pytest.raises(RunBusy, match=r"is held by process \d+.*kill \d+"):
        stage.pretrain("tiny", root)


def test_averaged_weights_are_what_is_delivered(root):
    stage.pretrain("tiny", root)
    plain = weights(root)
    write_recipe(root, pretrain={"seeds": [0, 3], "ema": 0.9})
    stage.pretrain("tiny", root)
    averaged = weights(root)
    assert set(averaged) == set(plain) and not equal(averaged, plain)


def test_training_starts_from_another_model(root):
    stage.pretrain("tiny", root)
    shutil.copytree(root / "models" / "tiny" / "seed-0", root / "start")
    write_recipe(root, pretrain={"steps": 1, "lr": 1e-9, "init_from": "start"})
    before = weights(root)
    stage.pretrain("tiny", root)
    after = weights(root)
    assert all(torch.allclose(after[name], before[name], atol=1e-6) for name in before)


def test_another_architecture_is_no_start(root):
    stage.pretrain("tiny", root)
    shutil.copytree(root / "models" / "tiny" / "seed-0", root / "start")
    for changes, key in (
        ({"encoder": {"width": 32}}, r"model\.encoder\.width"),
        ({"encoder": {"heads": 4}}, r"model\.encoder\.heads"),
        ({"encoder": {"positions": "rope"}}, r"model\.encoder\.positions"),
    ):
        write_recipe(root, model=changes, pretrain={"init_from": "start"})
        with pytest.raises(RecipeError, match=f"init_from: start is another architecture than this recipe's .{key}"):
            stage.prepare_context("tiny", root)
    write_recipe(root, model={"patch": [4, 1]}, pretrain={"init_from": "start"})
    with pytest.raises(
        RecipeError, match=r"init_from: start has 16 cells .*, or in other places: take its model\.patch"
    ):
        stage.prepare_context("tiny", root)
    write_recipe(root, objective={"variance": 1.0, "projector": 8}, pretrain={"init_from": "start"})
    with pytest.raises(ValueError, match=r"another architecture than this recipe's .*project.* differ"):
        stage.pretrain("tiny", root)
    write_recipe(root, model={"encoder": {"drop_path": 0.1}}, pretrain={"init_from": "start", "steps": 1})
    stage.pretrain("tiny", root)


def test_a_dag_without_the_stage_is_said(root):
    text = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(text.replace("\n  pretrain:\n", "\n  pretraining:\n"))
    with pytest.raises(ValueError, match=r"dvc\.yaml has no stage pretrain: its stages are .*pretraining"):
        stage.pretrain("tiny", root)


def test_divergence_is_said(root):
    write_recipe(root, pretrain={"lr": 1e30, "clip": 0, "steps": 60})
    with pytest.raises(TrainingDiverged, match=r"lower pretrain\.lr"):
        stage.pretrain("tiny", root)


def test_a_reward_without_its_labels_is_refused_before_anything_runs(root):
    write_recipe(root, masking={"strategy": "policy", "options": {"reward": "probe"}})
    stage.prepare_context("tiny", root)
    shutil.rmtree(root / "data" / "tiny")
    write_dataset(root, labels=np.full(240, -1))
    with pytest.raises(
        RecipeError, match=r"masking\.options\.reward probe needs labelled samples .* which tiny does not have"
    ):
        stage.pretrain("tiny", root)
    assert not (root / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the one in question lacks")
def test_a_machine_without_a_gpu_does_not_choose_the_precision_of_those_that_have_one(root, monkeypatch):
    (root / "params.yaml").write_text((root / "params.yaml").read_text().replace("gpu: false", "gpu: auto"))
    monkeypatch.setattr(stage, "machines", lambda: Machines(10, 1, "ray://head", (Node(2, 0), Node(8, 1))))
    assert stage.prepare_context("tiny", root).placement.device == "cuda", (
        "where precision is written there is nothing to ask"
    )
    write_recipe(root, pretrain={"precision": "auto"})
    with pytest.raises(ResourceError, match=r"precision auto asks the GPU of the machine .* write bf16 or fp32"):
        stage.prepare_context("tiny", root)


def test_more_workers_than_there_are_are_refused_before_anything_runs(root):
    (root / "params.yaml").write_text((root / "params.yaml").read_text().replace("workers: 1", "workers: 999"))
    with pytest.raises(RuntimeError, match="999 workers need 999 CPUs"):
        stage.pretrain("tiny", root)
    assert not (root / "runs").exists()
