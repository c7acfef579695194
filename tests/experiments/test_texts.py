"""Text through the pipeline: from files to a dataset, a model, its scores and pictures, without a line that knows it is text."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image
from project import make_project, trained, use_dataset

from experiments import evaluate as stage
from experiments.datasets import prepare
from experiments.recipe import load_recipe
from experiments.resolving import resolve
from experiments.space import load_space, narrow
from mae_core.training.loop import Settings, start
from pipelines.show import plan_text
from pipelines.use import embed_files, reconstruct_files

DATASET = {
    "schema": 1,
    "modality": "text",
    "licence": "CC0",
    "origin": "synthetic: questions of three kinds",
    "source": {
        "kind": "text", "parts": {"train": ["*.csv"]}, "hold_out": {"validation": 0.2, "test": 0.25}, "context": 24, "label": "kind",
    },
}  # fmt: skip
KINDS = {"lost": "lost my {}", "when": "when is {}", "why": "why no {}"}
THINGS = ["card", "money", "order", "parcel", "refund"]


def write_texts(folder, n=160):
    random = np.random.default_rng(0)
    folder.mkdir()
    lines = ["text,kind"]
    for i in range(n):
        kind = list(KINDS)[i % 3]
        lines.append(f"{KINDS[kind].format(THINGS[random.integers(5)])} {random.integers(1000)},{kind}")
    (folder / "a.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MAESTRO_MLFLOW", "off")
    monkeypatch.setattr("experiments.runs.end_with_parent", lambda: None)
    masking = {"ratio": 0.3, "ratio_spread": 0.2}
    made = make_project(tmp_path / "p", model={"patch": 1}, masking=masking)
    write_texts(made / "texts")
    use_dataset(made, "questions", DATASET, made / "texts")
    return made


def test_from_files_to_scores(root):
    info = prepare("questions", root)
    assert info["classes"] == list(KINDS) and info["sample"] == {"shape": [24], "dtype": "int32"}
    assert info["lengths"]["shortest"] < info["lengths"]["longest"] < 24, "texts are of many lengths"
    assert "model.encoder.width" in plan_text("tiny", root)

    config = resolve(load_recipe("tiny", root), info, {}, "text").config
    assert config["masking"]["ratio_spread"] == 0.2 and config["objective"]["target"] == "tokens"
    folder = trained(root, "questions", steps=80, batch_size=16)
    stage.evaluate("tiny", root, workers=1)

    metrics = json.loads((root / "results" / "tiny" / "metrics.json").read_text())["test"]
    filled = metrics["reconstruction"]
    assert set(filled) == {"pretrained", "unigram_fill"} and filled["pretrained"] > filled["unigram_fill"]
    assert {"pretrained", "untrained", "pixels_logistic", "pca"} <= set(metrics["linear"])
    with open(root / "results" / "tiny" / "scores.csv") as file:
        found = {row["metric"] for row in csv.DictReader(file) if row["task"] == "reconstruction"}
    assert {"accuracy_hidden", "accuracy_hidden.whole_word-15", "accuracy_hidden.span-15"} <= found
    assert Image.open(root / "results" / "tiny" / "reconstructions" / "random-15.png").size[0] == 560

    (root / "texts" / "mine.txt").write_text("lost my parcel 12 and when is order 7")
    said = reconstruct_files(folder, [root / "texts" / "mine.txt"], root / "r.png", None, None, 0).splitlines()
    assert said[0].startswith(f"{root}/texts/mine.txt[0]: right of hidden tokens ") and said[0].endswith(" %")
    filled = [re.sub(r"\[(.)(\|.)?\]", r"\1", text) for text in said[1::2]]
    assert [len(text) for text in filled] == [24, 13] and "[" in said[1], (
        "the text of each window, what was filled in marked"
    )
    assert "2 rows, 16 features" in embed_files(folder, root / "texts", root / "f.parquet")


def test_a_model_is_not_given_other_tokens(root):
    info = prepare("questions", root)
    config = resolve(load_recipe("tiny", root), info, {}, "text").config
    folder = start(config, Settings(steps=1, batch_size=4, lr=1e-3)).model.save(root / "models" / "tiny" / "seed-0")
    path = root / "data" / "questions" / "dataset.json"
    path.write_text(json.dumps({**info, "tokens": {"kind": "characters", "known": "abc"}}))
    with pytest.raises(ValueError, match="its tokens are not those that the model was trained on"):
        embed_files(folder, root / "data" / "questions", root / "f.parquet")
    path.write_text(json.dumps({**info, "modality": "image"}))
    with pytest.raises(ValueError, match="takes samples of modality text, questions holds image"):
        embed_files(folder, root / "data" / "questions", root / "f.parquet")


def test_a_search_has_something_to_choose(root):
    info = prepare("questions", root)
    recipe = load_recipe("tiny", root)
    loose = recipe.model_copy(
        update={"masking": recipe.masking.model_copy(update={"ratio": "auto", "strategy": "auto"})}
    )
    space = narrow(load_space("text_small", root), loose, info, "text")
    assert set(space.keys) == {"masking.ratio", "masking.strategy"} and space.defaults["masking.ratio"] == 0.15
