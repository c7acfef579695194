"""The pages that show samples, on samples of every kind: drawn as people look at them, uploads and what is typed included."""

import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from opening import opened
from streamlit.testing.v1 import AppTest

from dashboard import figures, panels, state
from mae_core.modalities.panels import Piece
from mae_core.model import MaskedAutoencoder

KINDS = ("image", "video", "audio", "text", "table", "series", "joint")
DRAWN = {
    "image": "image", "video": "image", "joint": "image", "audio": "audio", "text": "html", "table": "dataframe", "series": "plotly_chart",
}  # fmt: skip
MEASURES = {
    "image": "PSNR of hidden pixels",
    "video": "PSNR of hidden pixels",
    "joint": "PSNR of hidden pixels of picture",
    "audio": "RMSE of hidden levels",
    "text": "right of hidden tokens",
    "table": "RMSE of hidden values",
    "series": "RMSE of hidden values",
}


def checked(app: AppTest) -> str:
    """Everything that the page says, which is no complaint."""
    assert not app.exception
    kinds = ("title", "subheader", "markdown", "caption", "info", "error", "metric")
    text = "\n".join(str(e.value) for kind in kinds for e in getattr(app, kind))
    assert "could not be drawn" not in text
    return text


def drawn(app: AppTest, kind: str) -> list:
    """What the page holds where samples of a kind are drawn."""
    name = DRAWN[kind]
    return list(getattr(app, name) if name in ("image", "dataframe") else app.get(name))


@pytest.fixture(scope="module")
def files(kinds, make_kinds):
    """Of each kind a file that its model reads, and the model's modality."""
    found = {}
    for kind in KINDS:
        modality = MaskedAutoencoder.load(kinds / "models" / kind / "seed-0").modality
        raw = torch.from_numpy(np.load(kinds / "data" / kind / "test-samples.npy")[:2])
        suffix = {"image": ".png", "joint": ".png", "video": ".avi", "audio": ".wav"}.get(kind, ".txt")
        found[kind] = (make_kinds.file_of(modality, raw), suffix)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_shown_as_people_look_at_them(kind, kinds, monkeypatch):
    app = opened("data", kinds, monkeypatch, dataset=kind)
    text = checked(app)
    assert f"Samples ({kind})" in "".join(metric.label for metric in app.metric)
    if kind == "table":
        rows = drawn(app, kind)[-1].value
        assert len(rows) == 24 and list(rows)[1:] == [f"column {i}" for i in range(7)]
    else:
        assert len(drawn(app, kind)) >= (2 if kind == "joint" else 8)  # some joint samples have no picture
    assert "of 30 samples, as stored" in text and not app.error


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_each_kind_restores_its_samples(kind, kinds, monkeypatch):
    app = opened("reconstructions", kinds, monkeypatch, dataset=kind)
    text = checked(app)
    assert MEASURES[kind] in text and not app.error
    assert drawn(app, kind)
    assert app.selectbox(f"strategy_{kind}").options[0] == "random"
    assert ("line" in app.selectbox(f"strategy_{kind}").options) == (kind in ("audio", "series", "video"))
    if kind == "audio":
        assert len(app.get("audio")) == 3  # original, masked, restored


def test_a_table_shows_intervals_and_a_text_marks(kinds, monkeypatch):
    table = opened("reconstructions", kinds, monkeypatch, dataset="table").dataframe[0].value
    numbers = table[table["90 % interval, or how sure"].str.contains(" to ")]
    assert len(numbers) and numbers["filled in"].ne("").all() and numbers["truth"].ne("").all()
    text = opened("reconstructions", kinds, monkeypatch, dataset="text")
    body = "".join(element.proto.body for element in text.get("html"))
    assert body.count("<mark title=") >= 1 and " %" in body


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_each_kind_is_read_and_restored(kind, kinds, files, monkeypatch):
    data, suffix = files[kind]
    app = opened("try_it", kinds, monkeypatch, dataset=kind, source="Upload")
    assert "one like the training samples works best" in checked(app)
    app.file_uploader[0].upload(f"mine{suffix}", data, "application/octet-stream").run()
    text = checked(app)
    assert not app.error and MEASURES[kind] in text
    assert "Nearest training samples" in text and ("k-NN says" in text) == (kind != "text")
    if kind in ("table", "series"):
        assert "missing values of this sample" in text


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff\x00 neither text, nor sound", b"<script>alert(1)</script>,\n"],
    ids=["empty", "bytes", "words"],
)
@pytest.mark.parametrize("kind", ["audio", "table", "series"])
def test_a_file_of_something_else_is_refused_in_words(kind, content, kinds, files, monkeypatch):
    app = opened("try_it", kinds, monkeypatch, dataset=kind, source="Upload")
    app.file_uploader[0].upload(f"<b>{files[kind][1]}", content, "text/plain").run()
    text = checked(app)
    assert "This file cannot be used" in text and "<script" not in text.replace(r"\<script", "")


