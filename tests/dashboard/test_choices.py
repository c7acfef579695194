"""What is chosen on a page is what is shown, whatever was asked before, and however long names are."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from opening import opened

from dashboard import figures

RMSE = "RMSE of hidden values, in standard deviations"


def scored(root: Path, recipe: str, model: str, value: float, **changes: object) -> None:
    """Adds the rows of a model to the scores of a recipe, on both splits that the leaderboard reads."""
    file = root / "results" / recipe / "scores.csv"
    table = pd.read_csv(file)
    row = (
        table.iloc[0].to_dict() | {"model": model, "value": value, "low": value - 0.02, "high": value + 0.02} | changes
    )
    pd.concat([table, pd.DataFrame([row | {"split": split} for split in ("validation", "test")])]).to_csv(
        file, index=False
    )


def reconstructed(root: Path) -> None:
    """Two models scored by a metric of which less is better: the fill of the last value is the better one."""
    for model, value in (("pretrained", 0.5), ("last_fill", 0.4)):
        facts = {"task": "reconstruction", "metric": "rmse_hidden", "pretrain_seed": 0, "probe_seed": None}
        scored(root, "digits", model, value, labels_per_class=None, **facts)


def test_another_metric_shows_every_model_that_it_was_measured_of(make, tmp_path, monkeypatch):
    make.one_run(tmp_path)
    reconstructed(tmp_path)
    app = opened("leaderboard", tmp_path, monkeypatch, task="reconstruction")
    assert list(app.dataframe[0].value["model"]) == ["pretrained"], "of PSNR there is one"
    app.selectbox("metric_reconstruction").select(RMSE).run()
    assert list(app.dataframe[0].value["model"]) == ["last visible value", "pretrained"]


def test_models_that_are_scored_meanwhile_appear_and_a_choice_stays(make, tmp_path, monkeypatch):
    make.one_run(tmp_path)
    app = opened("leaderboard", tmp_path, monkeypatch, task="linear probe")
    scored(tmp_path, "digits", "supervised", 0.99, task="linear", metric="accuracy")
    app.run()
    assert "supervised twin" in set(app.dataframe[0].value["model"])
    app.multiselect("models_linear").set_value(["pretrained"]).run()
    assert set(app.dataframe[0].value["model"]) == {"pretrained"}


@pytest.mark.parametrize("page", ["reconstructions", "try_it"])
def test_a_choice_of_models_for_one_dataset_is_none_for_another(make, tmp_path, monkeypatch, page):
    make.one_run(tmp_path)
    make.dataset(tmp_path, "letters")
    make.recipe(tmp_path, "letters", "letters", (0, 1))
    make.pipeline(tmp_path, {"digits": "digits5k", "letters": "letters"})
    app = opened(page, tmp_path, monkeypatch)
    first = app.multiselect[0].value
    app.multiselect[0].set_value(["letters/seed-1"]).run()
    app.selectbox("dataset").select("letters").run()
    assert app.multiselect[0].value == first != ["letters/seed-1"]


LONG = ["cifar10_ablation_mask_ratio_high_075", "cifar10_ablation_mask_ratio_high_090"]


def test_names_that_begin_alike_are_kept_apart_where_one_is_chosen(make, tmp_path, monkeypatch):
    make.dataset(tmp_path, "digits5k")
    for name in LONG:
        make.recipe(tmp_path, name, "digits5k")
    make.pipeline(tmp_path, dict.fromkeys(LONG, "digits5k"))
    app = opened("leaderboard", tmp_path, monkeypatch, task="linear probe")
    menu = app.selectbox("baseline_linear")
    assert len(set(menu.options)) == len(menu.options)
    menu.select(f"{LONG[1]} · pretrained").run()
    assert app.selectbox("baseline_linear").value == (LONG[1], "pretrained")
    app = opened("masks", tmp_path, monkeypatch)
    app.selectbox("model_image").select(f"{LONG[1]}/seed-0").run()
    assert any(f"--model models/{LONG[1]}/seed-0" in block.value for block in app.code)
    long = "a" * 39
    for other in ("b", "c"):
        make.model(tmp_path / "models" / f"{long}{other}" / "seed-0", 0)
    assert len({*opened("masks", tmp_path, monkeypatch).selectbox("model_image").options}) == 4


def test_classes_that_begin_alike_have_a_bar_each():
    names = ["adenocarcinoma of the lung", "adenocarcinoma of the colon"]
    counts = pd.DataFrame({"split": "train", "label": [0, 1], "name": names, "share": [0.25, 0.75], "samples": [1, 3]})
    last = pd.DataFrame({"split": "test", "label": [1], "name": names[1:], "share": [1.0], "samples": [2]})
    drawn = figures.class_balance(pd.concat([counts, last], ignore_index=True))
    assert [list(bars.x) for bars in drawn.data] == [[0, 1], [1]]
    assert [name for name, _ in drawn.data[0].customdata] == names
    assert list(drawn.layout.xaxis.tickvals) == [0, 1]
    many = pd.DataFrame({"split": "train", "label": np.arange(100), "name": "x", "share": 0.01, "samples": 1})
    assert len(figures.class_balance(many).layout.xaxis.tickvals) <= figures.MOST_TICKS, "words lie over each other"


def test_a_metric_of_which_less_is_better_says_so(make, tmp_path, monkeypatch):
    make.one_run(tmp_path)
    reconstructed(tmp_path)
    asked = {"task": "reconstruction", "metric_reconstruction": RMSE}
    app = opened("leaderboard", tmp_path, monkeypatch, **asked)
    assert "Lower is better: a negative Δ is a gain." in [caption.value for caption in app.caption]
    assert "lower is better" in json.loads(app.get("plotly_chart")[0].proto.spec)["layout"]["xaxis"]["title"]["text"]
    app.selectbox("metric_reconstruction").select_index(0).run()
    assert not any("ower is better" in caption.value for caption in app.caption)


def test_a_champion_of_two_datasets_is_one_of_both(make, tmp_path, monkeypatch):
    make.one_run(tmp_path)
    make.dataset(tmp_path, "letters")
    make.transfer(tmp_path, "digits_on_letters", "digits", "letters")
    assert list(opened("models", tmp_path, monkeypatch).dataframe[0].value["champion of"]) == ["digits5k, letters"]


def test_a_stage_that_has_just_begun_counts_no_steps(make, tmp_path, monkeypatch):
    make.one_run(tmp_path)
    run = tmp_path / "runs" / "evaluate-digits-0a1b2c"
    run.mkdir()
    beat = {"stage": "evaluate", "recipe": "digits", "state": "running", "time": time.time()}
    (run / "heartbeat.json").write_text(json.dumps(beat))
    app = opened("overview", tmp_path, monkeypatch)
    assert [bar.proto.text for bar in app.get("progress")] == ["**evaluate@digits**: has begun"]
    stages = app.dataframe[0].value.set_index("stage")
    assert stages.loc["evaluate@digits", "why"] == "has begun"
