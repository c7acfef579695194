"""Every page on every kind of results tree: the right words, and never an exception."""

import io
import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
from opening import opened
from PIL import Image
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from mae_core.evaluation.classifier import Classifier

TITLES = {
    "overview": "Overview",
    "leaderboard": "Leaderboard",
    "reconstructions": "Reconstructions",
    "embeddings": "Embeddings",
    "training": "Training",
    "search": "Search",
    "masks": "Masks",
    "data": "Data",
    "try_it": "Try it",
    "models": "Models",
}
WORDS = {  # what a page of healthy results must say
    "overview": "95 % interval",
    "leaderboard": "Ordered by the validation split",
    "reconstructions": "PSNR",
    "embeddings": "Label purity among 10 neighbours",
    "training": "Losses of recipes with different mask ratios",
    "search": "Run again from other seeds at the length of the final run: paired gain",
    "masks": "maestro masks --dataset digits5k --ratio 0.75 --count 6 --out masks.png",
    "data": "24 of 200 samples",
    "try_it": "k-NN says",
    "models": "MaskedAutoencoder.load",
}


def said(app: AppTest) -> str:
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "success", "code", "metric")
    return "\n".join(
        f"{getattr(e, 'label', '')} {e.value}" for kind in kinds for e in getattr(app, kind)
    ) + "\n".join(e.label for e in app.expander)  # fmt: skip


def check(app: AppTest, page: str) -> str:
    text = said(app)
    assert [e.value for e in app.title] == [TITLES[page]]
    assert not app.exception
    assert "could not be drawn" not in text
    return text


@pytest.mark.parametrize("page", TITLES)
def test_empty_folder_says_what_to_run(page, trees, monkeypatch):
    app = opened(page, trees["empty"], monkeypatch)
    check(app, page)
    assert [c.value for c in app.code] == ["dvc repro"]
    assert not app.error


@pytest.mark.parametrize("tree", ["one", "many"])
@pytest.mark.parametrize("page", TITLES)
def test_results_are_shown(page, tree, trees, monkeypatch):
    app = opened(page, trees[tree], monkeypatch)
    assert WORDS[page] in check(app, page)
    assert not app.error


@pytest.mark.parametrize("page", TITLES)
def test_missing_files_are_named_and_the_rest_is_shown(page, trees, monkeypatch):
    app = opened(page, trees["partial"], monkeypatch)
    text = check(app, page)
    needs = {
        "embeddings": "dvc repro evaluate@digits",
        "training": "dvc repro pretrain@digits",
        "reconstructions": "No trained model takes samples",
        "models": "No model has been trained",
        "try_it": "No trained model takes samples",
        "data": "24 of 200 samples",
    }
    assert needs.get(page, WORDS[page]) in text
    if page not in ("leaderboard", "masks"):
        assert "not there yet" in text
    assert not app.error


@pytest.mark.parametrize("page", TITLES)
def test_corrupt_files_are_named_with_the_command_that_mends_them(page, trees, monkeypatch):
    app = opened(page, trees["corrupt"], monkeypatch)
    text = check(app, page)
    path, command = {
        "overview": (r"dvc.lock", "git checkout dvc.lock"),
        "leaderboard": (r"scores.csv", "dvc repro evaluate@digits"),
        "reconstructions": (r"seed\-0", "dvc repro pretrain@digits"),
        "embeddings": (r"embeddings.parquet", "dvc repro evaluate@digits"),
        "training": (r"history.csv", "dvc repro pretrain@digits"),
        "search": (r"trials.parquet", "dvc repro search@digits"),
        "masks": (r"train\-samples.npy", "dvc repro prepare@digits5k"),
        "data": (r"train\-samples.npy", "dvc repro prepare@digits5k"),
        "try_it": (r"train\-samples.npy", "dvc repro prepare@digits5k"),
        "models": (r"config.json", "dvc repro pretrain@digits"),
    }[page]
    assert path in text
    assert command in [c.value for c in app.code]
    assert app.error
    if page == "leaderboard":
        assert any("digits_norm" in set(frame.value.get("recipe", [])) for frame in app.dataframe)
    if page in ("reconstructions", "try_it"):
        assert "PSNR" in text
    if page == "reconstructions":
        assert "not a whole PNG file" in text
        app.selectbox("recipe").set_value("digits_norm").run()
        assert "bank.json" in check(app, page)


