"""Objectives in recipes: what is refused, what reaches the model's config, and what the stages leave of it."""

import csv
import json

import pytest
import yaml
from optuna.distributions import FloatDistribution
from project import make_project
from without_ray import train_in_this_process

from experiments import pretrain as stage
from experiments.columns import parts_of
from experiments.questions import Questions, of_target
from experiments.recipe import Recipe, RecipeError, load_recipe, parse_recipe
from experiments.report_runs import training
from experiments.resolving import resolve
from experiments.results import Store
from experiments.space import narrow
from mae_core.data.dataset import open_dataset
from mae_core.flops import encode_flops, forward_flops, train_flops
from mae_core.memory import AUTO
from mae_core.modalities.table import TableModality
from mae_core.model import MaskedAutoencoder
from mae_core.teacher import weights_sum

DATASET = {"sample": {"shape": [1, 28, 28]}, "mean": [0.13], "std": [0.31]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uniformty: 0.1", ["'objective.uniformty'", "did you mean 'uniformity'"]),
        ("uniformity: -1", ["objective.uniformity", "greater than or equal to 0"]),
        ("targets: {hogg: 1.0}", ["unknown target 'hogg'", "did you mean 'hog'"]),
        ("targets: {hog: 0}", ["objective.targets.hog", "greater than 0"]),
        ("loss: l3", ["objective.loss", "'l2', 'l1' or 'smooth_l1'"]),
        ("pair: third", ["objective.pair", "'second'"]),
        ("temperature: 0", ["objective.temperature", "greater than 0"]),
        ("latent_blocks: 0", ["objective.latent_blocks"]),
    ],
)
def test_a_wrong_objective_is_refused_by_name(text, words):
    with pytest.raises(RecipeError) as refusal:
        parse_recipe(f"objective: {{{text}}}", "my.yaml")
    assert all(word in str(refusal.value) for word in words), str(refusal.value)


def config_of(text):
    return resolve(parse_recipe(text, "x"), DATASET).config


def test_a_pair_augmented_in_no_way_is_refused():
    asked = "{objective: {invariance: 1, pair: augmented}, pretrain: {%s}}"
    with pytest.raises(RecipeError, match=r"objective.pair augmented: nothing is augmented.* pretrain.crop below 1"):
        resolve(parse_recipe(asked % "crop: 1.0", "x"), DATASET)
    for done in ("crop: 0.9", "flip: true", "color_jitter: 0.5"):
        assert resolve(parse_recipe(asked % done, "x"), DATASET).config["objective"]["pair"] == "augmented"


def test_a_silent_recipe_is_the_plain_model():
    assert resolve(Recipe(), DATASET).config["objective"] == {"reconstruction": 1.0, "target": "pixels"}


def test_memory_may_choose_passes_where_no_samples_are_compared():
    auto = parse_recipe("pretrain: {micro_batch: auto}", "my.yaml")
    assert resolve(auto, DATASET).settings.micro_batch == AUTO
    with pytest.raises(RecipeError, match="micro_batch auto: variance compares"):
        resolve(parse_recipe("{pretrain: {micro_batch: auto}, objective: {variance: 1}}", "my.yaml"), DATASET)


def test_what_a_recipe_says_reaches_the_config():
    text = (
        "objective: {uniformity: 0.01, targets: {latent: 0.5}, pair: full, temperature: 0.2, projector: 32, loss: l1}"
    )
    found = config_of(text)["objective"]
    assert found == {
        "reconstruction": 1.0, "target": "pixels", "uniformity": 0.01, "targets": {"latent": 0.5},
        "pair": "full", "temperature": 0.2, "projector": 32, "loss": "l1",
    }  # fmt: skip
    settings = resolve(parse_recipe("pretrain: {teacher_momentum: 0.9, log_grad_norms: true}", "x"), DATASET).settings
    assert (settings.teacher_momentum, settings.teacher_momentum_end, settings.log_grad_norms) == (0.9, 1.0, True)


def test_views_and_teachers_are_counted():
    plain = config_of("masking: {ratio: 0.75}\nmodel: {patch: 7}")

    def more(text):
        return config_of(f"masking: {{ratio: 0.75}}\nmodel: {{patch: 7}}\nobjective: {{{text}}}")

    whole = encode_flops(plain)
    assert train_flops(more("uniformity: 1, loss_ranking: 1")) == train_flops(plain)
    assert train_flops(more("target: latent")) == train_flops(plain) + whole
    full = more("mask_contrastive: 1, invariance: 1, pair: full")
    assert forward_flops(full) == pytest.approx(forward_flops(plain) + whole)
    second, other = (forward_flops(more(f"invariance: 1, pair: {p}")) for p in ("second", "complement_of_0"))
    assert forward_flops(plain) < second < other < forward_flops(full)
    augmented = parse_recipe("{objective: {invariance: 1, pair: augmented}, pretrain: {crop: 0.5}}", "x")
    assert forward_flops(resolve(augmented, DATASET).config) == second


@pytest.fixture
def root(tmp_path):
    return make_project(tmp_path / "p", pretrain={"steps": 20, "checkpoint_every": 10})


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    return train_in_this_process(monkeypatch)


def change(root, **sections):
    path = root / "experiments" / "recipes" / "tiny.yaml"
    told = yaml.safe_load(path.read_text())
    for name, values in sections.items():
        told[name] |= values
    path.write_text(yaml.safe_dump(told, sort_keys=False))


