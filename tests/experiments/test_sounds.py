"""Sound through the pipeline: from files to a dataset, a model, its scores and pictures, without a line that knows it is sound."""

import csv
import json

import numpy as np
import pytest
import soundfile
from PIL import Image
from project import make_project, trained, use_dataset

from experiments import evaluate as stage
from experiments.datasets import prepare
from experiments.recipe import load_recipe
from experiments.space import load_space, narrow
from pipelines.show import plan_text
from pipelines.use import embed_files, reconstruct_files

RATE = 4000
DATASET = {
    "schema": 1,
    "modality": "audio",
    "licence": "CC0",
    "origin": "synthetic: rising, falling and steady tones",
    "source": {
        "kind": "audio", "path": "sounds", "rate": RATE, "frames": 12, "mels": 16, "pattern": "{kind}_{index}.wav", "label": "kind",
    },
    "splits": {"validation": 0.2, "test": 0.25},
}  # fmt: skip


def write_sounds(folder, n=120):
    """Tones of 0.07 to 0.25 s whose glide is the class."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for i in range(n):
        kind, glide = (("rising", 2.0), ("falling", 0.5), ("steady", 1.0))[i % 3]
        t = np.arange(int(RATE * random.uniform(0.07, 0.25)))
        pitch = random.uniform(400, 600) * glide ** (t / len(t))
        wave = 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + random.normal(0, 0.003, len(t))
        soundfile.write(folder / f"{kind}_{i}.wav", wave, RATE)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MAESTRO_MLFLOW", "off")
    monkeypatch.setattr("experiments.runs.end_with_parent", lambda: None)
    made = make_project(tmp_path / "p", model={"patch": [3, 4]}, masking={"ratio": 0.5})
    write_sounds(made / "sounds")
    use_dataset(made, "tones", DATASET, made / "sounds")
    return made


def test_from_files_to_scores(root):
    info = prepare("tones", root)
    assert info["classes"] == ["falling", "rising", "steady"] and info["sample"] == {
        "shape": [12, 16],
        "dtype": "float32",
    }
    assert info["lengths"]["shortest"] < info["lengths"]["median"] < 12, "sounds are of many lengths"
    assert any("are longer than 0.192 s" in note for note in info["notes"])
    assert "model.patch" in plan_text("tiny", root)

    folder = trained(root, "tones", steps=60, batch_size=16)
    stage.evaluate("tiny", root, workers=1)

    metrics = json.loads((root / "results" / "tiny" / "metrics.json").read_text())["test"]
    filled = metrics["reconstruction"]
    assert set(filled) == {"pretrained", "mean_fill", "linear_fill"} and filled["pretrained"] < filled["mean_fill"]
    assert {"pretrained", "untrained", "pixels_logistic", "pca"} <= set(metrics["linear"])
    with open(root / "results" / "tiny" / "scores.csv") as file:
        found = {row["metric"] for row in csv.DictReader(file) if row["task"] == "reconstruction"}
    assert {"rmse_db_hidden", "rmse_db_hidden.line-50", "mae_db_hidden.stripe-40"} <= found
    picture = Image.open(root / "results" / "tiny" / "reconstructions" / "random-80.png")
    assert picture.size[0] > 500 and picture.size[1] > 500

    sounds = sorted((root / "sounds").glob("*.wav"))[:2]
    said = reconstruct_files(folder, sounds, root / "r.png", None, None, 0)
    assert said.count("RMSE of hidden levels") == 2 and " dB" in said
    assert "120 rows, 16 features" in embed_files(folder, root / "sounds", root / "f.parquet")


def test_a_search_has_something_to_choose(root):
    info = prepare("tones", root)
    recipe = load_recipe("tiny", root)
    loose = recipe.model_copy(
        update={"masking": recipe.masking.model_copy(update={"ratio": "auto", "strategy": "auto"})}
    )
    space = narrow(load_space("sound_small", root), loose, info, "audio")
    assert set(space.keys) == {"masking.ratio", "masking.strategy"} and space.defaults["masking.ratio"] == 0.8