@pytest.mark.parametrize("page", TITLES)
def test_hostile_names_stay_words(page, trees, monkeypatch):
    app = opened(page, trees["hostile"], monkeypatch)
    check(app, page)
    for kind in ("markdown", "caption", "info", "error", "warning", "metric"):
        for element in getattr(app, kind):
            text = f"{getattr(element, 'label', '')} {element.value}"
            assert not getattr(element, "allow_html", False)
            assert "<img" not in text.replace(r"\<img", "")
            assert "![x]" not in text and ":red[x]" not in text


@pytest.mark.parametrize("page", TITLES)
def test_files_that_hold_nonsense_never_take_the_app_down(page, trees, monkeypatch):
    app = opened(page, trees["nonsense"], monkeypatch)
    assert not app.exception
    assert [e.value for e in app.title] == [TITLES[page]]


def test_commands_for_masks_keep_hostile_names_as_one_word(trees, tmp_path, monkeypatch):
    root = tmp_path / "hostile"
    shutil.copytree(trees["hostile"], root)
    data, recipe = "$(touch pwned); x", next(path.name for path in (root / "models").iterdir() if "touch" in path.name)
    (root / "data" / "digits5k").rename(root / "data" / data)
    app = opened("masks", root, monkeypatch, dataset=data)
    app.selectbox("model_image").set_value(f"{recipe}/seed-0").run()
    check(app, "masks")
    of_all, of_one = (shlex.split(code.value) for code in app.code if code.value.startswith("maestro masks"))
    assert of_all[2:4] == ["--dataset", data]
    assert of_one[2:6] == ["--model", f"models/{recipe}/seed-0", "--dataset", data]


def test_label_purity_counts_labelled_points_alone(trees, tmp_path, monkeypatch):
    root = tmp_path / "labels"
    shutil.copytree(trees["one"], root)
    path = root / "results" / "digits" / "embeddings.parquet"
    table = pd.read_parquet(path)
    for known, told in ((200, " % (n = 200 labelled points)"), (0, ": – (n = 0 labelled points)")):
        table.assign(label=table["label"].where(table.index < known, -1)).to_parquet(path)
        text = check(opened("embeddings", root, monkeypatch), "embeddings")
        assert told in text and "300 of 300 test samples" in text


def test_a_map_keeps_the_classes_of_the_dataset_that_it_is_of(make, tmp_path, monkeypatch):
    make.one_run(tmp_path)
    make.dataset(tmp_path, "letters")
    info = tmp_path / "data" / "letters" / "dataset.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "classes": [f"letter {k}" for k in "abcdefghij"]}))
    file = tmp_path / "params.yaml"
    file.write_text(file.read_text().replace("dataset: digits5k", "dataset: letters"))
    app = opened("embeddings", tmp_path, monkeypatch)
    check(app, "embeddings")
    assert "letter" not in app.get("plotly_chart")[0].proto.spec
    (tmp_path / "results" / "digits" / "scores.csv").unlink()
    assert "letter" in opened("embeddings", tmp_path, monkeypatch).get("plotly_chart")[0].proto.spec, (
        "nothing else says"
    )


def test_a_page_that_cannot_be_drawn_says_so(trees, monkeypatch):
    text = said(opened("search", trees["nonsense"], monkeypatch))
    assert "could not be drawn" in text and "dvc repro" in text


def test_overview_shows_what_runs_and_what_crashed(make, tmp_path, monkeypatch):
    make.many_runs(tmp_path, 3)
    make.heartbeat(tmp_path, "digits_norm")
    (tmp_path / "models" / "digits_small_patch" / "seed-0").rename(tmp_path / "gone")
    make.heartbeat(tmp_path, "digits_norm", age=900, stage="evaluate")
    text = said(opened("overview", tmp_path, monkeypatch))
    assert "1 of 3 running 62 %" in text
    assert "no sign of life for 15 min" in text
    assert "dvc repro evaluate@digits_norm" in text


def test_what_is_to_be_known_of_a_score_stands_beside_it(make, tmp_path, monkeypatch):
    make.one_run(tmp_path)
    make.transfer(
        tmp_path,
        "digits_on_b",
        "digits",
        "b",
        "ran, but b shares images with digits5k, which the models were trained on",
    )
    app = opened("overview", tmp_path, monkeypatch)
    check(app, "overview")
    assert [e.value for e in app.warning if "shares images" in e.value] == [
        "b shares images with digits5k, which the models were trained on."
    ]
    text = check(opened("leaderboard", tmp_path, monkeypatch, dataset="b"), "leaderboard")
    assert "1 task did not run, or ran with a caveat" in text and "could not run" not in text