def test_parts_reach_the_history_the_report_and_the_app(root):
    change(root, objective={"uniformity": 0.1, "targets": {"latent": 0.5}}, pretrain={"log_grad_norms": True})
    stage.pretrain("tiny", root)
    with open(root / "results" / "tiny" / "history.csv") as file:
        rows = list(csv.DictReader(file))
    names = ["grad_norm_of/latent", "grad_norm_of/reconstruction", "grad_norm_of/uniformity"]
    names += ["loss_of/latent", "loss_of/reconstruction", "loss_of/uniformity"]
    assert list(rows[0])[-6:] == names and all(float(row[name]) > 0 for row in rows for name in names)
    for row in rows:
        total = (
            float(row["loss_of/reconstruction"])
            + 0.1 * float(row["loss_of/uniformity"])
            + 0.5 * float(row["loss_of/latent"])
        )
        assert float(row["loss"]) == pytest.approx(total, rel=1e-5)
    store = Store(root)
    found = store.history("tiny")
    assert parts_of(found.columns) == ["loss_of/latent", "loss_of/reconstruction", "loss_of/uniformity"]
    assert "tiny: uniformity" in str(training(store, ["tiny"]))
    assert MaskedAutoencoder.load(root / "models" / "tiny" / "seed-0").config["objective"]["uniformity"] == 0.1


def test_what_learned_masks_do_reaches_the_history(root):
    change(root, masking={"strategy": "policy", "options": {"random": 0.0}})
    stage.pretrain("tiny", root)
    table = Store(root).history("tiny")
    measures = ["agreement", "entropy", "evenness", "hidden_least", "hidden_most", "probe", "reward"]
    assert [name for name in table if name.startswith("mask/")] == [f"mask/{name}" for name in measures]
    assert "tiny: probe" in str(training(Store(root), ["tiny"]))
    assert table["mask/probe"].between(0, 1).all() and table["mask/entropy"].between(0.9, 1.001).all()


def test_a_loss_of_one_part_is_drawn_once(root):
    stage.pretrain("tiny", root)
    store = Store(root)
    assert "loss_of/reconstruction" in store.history("tiny") and parts_of(store.history("tiny").columns) == []
    assert "What the loss is made of" not in str(training(store, ["tiny"]))


def test_a_frozen_models_features_are_a_target(root):
    stage.pretrain("tiny", root)
    (root / "models" / "tiny" / "seed-0").rename(root / "teacher")
    change(root, objective={"target": "features", "features_from": "teacher"})
    stage.pretrain("tiny", root)
    config = json.loads((root / "models" / "tiny" / "seed-0" / "config.json").read_text())
    assert config["objective"]["source"] == {"folder": "teacher", "sha256": weights_sum(root / "teacher"), "width": 16}
    told = load_recipe("tiny", root)
    loose = told.model_copy(update={"masking": told.masking.model_copy(update={"ratio": "auto"})})
    keys = {"masking.ratio": FloatDistribution(0.4, 0.8)}
    info = open_dataset(root / "data" / "tiny").info
    assert narrow(keys, loose, info, "image", root).keys == keys, "a search finds the teacher in the project too"
    for other, said in (
        ({"sample": {"shape": [1, 16, 16]}}, r"teacher takes samples of shape \(1, 8, 8\), .* have \(1, 16, 16\)"),
        (
            {"sample": {"shape": [3, 8, 8]}, "mean": [0.1] * 3, "std": [0.3] * 3},
            r"teacher .* shape \(1, 8, 8\), .* \(3, 8, 8\)",
        ),
    ):
        with pytest.raises(RecipeError, match=rf"objective\.features_from: {said}"):
            resolve(told, {**info, **other}, {}, "image", root)
    with pytest.raises(RecipeError, match=r"teacher has 16 cells where this model has 4, .*: take its model\.patch"):
        resolve(told.model_copy(update={"model": told.model.model_copy(update={"patch": 4})}), info, {}, "image", root)
    (root / "teacher").rename(root / "elsewhere")
    assert MaskedAutoencoder.load(root / "models" / "tiny" / "seed-0").needs.features, "loading needs no teacher"
    with pytest.raises(RecipeError, match=r"objective\.features_from is of the target features: name that"):
        config_of("objective: {features_from: teacher}")
    with pytest.raises(RecipeError, match=r"objective\.features_from: .*teacher is no model folder"):
        resolve(load_recipe("tiny", root), DATASET, {}, "image", root)


@pytest.mark.parametrize(
    "key, asked",
    [
        ("objective.features_from", "objective: {targets: {features: 1}, features_from: given}"),
        ("pretrain.init_from", "pretrain: {init_from: given}"),
    ],
)
def test_a_given_model_reads_what_is_trained_on(tmp_path, key, asked):
    """Numbers of other columns have the right shape, and mean nothing to it."""
    table = TableModality.examples()["numbers"].config
    MaskedAutoencoder.build(resolve(Recipe(), table, {}, "table").config).save(tmp_path / "given")
    told = parse_recipe(asked, "x")
    resolve(told, table, {}, "table", tmp_path)
    others = [{**column, "name": f"other {column['name']}"} for column in table["columns"]]
    with pytest.raises(RecipeError, match=f"{key}: given does not read what the dataset holds: its columns"):
        resolve(told, {**table, "columns": others}, {}, "table", tmp_path)
    with pytest.raises(RecipeError, match=f"{key}: given is a model of modality table, the dataset holds image"):
        resolve(told, DATASET, {}, "image", tmp_path)


def test_what_cannot_be_shown_is_not_asked_for():
    asked = Questions(frozenset({"knn", "reconstruction"}), [], [], [], {})
    assert of_target(asked, "pixels") == asked
    found = of_target(asked, "latent")
    assert found.tasks == {"knn"} and found.skipped[0].task == "reconstruction"
    assert "objective.target latent predicts what is no sample" in found.skipped[0].reason
    assert of_target(asked._replace(tasks=frozenset({"knn"})), "hog").skipped == []
