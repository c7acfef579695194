"""The evaluate stage on data of all kinds: whole, repeatable, honest about the test split, and clear about what it skips."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from project import make_project, stripes, write_dataset, write_recipe

from experiments import evaluate as stage
from experiments import probes, words
from experiments.columns import EMBEDDING_COLUMNS, SCORE_COLUMNS
from experiments.finetuning import Tuned, Work, choose, grid
from experiments.questions import of_masks
from experiments.results import Store
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.classifier import Classifier
from mae_core.evaluation.features import extract
from mae_core.evaluation.few_label import few
from mae_core.evaluation.finetune import Settings, predict
from mae_core.evaluation.linear import load_probe
from mae_core.modalities.image import ImageModality
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings as Training
from mae_core.training.loop import fit, start

CONFIG = {
    "modality": {"kind": "image", "channels": 1, "size": [8, 8], "patch": 2, "mean": [0.5], "std": [0.25]},
    "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
    "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.75},
    "objective": {"reconstruction": 1.0, "target": "pixels"},
}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setenv("MAESTRO_MLFLOW", "off")
    monkeypatch.setattr("experiments.runs.end_with_parent", lambda: None)


def add_model(root, seed=0):
    """A model trained for a moment, so that it is not the untrained one."""
    settings = Training(steps=30, batch_size=16, lr=2e-3, seed=seed, precision="fp32")
    state = start(CONFIG, settings)
    list(fit(state, stripes(64)[0], settings))
    state.model.config["provenance"] = {"precision": "fp32"}
    return state.model.eval().save(root / "models" / "tiny" / f"seed-{seed}")


@pytest.fixture
def root(tmp_path):
    made = make_project(tmp_path / "p")
    add_model(made)
    return made


def table(root, name="scores"):
    with open(root / "results" / "tiny" / f"{name}.csv") as file:
        return list(csv.DictReader(file))


def reasons(root):
    return {row["task"]: row["reason"] for row in table(root, "skipped")}


def outs(root):
    folders = [root / "results" / "tiny", root / "heads" / "tiny"]
    return {str(p.relative_to(root)): p.read_bytes() for f in folders for p in sorted(f.rglob("*")) if p.is_file()}


def of(rows, **wanted):
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def test_everything_is_measured_beside_its_baselines(root):
    stage.evaluate("tiny", root, workers=1)
    rows = table(root)
    assert list(rows[0]) == SCORE_COLUMNS
    assert {row["split"] for row in rows} == {"validation", "test"}
    models = {task: {row["model"] for row in of(rows, task=task)} for task in {row["task"] for row in rows}}
    assert models == {
        "knn": {"pretrained", "untrained", "pixels_knn"},
        "linear": {"pretrained", "untrained", "pixels_logistic", "pca"},
        "few_label": {"pretrained", "untrained", "pixels_logistic"},
        "finetune": {"pretrained", "scratch"},
        "reconstruction": {"pretrained", "mean_fill", "harmonic_fill"},
        "rank": {"pretrained", "untrained"},
    }
    info = open_dataset(root / "data" / "tiny").info["splits"]
    accuracies = of(rows, metric="accuracy", split="test")
    for row in accuracies:
        assert 0 <= float(row["low"]) <= float(row["value"]) <= float(row["high"]) <= 1
        assert int(row["n_test"]) == info["test"]["samples"]
    few = of(accuracies, task="few_label", model="pretrained")
    assert {(r["labels_per_class"], r["probe_seed"], r["n_train"]) for r in few} == {
        ("1", "0", "3"), ("1", "1", "3"), ("5", "0", "15"), ("5", "1", "15"),
    }  # fmt: skip
    for row in of(rows, metric="accuracy_gain_over_pixels_logistic", task="linear"):
        ours, theirs = (
            float(of(rows, task="linear", metric="accuracy", model=model, split=row["split"])[0]["value"])
            for model in ("pretrained", "pixels_logistic")
        )
        assert float(row["value"]) == pytest.approx(ours - theirs, abs=2e-6)
    assert len(of(rows, metric="accuracy_gain_over_scratch", split="test")) == 2
    assert table(root, "skipped") == []
    metrics = json.loads((root / "results" / "tiny" / "metrics.json").read_text())
    linear = of(accuracies, task="linear", model="pretrained")
    assert metrics["test"]["linear"]["pretrained"] == pytest.approx(float(linear[0]["value"]))
    assert set(metrics["test"]["finetune_5"]) == {"pretrained", "scratch"}


def test_the_read_model_finds_nothing_wrong_and_no_trace_of_place_or_time(root):
    stage.evaluate("tiny", root, workers=1)
    store = Store(root)
    bank = store.reconstruction_bank("tiny")
    assert set(bank.pictures) == {mask.name for mask in ImageModality.bank} == set(bank.scores)
    assert bank.images[0]["split"] == "test" and len(bank.images) == 8
    assert len(store.scores("tiny")) == len(table(root)) and store.champions()[0].folder == "models/tiny/seed-0"
    maps = store.embeddings("tiny")
    assert list(maps.columns) == EMBEDDING_COLUMNS and np.isfinite(maps[["x", "y", "pca_x", "pca_y"]]).all().all()
    labels = open_dataset(root / "data" / "tiny").split("test").labels
    assert (labels[maps["index"]] == maps["label"]).all()
    assert [p for p in store.problems if "results/tiny" in p.path and "history" not in p.path] == []
    run = next((root / "runs").glob("evaluate-tiny-*"))
    timing = json.loads((run / "timing.json").read_text())
    assert timing["seconds"] > 0 and timing["precision"] and (run / "DELIVERED").exists()
    assert not (run / "features").exists()
    for name, content in outs(root).items():
        assert str(root).encode() not in content and b'"seconds"' not in content, name


def test_saved_heads_give_the_scores(root):
    stage.evaluate("tiny", root, workers=1)
    rows = of(table(root), metric="accuracy", model="pretrained", split="test")
    split = open_dataset(root / "data" / "tiny").split("test")
    features = extract(MaskedAutoencoder.load(root / "models/tiny/seed-0"), split.samples)
    probe = load_probe(root / "heads/tiny/linear-seed-0")
    right = np.mean(probe.predict(features) == split.labels)
    assert right == pytest.approx(float(of(rows, task="linear")[0]["value"]), abs=1e-6)
    head = Classifier.load(root / "heads/tiny/finetune-5-seed-0")
    right = np.mean(predict(head, split.samples) == split.labels)
    assert right == pytest.approx(float(of(rows, task="finetune", probe_seed="0")[0]["value"]), abs=1e-6)


def test_bytes_do_not_depend_on_the_run_or_on_the_number_of_workers(root, monkeypatch):
    stage.evaluate("tiny", root, workers=1)
    first = outs(root)
    stage.evaluate("tiny", root, workers=1)
    assert outs(root) == first
    stage.evaluate("tiny", root, workers=2)
    assert outs(root) == first


def test_the_test_split_is_read_only_once_everything_is_chosen(root, monkeypatch):
    read = []
    split = Dataset.split

    def recorded(self, name):
        read.append(name)
        return split(self, name)

    monkeypatch.setattr(Dataset, "split", recorded)
    asked, answers = stage.questions, stage.answer_jobs

    def questions(*arguments):
        found = asked(*arguments)
        assert "test" in read  # how many labels it has, and nothing else
        read.clear()
        return found

    def answer_jobs(*arguments):
        assert read and "test" not in read
        read.append("opened")
        return answers(*arguments)

    monkeypatch.setattr(stage, "questions", questions)
    monkeypatch.setattr(stage, "answer_jobs", answer_jobs)
    stage.evaluate("tiny", root, workers=1)
    assert "test" in read[read.index("opened") :]


def test_features_are_extracted_once_and_shared(root, monkeypatch):
    seen = []

    def counted(network, samples, *rest):
        seen.append(len(samples))
        return extract(network, samples, *rest)

    monkeypatch.setattr("experiments.subjects.extract", counted)
    stage.evaluate("tiny", root, workers=1)
    assert len(seen) == 2 * 3  # pretrained and untrained, three splits


def test_seeds_and_controls_are_measured_too(root):
    add_model(root, 3)
    model = MaskedAutoencoder.build({**CONFIG, "masking": {"strategy": "random", "ratio": 0.0}}, 3)
    model.save(root / "controls/tiny/autoencoder-3")
    Classifier.build(CONFIG, ["across", "down", "slanted"], 3).save(root / "controls/tiny/supervised-3")
    stage.evaluate("tiny", root, workers=1)
    rows = of(table(root), split="test")
    linear = of(rows, task="linear", metric="accuracy")
    assert {(row["model"], row["pretrain_seed"]) for row in linear} == {
        ("pretrained", "0"), ("pretrained", "3"), ("untrained", "0"), ("untrained", "3"), ("autoencoder", "3"),
        ("supervised", "3"), ("pixels_logistic", ""), ("pca", ""),
    }  # fmt: skip
    assert {row["model"] for row in of(rows, metric="psnr_hidden")} == {
        "pretrained", "autoencoder", "mean_fill", "harmonic_fill",
    }  # fmt: skip
    assert len(of(rows, metric="psnr_hidden", model="mean_fill")) == 1
    heads = {path.name for path in (root / "heads" / "tiny").iterdir()}
    assert heads == {"README.md", "linear-seed-0", "linear-seed-3", "finetune-5-seed-0", "finetune-5-seed-3"}


def test_masks_learned_from_labels_are_named(root, monkeypatch):
    """Few-label figures of models whose masks saw every label of train say so; others have nothing to say."""
    asked = []
    monkeypatch.setattr(stage, "_measure", lambda *given: asked.append(given[4]))
    stage.evaluate("tiny", root, workers=1)
    learned = {"strategy": "policy", "ratio": 0.75, "options": {"reward": "probe"}}
    for ratio in (0.75, 0.0):
        model = MaskedAutoencoder.build({**CONFIG, "masking": {**learned, "ratio": ratio}})
        model.save(root / "models" / "tiny" / "seed-0")
        stage.evaluate("tiny", root, workers=1)
    before, taught, unmasked = asked
    assert before.skipped == unmasked.skipped == [] and taught.tasks == before.tasks
    assert [one.task for one in taught.skipped] == ["few_label", "finetune"]
    told = words.caveats(one.reason for one in taught.skipped)
    assert told == ["the masks were learned from the labels of train, not from as few as are counted"] * 2
    assert len(of_masks(taught._replace(skipped=[], finetune=[None]), True).skipped) == 1, "no label is saved"


def relabel(root, change):
    labels = stripes(240)[1]
    write_dataset(root, labels=change(labels))


@pytest.mark.parametrize(
    "change, reason",
    [(lambda y: np.full_like(y, -1), "no training sample has a label"), (lambda y: np.zeros_like(y), "one class")],
    ids=["unlabelled", "one class"],
)
def test_without_labels_to_tell_apart_the_rest_still_runs(root, change, reason):
    relabel(root, change)
    stage.evaluate("tiny", root, workers=1)
    assert set(reasons(root)) == {"knn", "linear", "few_label", "finetune"}
    assert all(reason in text for text in reasons(root).values())
    assert {row["task"] for row in table(root)} == {"reconstruction", "rank", "label_free"}
    for row in of(table(root), task="label_free", model="pretrained", split="test"):
        assert {"lidar": 1 < float(row["value"]) < 17, "explained": float(row["value"]) < 1}[row["metric"]]
    assert len(pd.read_parquet(root / "results/tiny/embeddings.parquet")) > 0
    assert [path.name for path in (root / "heads" / "tiny").iterdir()] == ["README.md"]


def test_samples_without_a_label_are_left_out_and_counted(root):
    relabel(root, lambda y: np.where(np.arange(len(y)) % 3 == 1, -1, y))
    assert set(np.unique(open_dataset(root / "data/tiny").split("test").labels)) == {-1, 0, 2}
    stage.evaluate("tiny", root, workers=1)
    info = open_dataset(root / "data" / "tiny").info["splits"]
    for row in of(table(root), task="linear", metric="accuracy"):
        assert int(row["n_train"]) == info["train"]["labelled"] < info["train"]["samples"]
        assert int(row["n_test"]) == info[row["split"]]["labelled"]
    counted = json.loads((root / "results/tiny/metrics.json").read_text())["unlabelled"]
    assert counted == {name: info[name]["samples"] - info[name]["labelled"] for name in info}


def test_few_labels_are_the_same_samples_to_a_probe_and_to_fine_tuning(root, monkeypatch):
    """Whatever is unlabelled between them: both are asked with one probe seed."""
    relabel(root, lambda y: np.where(np.arange(len(y)) % 3 == 1, -1, y))
    labels, fitted = np.asarray(open_dataset(root / "data/tiny").split("train").labels), []
    fit_linear = probes.fit_linear
    monkeypatch.setattr(probes, "fit_linear", lambda x, y, *a, **k: fitted.append((x, y)) or fit_linear(x, y, *a, **k))
    stage.evaluate("tiny", root, workers=1)
    everything = [x for x, y in fitted if len(y) == (labels >= 0).sum()]
    place = np.cumsum(labels >= 0) - 1  # among the labelled
    drawn = [few(labels, 1, seed) for seed in range(3)]
    found = 0
    for x, y in (one for one in fitted if len(one[1]) == len(drawn[0])):
        same = [np.array_equal(x, whole[place[rows]]) for whole in everything for rows in drawn if len(rows) == len(y)]
        assert any(same)
        found += 1
    assert found


def test_too_few_labels_of_a_class_skip_that_amount_alone(root):
    def scarce(y):
        y = y.copy()
        y[np.flatnonzero(y == 2)[8:]] = -1  # at most eight in all splits together
        return y

    relabel(root, scarce)
    counts = np.bincount(np.asarray(open_dataset(root / "data/tiny").split("train").labels) + 1)
    assert counts[3] >= 1
    if counts[3] >= 5:
        pytest.fail("the split moved: make class 2 scarcer")
    stage.evaluate("tiny", root, workers=1)
    assert {row["labels_per_class"] for row in of(table(root), task="few_label")} == {"1"}
    assert f"class 'slanted' has {counts[3]} labelled training samples, 5 labels a class" in reasons(root)["few_label"]
    assert not of(table(root), task="finetune") and "5 labels" in reasons(root)["finetune"]


def test_no_model_says_what_to_run(tmp_path):
    root = make_project(tmp_path / "p")
    with pytest.raises(FileNotFoundError, match=r"dvc repro pretrain@tiny"):
        stage.evaluate("tiny", root, workers=1)


def test_ours_and_its_twin_get_as_many_settings_around_their_own_rate():
    ours, twin = grid("pretrained", 5, 150), grid("scratch", 5, 150)
    assert [one.lr / ours[0].lr for one in ours] == [one.lr / twin[0].lr for one in twin] == [1, 2, 0.5, 4, 0.25]
    assert {one.layer_decay for one in twin} == {1.0} and {one.steps for one in ours} == {150}


def tried(accuracy, lr, failure="", model="pretrained", tmp=None):
    work = Work(model, 0, tmp, tmp, 5, 0, Settings(lr=lr))
    return Tuned(work, accuracy, {}, 15, failure)


def test_the_best_on_validation_is_chosen_and_of_equals_the_first():
    found = choose([tried(0.5, 1), tried(0.7, 2), tried(0.7, 3), tried(-1, 4, "nan"), tried(0.1, 5, model="scratch")])
    assert [(one.work.model, one.work.settings.lr) for one in found] == [("pretrained", 2), ("scratch", 5)]
    with pytest.raises(ValueError, match=r"failed at every learning rate: nan"):
        choose([tried(-1, 1, "nan")])


@pytest.mark.parametrize("labels", [None, np.full(240, -1)])
def test_ranks_alone_of_a_model_that_shows_nothing(root, labels):
    """What cannot be reconstructed has no share explained; the measures of its features are there all the same."""
    write_dataset(root, labels=labels)
    config = {**CONFIG, "objective": {"reconstruction": 1.0, "target": "latent"}}
    MaskedAutoencoder.build(config).save(root / "models" / "tiny" / "seed-0")
    write_recipe(root, objective={"target": "latent"}, evaluate={"tasks": ["rank", "embedding"]})
    stage.evaluate("tiny", root, workers=1)
    found = {row["metric"] for row in table(root)}
    assert "effective_rank" in found and "lidar" in found and "explained" not in found


def test_a_mask_of_which_no_sample_says_anything_has_no_row(root, monkeypatch):
    import experiments.bank as bank

    quality = bank.fill_quality
    silent = lambda *told: {who: {m: v * np.nan for m, v in found.items()} for who, found in quality(*told).items()}  # noqa: E731
    monkeypatch.setattr(bank, "fill_quality", silent)
    write_recipe(root, evaluate={"tasks": ["reconstruction"]})
    stage.evaluate("tiny", root, workers=1)
    assert table(root) == [] and "NaN" not in (root / "results" / "tiny" / "metrics.json").read_text()