def test_a_link_opens_the_question_it_was_copied_from(trees, monkeypatch):
    app = opened("leaderboard", trees["many"], monkeypatch, task="k-NN", split="validation")
    assert app.selectbox("task").value == "knn"
    assert app.selectbox("split").value == "validation"
    check(app, "leaderboard")


def test_a_link_with_unknown_values_opens_the_defaults(trees, monkeypatch):
    app = opened("leaderboard", trees["many"], monkeypatch, task="<script>", dataset="../..")
    assert app.selectbox("task").value == "linear"
    check(app, "leaderboard")


def test_every_task_of_the_leaderboard_has_a_table(trees, monkeypatch):
    app = opened("leaderboard", trees["many"], monkeypatch)
    for task in app.selectbox("task").options:
        app.selectbox("task").select(task).run()
        check(app, "leaderboard")
        assert len(app.dataframe[0].value)


def test_a_baseline_on_which_recipes_disagree_is_shown_beside_its_recipe(trees, tmp_path, monkeypatch):
    root = shutil.copytree(trees["many"], tmp_path / "tree")
    path = root / "results" / "digits" / "scores.csv"
    table = pd.read_csv(path)
    table["value"] -= table["model"].eq("pca") * 0.01
    table.to_csv(path, index=False)
    asked = {"task": "linear probe", "baseline_linear": "digits · PCA of plain features"}
    app = opened("leaderboard", root, monkeypatch, **asked)
    assert "Recipes measured PCA of plain features with other settings" in check(app, "leaderboard")
    shown = app.dataframe[0].value.set_index(["recipe", "model"])
    assert shown.xs("PCA of plain features", level="model").index.tolist().count("(data alone)") == 0
    assert ("(data alone)", "plain features, logistic regression") in shown.index
    ours = shown.loc[("digits", "pretrained")]
    assert ours["Δ baseline"] == pytest.approx(ours.iloc[1] - shown.loc[("digits", "PCA of plain features")].iloc[1])
    assert "other settings" not in check(
        opened("leaderboard", trees["many"], monkeypatch, task="linear probe"), "leaderboard"
    )
    best = opened("overview", root, monkeypatch).get("plotly_chart")[0].proto.spec
    assert best.count('"PCA of plain features"') == 1, "the champion stands beside its own"


def test_models_of_different_patch_sizes_get_their_own_masks(trees, monkeypatch):
    app = opened("reconstructions", trees["many"], monkeypatch)
    assert "different size" not in said(app)
    app.multiselect("runs_digits5k").set_value(["digits/seed-0", "digits_small_patch/seed-0"]).run()
    assert "different size" in check(app, "reconstructions")
    captions = [caption.value for caption in app.caption]
    assert "4 × 4 cells" in captions and "7 × 7 cells" in captions


def test_true_patch_statistics_are_admitted(trees, monkeypatch):
    app = opened("reconstructions", trees["many"], monkeypatch)
    app.multiselect("runs_digits5k").set_value(["digits_norm/seed-0"]).run()
    assert "true mean and variance of each hidden patch" in said(app)


@pytest.mark.parametrize("page", ["reconstructions", "try_it"])
def test_models_that_show_no_sample_are_left_out_by_name(make, tmp_path, monkeypatch, page):
    """One of another target, and a supervised twin, beside one that can be shown."""
    make.one_run(tmp_path)
    make.recipe(tmp_path, "a_latent", "digits5k", target="latent")
    make.pipeline(tmp_path, dict.fromkeys(["digits", "a_latent"], "digits5k"))
    twin = make.model_config(7, 0.0)
    Classifier.build(twin, ["0", "1"]).save(tmp_path / "controls" / "digits" / "supervised-0")
    app = opened(page, tmp_path, monkeypatch)
    check(app, page)
    assert any("Left out" in caption.value and "latent" in caption.value for caption in app.caption)
    assert app.multiselect("runs_digits5k").options == ["digits/seed-0"]