@pytest.mark.parametrize("kind", ["text", "table"])
def test_what_can_be_written_can_be_typed(kind, kinds, monkeypatch):
    app = opened("try_it", kinds, monkeypatch, dataset=kind, source="Type")
    first = app.text_area[0].value
    assert MEASURES[kind] in checked(app) and first
    app.text_area[0].set_value("").run()
    assert f"Type a {kind}" in checked(app)
    changed = "bad ace" if kind == "text" else first.rsplit(",", 1)[0] + ",\n"
    app.text_area[0].set_value(changed).run()
    assert MEASURES[kind] in checked(app) and not app.error


def test_pictures_cannot_be_typed(kinds, monkeypatch):
    app = opened("try_it", kinds, monkeypatch, dataset="image", source="Type")
    assert not app.text_area and "k-NN says" in checked(app)


def test_tokens_stay_words():
    assert panels.marked(Piece("<b>")) == "&lt;b&gt;"
    wrong = panels.marked(Piece("<i>", True, "<script>", 0.25))
    assert 'title="25 %"' in wrong and "&lt;i&gt;</mark>" in wrong and "&lt;script&gt;</sub>" in wrong
    right = panels.marked(Piece("a", True, "a", 0.9))
    assert "<sub" not in right and "0.69" in right


def test_gaps_are_shaded_and_lines_meet_at_their_ends():
    nan = math.nan
    seen = np.array([[1.0, nan, nan, 4, 5, nan]])
    filled = np.array([[nan, 2.0, 3, nan, nan, 6]])
    figure = figures.channels(seen, filled, np.full_like(seen, nan))
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(0.5, 2.5), (4.5, 5.5)]
    assert [line.name for line in figure.data] == ["filled in", "seen"]
    np.testing.assert_array_equal(figure.data[0].y, [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_every_kind_are_drawn(kind, kinds, monkeypatch):
    app = opened("masks", kinds, monkeypatch, dataset=kind)
    checked(app)
    assert len(app.image) == 2 and not app.error, "every strategy, and those of the model"
    assert "Evenness" in " ".join(caption.value for caption in app.caption)


def test_what_is_selected_in_two_maps_of_one_dataset_is_drawn_twice(kinds, tmp_path, monkeypatch):
    root = shutil.copytree(kinds, tmp_path / "two")
    names = ["one", "two"]
    recipes = {name: {"dataset": "series", "modality": "series"} for name in names}
    (root / "params.yaml").write_text(yaml.safe_dump({"datasets": ["series"], "recipes": recipes}))
    places = dict.fromkeys(("x", "y", "pca_x", "pca_y"), np.arange(8.0))
    for name in names:
        (root / "results" / name).mkdir(parents=True)
        table = pd.DataFrame({"index": range(8), "split": "test", "label": np.arange(8) % 2, **places})
        table.to_parquet(root / "results" / name / "embeddings.parquet")
    selected = {"selection": {"points": [{"customdata": 0}, {"customdata": [3]}]}}
    monkeypatch.setattr(state, "chart", lambda *given, **more: selected)
    app = opened("embeddings", root, monkeypatch)
    app.multiselect("recipes").set_value(names).run()
    assert checked(app).count("2 selected") == 2 and not app.error
    assert len(drawn(app, "series")) == 4
