"""The report on every kind of results tree: whole, absent, partial, corrupt, hostile, nonsense."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from html_tree import parsed

from experiments.report import write_report
from experiments.report_scores import gaps
from experiments.report_text import scores_text
from experiments.results import SCORE_COLUMNS, Store

SECTIONS = (
    "Headline", "Leaderboards", "Few labels", "Reconstructions", "Search", "Training", "Features", "Skipped and caveats", "Data",
    "Provenance", "Cost",
)  # fmt: skip


def _module(name: str):
    path = Path(__file__).resolve().parents[1] / "dashboard" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"report_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TREES = _module("conftest")
make = _module("make_results")
studies = _module("make_studies")


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    return make.one_run(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return make.many_runs(tmp_path_factory.mktemp("many"), 3)


@pytest.fixture
def copy(many, tmp_path) -> Path:
    return shutil.copytree(many, tmp_path / "tree")


def report(root: Path) -> str:
    """The page, after the checks that hold for every page."""
    text = write_report(root).read_text()
    tree = parsed(text)
    assert [a["id"] for name, a in tree.seen if name == "h2"][: len(SECTIONS)] == [
        s.lower().replace(" ", "-") for s in SECTIONS
    ]
    assert not [name for name, _ in tree.seen if name in ("script", "link", "iframe", "object", "form", "base")]
    for _, attributes in tree.seen:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"url\(|@import", text)
    assert str(root) not in text
    return text


def plain(text: str) -> str:
    return " ".join(" ".join(parsed(text).words).split())


def test_an_empty_folder_says_what_to_run(tmp_path):
    text = plain(report(tmp_path))
    assert "No trained model has a score yet" in text and "dvc repro" in text
    assert json.loads((tmp_path / "report" / "leaderboard.json").read_text()) == {"schema": 1, "rows": []}


def test_a_whole_tree_shows_every_section(one):
    html = report(one)
    text = plain(html)
    for said in (
        "is first on validation", "95 % interval", "plain features, logistic regression", "standard error", "Importance", "n = 11",
        "Rank correlation of the loss with the score: -0.21 (n = 11)", "He et al.", "synthetic, CC0", "Unverified", "2 files set aside",
        "1 within a split, 0 across splits", "2 min 43 s", "812", "effective rank (RankMe)", "not recorded", "No task was skipped",
    ):  # fmt: skip
        assert said in text, said
    assert html.count("data:image/png;base64,") == 3
    assert "could not be" not in text


def test_the_best_on_validation_leads_and_every_difference_has_its_interval(many):
    champion = Store(many).champions()[0]
    scores = Store(many).scores()
    found = {gap.model: gap for gap in gaps(champion, scores)}
    assert set(found) == {"untrained", "autoencoder", "pixels_logistic", "pca"}
    assert all(gap.low < gap.value < gap.high for gap in found.values())
    mean = scores[
        scores["recipe"].eq(champion.recipe) & scores["task"].eq("linear") & scores["split"].eq("test") & scores["dataset"].eq("digits5k")
    ].groupby("model")["value"].mean()  # fmt: skip
    for model, gap in found.items():
        assert gap.value == pytest.approx(mean["pretrained"] - mean[model], abs=1e-6)
    assert champion.recipe in plain(report(many))


def test_a_difference_that_was_paired_item_by_item_is_preferred(one, tmp_path):
    root = shutil.copytree(one, tmp_path / "tree")
    file = root / "results" / "digits" / "scores.csv"
    table = pd.read_csv(file)
    row = table[table["model"].eq("pretrained") & table["task"].eq("linear") & table["split"].eq("test")].iloc[0]
    paired = row.to_dict() | {"metric": "accuracy_gain_over_pca", "value": 0.0411, "low": 0.0311, "high": 0.0511}
    pd.concat([table, pd.DataFrame([paired])])[SCORE_COLUMNS].to_csv(file, index=False)
    text = plain(report(root))
    assert "+4.1 points" in text and "[+3.1, +5.1] paired, test items" in text
    board = Store(root).leaderboard("linear", "accuracy", "digits5k", baseline=("", "pca"))
    shown = board[board["model"].eq("pretrained")].iloc[0]
    assert (shown["difference"], shown["difference_low"], shown["difference_high"]) == (0.0411, 0.0311, 0.0511)


def test_the_same_files_give_the_same_bytes(one):
    write_report(one)
    before = [(one / "report" / name).read_bytes() for name in ("index.html", "leaderboard.json")]
    write_report(one)
    assert before == [(one / "report" / name).read_bytes() for name in ("index.html", "leaderboard.json")]


def test_leaderboard_json_holds_the_rows_of_every_table(many):
    write_report(many)
    found = json.loads((many / "report" / "leaderboard.json").read_text())
    assert found["schema"] == 1
    linear = [r for r in found["rows"] if r["task"] == "linear" and r["split"] == "test"]
    store = Store(many).leaderboard("linear", "accuracy", "digits5k")
    assert [(r["recipe"], r["model"]) for r in linear] == list(zip(store["recipe"], store["model"]))
    assert [r["value"] for r in linear] == pytest.approx(list(store["value"]), abs=1e-6)
    few = [r for r in found["rows"] if r["task"] == "few_label" and r["labels_per_class"] == 10]
    assert {r["model"] for r in few} == {"pretrained", "untrained"} and few[0]["rank"] is None
    assert few[0]["n_seeds"] == 3 and few[0]["covers"] == "test items"


def test_a_baseline_on_which_recipes_disagree_stands_under_each(copy):
    file = copy / "results" / "digits" / "scores.csv"
    table = pd.read_csv(file)
    table["value"] -= table["model"].eq("pca") * 0.01
    table.to_csv(file, index=False)
    text = plain(report(copy))
    assert "digits · PCA of plain features" in text and "digits_norm · PCA of plain features" in text
    assert "Recipes measured PCA of plain features with other settings" in text
    assert "digits · plain features, logistic regression" not in text
    found = json.loads((copy / "report" / "leaderboard.json").read_text())["rows"]
    rows = [r for r in found if r["model"] == "pca" and r["task"] == "linear" and r["split"] == "test"]
    assert {r["recipe"] for r in rows} == set(Store(copy).trained_names())
    assert {r["recipe"] for r in found if r["model"] == "pixels_logistic"} == {""}
    assert "digits · PCA of plain features" in scores_text(copy)
    assert "Recipes measured PCA of plain features with other settings" in scores_text(copy)


def test_a_recipe_without_results_is_named(copy):
    shutil.rmtree(copy / "results" / "digits_norm")
    text = plain(report(copy))
    assert "Without results so far: digits_norm" in text
    assert "3 recipes, 2 scored" in text


def test_missing_files_are_named_with_their_command_and_the_rest_is_shown(one, tmp_path):
    root = shutil.copytree(one, tmp_path / "tree")
    TREES._partial(root)
    text = plain(report(root))
    for command in ("dvc repro pretrain@digits", "dvc repro search@digits", "dvc repro evaluate@digits"):
        assert command in text
    assert "is first on validation" in text and "There is no training curve yet" in text
    assert "No map of the features is made yet" in text


def test_corrupt_files_are_named_with_the_command_that_mends_them(many, tmp_path):
    root = shutil.copytree(many, tmp_path / "tree")
    TREES._corrupt(root)
    text = plain(report(root))
    for file, command in (
        ("results/digits/scores.csv", "dvc repro evaluate@digits"),
        ("results/digits/history.csv", "dvc repro pretrain@digits"),
        ("results/digits/search.json", "dvc repro search@digits"),
        ("results/digits/trials.parquet", "dvc repro search@digits"),
        ("models/digits/seed-1/config.json", "dvc repro pretrain@digits"),
    ):
        assert file in text and command in text
    assert "is first on validation" in text and "not a whole PNG file" in text
    assert re.search(r"\d files are broken; all the rest is unaffected", text)


def test_nonsense_in_one_recipe_costs_its_part_alone(copy):
    TREES._nonsense(copy)
    text = plain(report(copy))
    assert text.count("This part could not be drawn") == 1
    assert text.count("ranked by k-NN accuracy") == 2


def test_hostile_names_stay_words(tmp_path):
    make.dataset(tmp_path, "digits5k")
    names = ["<script>alert(1)<", *TREES.HOSTILE]
    for name in names:
        make.recipe(tmp_path, name, "digits5k")
    make.pipeline(tmp_path, dict.fromkeys([*names, "../../etc"], "digits5k"))
    text = report(tmp_path)
    assert "<script" not in text and "<img src=x" not in text
    shown = plain(text)
    assert "<script>alert(1)<" in shown and "🦄" in shown and "n" * 200 not in shown


def test_a_search_that_did_not_take_place_says_why(copy):
    from experiments.columns import TRIAL_COLUMNS

    summary = {
        "metric": "knn", "split": "validation", "trials": 0, "keys": [], "default": {}, "winner": {}, "chosen": "default",
        "verdict": "search.trials is 0", "importance": {}, "importance_n": 0, "flops": 0.0,
        "confirm": {"seeds": [], "default": [], "winner": [], "gain": None, "standard_error": None},
        "rank_correlation": {"loss_with_score": None, "n": 0},
    }  # fmt: skip
    (copy / "results" / "digits" / "search.json").write_text(json.dumps({"schema": 1, **summary}))
    pd.DataFrame(columns=TRIAL_COLUMNS).to_parquet(copy / "results" / "digits" / "trials.parquet")
    text = plain(report(copy))
    assert "Search.trials is 0." in text and "No trial was run." in text and "could not be drawn" not in text


def test_no_mask_ratio_of_a_population_is_shown_as_if_it_were_constant(one, tmp_path):
    root = shutil.copytree(one, tmp_path / "tree")
    assert "Best of the longest schedule" in plain(report(root))
    studies.population(root)
    text = plain(report(root))
    assert "Best of the longest schedule" not in text and "Dashed: 0.75" not in text
    assert "best member, last round" in text and "Schedule of the best member of a population" in text
    assert "A round of a population stands by itself" in text and "could not be drawn" not in text


def test_one_confirming_seed_is_shown_without_a_spread(copy):
    file = copy / "results" / "digits" / "search.json"
    found = json.loads(file.read_text())
    found["confirm"] = {"seeds": [4], "default": [0.8], "winner": [0.81], "gain": None, "standard_error": None}
    file.write_text(json.dumps(found))
    assert "Run again from 1 fresh seed at the longest schedule. seed" in plain(report(copy)), "an older search"
    file.write_text(json.dumps(found | {"confirm": found["confirm"] | {"share": 0.5}}))
    assert "Run again from 1 fresh seed at 0.5 of the final run's FLOPs. seed" in plain(report(copy))


def test_the_pick_of_several_objectives_is_not_called_best(copy):
    file = copy / "results" / "digits" / "search.json"
    found = json.loads(file.read_text())
    before = plain(report(copy)).count("searched key defaults best trial")
    file.write_text(json.dumps(found | {"front": [0, 1], "picked": 1, "objectives": ["metric", "flops"]}))
    text = plain(report(copy))
    assert text.count("searched key defaults picked trial") == 1
    assert text.count("searched key defaults best trial") == before - 1


def test_skipped_tasks_have_their_reasons(copy):
    (copy / "results" / "digits" / "skipped.csv").write_text("task,reason\nlinear,<b>one class alone</b>\n")
    assert "linear probe <b>one class alone</b>" in plain(report(copy))


def test_what_is_to_be_known_of_a_score_stands_beside_it(copy):
    make.transfer(
        copy, "digits_on_b", "digits", "b", "ran, but b shares images with digits5k, which the models were trained on"
    )
    told = "b shares images with digits5k, which the models were trained on"
    text = plain(report(copy))
    headline, rest = text.split("These did not run, or ran with a caveat.")
    assert f"{told}." in headline and f"ran, but {told}" in rest
    make.transfer(copy, "digits_on_c", "digits", "c", "no test sample has a label")
    text = plain(report(copy))
    assert text.count("no test sample has a label") == 1, "what did not run is no caveat of what did"


def test_a_map_keeps_the_classes_of_the_dataset_that_it_is_of(copy):
    make.dataset(copy, "letters")
    info = copy / "data" / "letters" / "dataset.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "classes": [f"letter {k}" for k in "abcdefghij"]}))
    file = copy / "params.yaml"
    file.write_text(file.read_text().replace("dataset: digits5k", "dataset: letters"))
    report(copy)
    text = (copy / "report" / "index.html").read_text()
    features = text[text.index('<h2 id="features"') : text.index('<h2 id="skipped')]
    assert "PCA: the two directions" in features and "letter" not in features


def test_no_labels_no_headline_but_the_rest(one, tmp_path):
    root = shutil.copytree(one, tmp_path / "tree")
    file = root / "results" / "digits" / "scores.csv"
    table = pd.read_csv(file)
    table[table["task"].isin(["reconstruction", "rank"])].to_csv(file, index=False)
    text = plain(report(root))
    assert "No trained model has a score yet" in text and "17." in text and "RankMe" in text


def test_heavy_pictures_are_made_smaller(one, tmp_path):
    import numpy as np
    from PIL import Image

    root = shutil.copytree(one, tmp_path / "tree")
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    for file in (root / "results" / "digits" / "reconstructions").glob("*.png"):
        Image.fromarray(noise).save(file)
    assert len(report(root)) < 4_000_000


def test_many_recipes_are_drawn_in_part_and_listed_whole(one, tmp_path):
    root = shutil.copytree(one, tmp_path / "tree")
    for i in range(10):
        shutil.copytree(root / "results" / "digits", root / "results" / f"digits_{i}")
        file = root / "results" / f"digits_{i}" / "scores.csv"
        file.write_text(re.sub("^digits,", f"digits_{i},", file.read_text(), flags=re.M))
    text = plain(report(root))
    assert "8 of 11 recipes are drawn" in text
    assert all(f"digits_{i} · pretrained" in text for i in range(10))


def test_scores_in_short(many, tmp_path):
    text = scores_text(many)
    assert "digits5k: linear probe, test accuracy" in text and "few-label probe, 10 labels a class" in text
    line = next(row for row in text.splitlines() if "plain features, logistic regression" in row)
    assert "90.0 %" in line and "test items" in line
    assert "Did not run" not in text
    assert scores_text(tmp_path) == "no scores yet: run `dvc repro`"


def test_scores_in_short_tell_what_the_app_tells_of_them(copy):
    results = copy / "results"
    (results / "digits_norm" / "skipped.csv").write_text(
        'task,reason\nfinetune,no labels\nknn,"ran, but b shares images"\n'
    )
    unranked = "no validation score, so they are in order of their names"
    before = scores_text(copy).count(unranked)
    for file in results.glob("*/scores.csv"):
        table = pd.read_csv(file)
        table[table["split"].ne("validation") | table["task"].ne("knn")].to_csv(file, index=False)
    text = scores_text(copy)
    assert text.count(unranked) == before + 1
    said = text.partition("Did not run, or ran with a caveat:\n")[2].splitlines()
    assert said == ["  digits_norm, fine-tuning: no labels", "  digits_norm, k-NN: ran, but b shares images"]