def test_a_supervised_twin_is_loaded_as_what_it_is(make, tmp_path, monkeypatch):
    make.one_run(tmp_path)
    Classifier.build(make.model_config(7, 0.0), ["0", "1"]).save(tmp_path / "controls" / "digits" / "supervised-0")
    app = opened("models", tmp_path, monkeypatch)
    app.selectbox("model").select("digits/supervised-0 (control)").run()
    check(app, "models")
    assert any("Classifier.load('controls/digits/supervised-0')" in block.value for block in app.code)


def test_the_champion_is_marked(trees, monkeypatch):
    table = opened("models", trees["many"], monkeypatch).dataframe[0].value
    assert table["champion of"].tolist().count("digits5k") == 1
    assert table.loc[table["champion of"] == "digits5k", "model"].item().startswith("digits_block/")


def test_models_page_shows_how_two_differ(trees, monkeypatch):
    app = opened("models", trees["many"], monkeypatch)
    app.selectbox("other_digits/seed-0").set_value("digits_norm/seed-0").run()
    table = app.dataframe[-1].value
    assert list(table["key"]) == ["objective.target"]


def png(color: int = 200) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (color, 10, 10)).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_upload_is_decoded_masked_and_compared(trees, monkeypatch):
    pytest.importorskip("mae_core.data.images")
    app = opened("try_it", trees["one"], monkeypatch, source="Upload")
    assert "Choose a picture" in check(app, "try_it")
    app.file_uploader[0].upload("mine.png", png(), "image/png").run()
    text = check(app, "try_it")
    assert "PSNR" in text and "k-NN says" in text and not app.error


@pytest.mark.parametrize("content", [b"", b"GIF89a, not a picture", png()[:60]])
def test_an_upload_that_is_no_picture_is_refused_with_a_reason(content, trees, monkeypatch):
    pytest.importorskip("mae_core.data.images")
    app = opened("try_it", trees["one"], monkeypatch, source="Upload")
    app.file_uploader[0].upload("<b>.png", content, "image/png").run()
    assert "This file cannot be used" in check(app, "try_it")


def test_parts_of_a_loss_are_drawn_one_at_a_time(trees, tmp_path, monkeypatch):
    """Of the recipe that has several; another whose loss is of one part stands beside it."""
    root = tmp_path / "parts"
    shutil.copytree(trees["many"], root)
    path = root / "results" / "digits" / "history.csv"
    table = pd.read_csv(path)
    table = table.assign(**{"loss_of/reconstruction": table["loss"], "loss_of/uniformity": 0.5})
    table.to_csv(path, index=False)
    app = opened("training", root, monkeypatch)
    text = check(app, "training")
    assert "Parts of the loss, without their weights" in text
    (menu,) = (box for box in app.selectbox if box.label == "Part")
    assert menu.options == ["loss_of/reconstruction", "loss_of/uniformity"]
    menu.select("loss_of/uniformity").run()
    assert not app.exception
    assert "Parts of the loss" not in check(opened("training", trees["many"], monkeypatch), "training")


def test_what_learned_masks_do_is_drawn(trees, tmp_path, monkeypatch):
    root = tmp_path / "masks"
    shutil.copytree(trees["many"], root)
    path = root / "results" / "digits" / "history.csv"
    table = pd.read_csv(path)
    table.assign(**{"mask/probe": 0.5, "mask/reward": table["loss"]}).to_csv(path, index=False)
    app = opened("training", root, monkeypatch)
    assert "What learned masks do" in check(app, "training")
    (menu,) = (box for box in app.selectbox if box.label == "Measure")
    assert menu.options == ["mask/probe", "mask/reward"]
    assert "What learned masks do" not in check(opened("training", trees["many"], monkeypatch), "training")


def test_masks_of_a_model_with_weights_of_another_are_named_and_the_gallery_is_drawn(trees, tmp_path, monkeypatch):
    root = tmp_path / "damaged"
    shutil.copytree(trees["one"], root)
    for weights in (root / "models").rglob("model.safetensors"):
        save_file({"other": np.zeros(3, np.float32)}, str(weights))
    app = opened("masks", root, monkeypatch)
    assert "cannot be used" in check(app, "masks") and len(app.image) == 1


def test_without_a_model_the_masks_page_says_how_to_train_one(trees, tmp_path, monkeypatch):
    root = tmp_path / "untrained"
    shutil.copytree(trees["one"], root)
    for folder in ("models", "controls"):
        shutil.rmtree(root / folder, ignore_errors=True)
    app = opened("masks", root, monkeypatch)
    assert "No trained model takes samples of this dataset yet" in check(app, "masks") and len(app.image) == 1
