"""Video through the pipeline: from files to a dataset, a model, its scores and film strips, without a line that knows it is video."""

import csv
import json

import av
import numpy as np
import pytest
from PIL import Image
from project import make_project, trained, use_dataset

from experiments import evaluate as stage
from experiments.datasets import prepare
from experiments.recipe import load_recipe
from experiments.space import load_space, narrow
from pipelines.show import plan_text
from pipelines.use import embed_files, reconstruct_files

SIDE, FRAMES = 16, 24
DATASET = {
    "schema": 1,
    "modality": "video",
    "licence": "CC0",
    "origin": "synthetic: squares that go left, right and down",
    "source": {
        "kind": "video", "frames": 8, "size": [SIDE, SIDE], "channels": 1, "hold_out": {"validation": 0.2, "test": 0.25},
    },
    "max_bad": 0.1,
}  # fmt: skip


def write_videos(folder, n=36):
    """A folder for each way to go; a square leaves on one side and comes back on the other."""
    random = np.random.default_rng(0)
    for i in range(n):
        kind, step = (("left", (0, -1)), ("right", (0, 1)), ("down", (1, 0)))[i % 3]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        still = np.zeros((SIDE, SIDE, 3), np.uint8)
        top, left = random.integers(0, SIDE - 5, 2)
        still[top : top + 5, left : left + 5] = random.integers(150, 250)
        with av.open(str(folder / kind / f"{i}.avi"), "w") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "bgr0"
            for t in range(FRAMES):
                moved = np.roll(still, (t * step[0], t * step[1]), (0, 1))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, "rgb24")))
            container.mux(stream.encode())


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MAESTRO_MLFLOW", "off")
    monkeypatch.setattr("experiments.runs.end_with_parent", lambda: None)
    made = make_project(
        tmp_path / "p",
        model={"patch": [2, 4, 4]},
        masking={"strategy": "tube", "ratio": 0.75},
        evaluate={"tasks": ["linear", "reconstruction"]},
    )
    write_videos(made / "videos")
    (made / "videos" / "left" / "broken.mp4").write_text("not a video\n")
    use_dataset(made, "squares", DATASET, made / "videos")
    return made


def test_from_files_to_scores(root):
    info = prepare("squares", root)
    assert info["classes"] == ["down", "left", "right"] and info["sample"] == {
        "shape": [1, 8, 16, 16],
        "dtype": "uint8",
    }
    assert sum(split["samples"] for split in info["splits"].values()) == 3 * 36 and info["stride"] == 1
    aside = (root / "data" / "squares" / "quarantine.csv").read_text().splitlines()
    assert info["quarantined"] == 1 and aside[1].startswith("left/broken.mp4,not a video,")
    assert "model.patch" in plan_text("tiny", root)

    folder = trained(root, "squares", steps=60, batch_size=12)
    stage.evaluate("tiny", root, workers=1)

    metrics = json.loads((root / "results" / "tiny" / "metrics.json").read_text())["test"]
    filled = metrics["reconstruction"]
    assert set(filled) == {"pretrained", "mean_fill", "nearest_fill", "motion_fill"}
    assert filled["pretrained"] > filled["mean_fill"]
    assert {"pretrained", "untrained", "pixels_logistic", "pca"} <= set(metrics["linear"])
    with open(root / "results" / "tiny" / "scores.csv") as file:
        found = {row["metric"] for row in csv.DictReader(file) if row["task"] == "reconstruction"}
    assert {"psnr_hidden", "psnr_hidden.tail-25", "mse_hidden.line-50"} <= found
    picture = Image.open(root / "results" / "tiny" / "reconstructions" / "tail-25.png")
    assert picture.size[0] > 300 and picture.size[1] > 1000, "strips of 8 frames, 4 for each of 8 clips"

    videos = sorted((root / "videos" / "down").glob("*.avi"))[:2]
    said = reconstruct_files(folder, videos, root / "r.png", None, None, 0)
    assert said.count("PSNR of hidden pixels") == 2 * 3, "three clips of each file"
    assert "108 rows, 16 features" in embed_files(folder, root / "videos", root / "f.parquet")


def test_a_search_has_something_to_choose(root):
    info = prepare("squares", root)
    recipe = load_recipe("tiny", root)
    loose = recipe.model_copy(
        update={"masking": recipe.masking.model_copy(update={"ratio": "auto", "strategy": "auto"})}
    )
    space = narrow(load_space("video_small", root), loose, info, "video")
    assert set(space.keys) == {"masking.ratio", "masking.strategy"} and space.defaults["masking.ratio"] == 0.9
