"""The leaderboard: means, intervals that say what they cover, differences, baselines on which recipes disagree."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments import standings, words
from experiments.results import SCORE_COLUMNS


def rows(*given: dict) -> pd.DataFrame:
    """Score rows with sensible values for what is not given."""
    usual = dict.fromkeys(SCORE_COLUMNS, None) | {
        "recipe": "a", "dataset": "d", "split": "test", "model": "pretrained", "task": "knn", "metric": "accuracy",
        "pretrain_seed": 0, "n_train": 100, "n_test": 50,
    }  # fmt: skip
    table = pd.DataFrame([usual | g for g in given])
    whole = ["labels_per_class", "pretrain_seed", "probe_seed", "n_train", "n_test"]
    table[whole] = table[whole].astype("Float64")
    table[["value", "low", "high"]] = table[["value", "low", "high"]].astype(float)
    return table.astype(dict.fromkeys(whole, "Int64"))


def board(table: pd.DataFrame, **more) -> pd.DataFrame:
    return standings.leaderboard(table, "knn", "accuracy", "d", **more)


def test_three_seeds_give_students_interval():
    found = board(rows(*({"pretrain_seed": s, "value": v} for s, v in enumerate((0.8, 0.9, 0.85))))).iloc[0]
    half = 4.302652729911275 * 0.05 / math.sqrt(3)
    assert found["value"] == pytest.approx(0.85)
    assert (found["low"], found["high"]) == (pytest.approx(0.85 - half), pytest.approx(0.85 + half))
    assert found["covers"] == "pretraining seeds (n=3)"


def test_seeds_that_agree_do_not_make_the_test_items_certain():
    values = enumerate((0.80, 0.81, 0.80))
    found = board(rows(*({"pretrain_seed": s, "value": v, "low": v - 0.1, "high": v + 0.1} for s, v in values))).iloc[0]
    assert (found["low"], found["high"]) == (pytest.approx(0.7033, abs=1e-4), pytest.approx(0.9033, abs=1e-4))
    assert found["covers"] == "test items"


def test_probe_seeds_do_not_count_as_pretraining_seeds():
    many = rows(*({"pretrain_seed": s, "probe_seed": p, "value": 0.8 + s / 10} for s in (0, 1) for p in range(5)))
    found = board(many).iloc[0]
    assert found["n_seeds"] == 2 and found["covers"] == "–" and math.isnan(found["low"])


def test_one_seed_takes_the_bootstrap_and_says_so():
    found = board(rows({"value": 0.8, "low": 0.7, "high": 0.9})).iloc[0]
    assert (found["low"], found["high"], found["covers"]) == (0.7, 0.9, "test items")


def test_one_seed_takes_the_wider_of_probe_seeds_and_bootstrap():
    values = ((0, 0.5), (1, 0.7), (2, 0.6))
    found = board(rows(*({"probe_seed": p, "value": v, "low": v - 0.01, "high": v + 0.01} for p, v in values)))
    assert found.iloc[0]["covers"] == "probe seeds (n=3)"
    found = board(rows(*({"probe_seed": p, "value": 0.6, "low": 0.5, "high": 0.7} for p in range(3))))
    assert found.iloc[0]["covers"] == "test items"


def test_one_value_has_no_interval():
    found = board(rows({"value": 0.8})).iloc[0]
    assert found["covers"] == "–" and math.isnan(found["high"])


def test_order_is_that_of_validation_even_where_test_disagrees():
    table = rows(
        {"recipe": "a", "value": 0.9},
        {"recipe": "b", "value": 0.8},
        {"recipe": "a", "split": "validation", "value": 0.5},
        {"recipe": "b", "split": "validation", "value": 0.6},
        {"recipe": "c", "value": 0.99},
    )
    found = board(table)
    assert list(found["recipe"]) == ["b", "a", "c"]
    assert found["rank"].tolist()[:2] == [1, 2] and pd.isna(found["rank"].iloc[2])


@pytest.mark.parametrize(
    ("metric", "first"),
    [
        *((name, 0.1) for name in ("mse", "mse_hidden", "rmse_hidden", "rmse_db_hidden", "mae_db_hidden", "nll_hidden")),
        *((name, 0.1) for name in ("dead_features", "rmse_hidden/series", "nll_hidden.random-75")),
        *((name, 0.4) for name in ("accuracy", "accuracy_gain_over_pca", "accuracy_hidden", "psnr_hidden", "ssim_hidden")),
        *((name, 0.4) for name in ("effective_rank", "effective_rank_share", "feature_std", "lidar", "explained")),
    ],
)  # fmt: skip
def test_a_metric_ranks_in_its_own_direction(metric, first):
    both = [
        {"recipe": r, "split": s, "metric": metric, "value": v}
        for r, v in (("a", 0.4), ("b", 0.1))
        for s in ("test", "validation")
    ]
    assert standings.leaderboard(rows(*both), "knn", metric, "d")["value"].iloc[0] == first


def test_a_data_baseline_measured_by_two_recipes_is_one_row():
    base = {"model": "pixels_knn", "pretrain_seed": None, "value": 0.7, "low": 0.6, "high": 0.8}
    found = board(rows({"recipe": "a", **base}, {"recipe": "b", **base}))
    assert len(found) == 1 and found.iloc[0]["recipe"] == "" and found.iloc[0]["n_seeds"] == 0


def baseline(recipe: str, **facts) -> dict:
    return {"recipe": recipe, "model": "pixels_knn", "pretrain_seed": None, "value": 0.7} | facts


@pytest.mark.parametrize("other", [{"value": 0.71}, {"n_train": 90}, {"n_test": 49}, {"value": 0.700002}])
def test_a_data_baseline_on_which_recipes_disagree_stands_under_each(other):
    ours = [{"recipe": r, "value": 0.8} for r in "ab"]
    judged = [baseline("a", split="validation", value=0.6), baseline("b", split="validation", value=0.6)]
    table = rows(*ours, *judged, baseline("a"), baseline("b", **other), baseline("b", model="pca"))
    found = board(table, baseline=("b", "pixels_knn")).set_index(["recipe", "model"])
    assert set(found.index) == {
        ("a", "pretrained"),
        ("b", "pretrained"),
        ("a", "pixels_knn"),
        ("b", "pixels_knn"),
        ("", "pca"),
    }
    theirs = found.loc[("b", "pixels_knn")]
    assert theirs["value"] == other.get("value", 0.7) and found.loc[("a", "pixels_knn"), "value"] == 0.7
    assert (theirs["n_train"], theirs["n_test"]) == (other.get("n_train", 100), other.get("n_test", 50))
    assert theirs["is_baseline"] and theirs["validation"] == 0.6, (
        "its validation score is found, though that is agreed on"
    )
    assert found.loc[("b", "pretrained"), "difference"] == pytest.approx(0.8 - theirs["value"])
    told = standings.disagreement(found.reset_index())
    assert "plain features, k-NN" in told and "PCA" not in told


def test_a_data_baseline_on_which_recipes_agree_is_one_row_whatever_they_know_beside_it():
    few = [
        baseline(r, labels_per_class=10, probe_seed=p, value=0.5 + p / 10)
        for r, n in (("a", 1), ("b", 3))
        for p in range(n)
    ]
    table = rows(baseline("a", low=0.6, high=0.8), baseline("b", value=0.700001, low=0.5, high=0.9), *few)
    (found,) = board(table).to_dict("records")
    assert (found["recipe"], found["low"], found["high"]) == ("", 0.6, 0.8)
    assert board(table, labels_per_class=10)["value"].tolist() == [pytest.approx(0.6)]
    assert standings.disagreement(board(table)) == ""


def test_one_disagreement_parts_a_baseline_at_every_number_of_labels():
    table = rows(
        *(
            baseline(r, labels_per_class=n, value=0.5 + n / 10 + (r == "b" and n == 2) / 10)
            for r in "ab"
            for n in (1, 2)
        )
    )
    assert [set(board(table, labels_per_class=n)["recipe"]) for n in (1, 2)] == [{"a", "b"}] * 2


def test_differences_are_paired_on_shared_seeds():
    ours = [{"recipe": "a", "pretrain_seed": s, "value": v} for s, v in enumerate((0.50, 0.70, 0.90, 0.1))]
    theirs = [{"recipe": "b", "pretrain_seed": s, "value": v} for s, v in enumerate((0.40, 0.61, 0.79))]
    found = board(rows(*ours, *theirs), baseline=("b", "pretrained")).set_index("recipe").loc["a"]
    assert found["difference"] == pytest.approx(0.1)
    half = 4.302652729911275 * np.std([0.10, 0.09, 0.11], ddof=1) / math.sqrt(3)
    assert found["difference_low"] == pytest.approx(0.1 - half)
    assert found["difference_covers"] == "paired, pretraining seeds (n=3)"


def test_a_baseline_without_seeds_is_taken_from_every_seed():
    ours = [{"pretrain_seed": s, "value": v} for s, v in enumerate((0.8, 0.9, 0.85))]
    table = rows(*ours, {"model": "pixels_knn", "pretrain_seed": None, "value": 0.75})
    found = board(table, baseline=("", "pixels_knn")).set_index("model")
    assert found.loc["pretrained", "difference"] == pytest.approx(0.1)
    assert "baseline as it is" in found.loc["pretrained", "difference_covers"]
    assert found.loc["pixels_knn", "is_baseline"] and math.isnan(found.loc["pixels_knn", "difference"])


@pytest.mark.parametrize("base", [("", "pixels_knn"), ("b", "pretrained")])
def test_a_difference_over_seeds_is_no_surer_than_its_test_items(base):
    ours, theirs = ([{"recipe": r, "pretrain_seed": s, "value": v + s / 1000, "low": v - 0.03, "high": v + 0.03} for s in range(3)]
                    for r, v in (("a", 0.82), ("b", 0.80)))  # fmt: skip
    plain = {"model": "pixels_knn", "pretrain_seed": None, "value": 0.8, "low": 0.76, "high": 0.84}
    found = board(rows(*ours, *theirs, plain), baseline=base).set_index(["recipe", "model"]).loc[("a", "pretrained")]
    assert found["difference_low"] < 0 < found["difference_high"]
    assert found["difference_covers"] == "test items (unpaired)"


def test_a_gain_by_items_and_seeds_is_the_wider_of_both():
    gain = {"metric": f"accuracy{words.GAIN}pixels_knn"}
    ours = [{"pretrain_seed": s, "value": 0.82 + s / 1000, "low": 0.8, "high": 0.84} for s in range(3)]
    gains = [gain | {"pretrain_seed": s, "value": 0.02 + s / 1000, "low": -0.01, "high": 0.05} for s in range(3)]
    plain = {"model": "pixels_knn", "pretrain_seed": None, "value": 0.8, "low": 0.76, "high": 0.84}
    found = board(rows(*ours, *gains, plain), baseline=("", "pixels_knn")).set_index("model").loc["pretrained"]
    assert found["difference_low"] == pytest.approx(-0.01) and found["difference_covers"] == "paired, test items"


def test_models_that_share_no_seed_have_no_difference():
    table = rows({"recipe": "a", "pretrain_seed": 0, "value": 0.8}, {"recipe": "b", "pretrain_seed": 1, "value": 0.7})
    found = board(table, baseline=("b", "pretrained")).set_index("recipe").loc["a"]
    assert math.isnan(found["difference"]) and found["difference_covers"] == "–"


def test_one_seed_difference_comes_from_both_bootstraps():
    table = rows(
        {"recipe": "a", "value": 0.8, "low": 0.77, "high": 0.83},
        {"recipe": "b", "value": 0.7, "low": 0.66, "high": 0.74},
    )
    found = board(table, baseline=("b", "pretrained")).set_index("recipe").loc["a"]
    assert found["difference_high"] - found["difference_low"] == pytest.approx(2 * 0.05)
    assert found["difference_covers"] == "test items (unpaired)"


def test_labels_per_class_selects_exactly():
    table = rows({"value": 0.9}, {"value": 0.5, "labels_per_class": 10}, {"value": 0.4, "labels_per_class": 1})
    assert board(table)["value"].tolist() == [0.9]
    assert board(table, labels_per_class=10)["value"].tolist() == [0.5]
    assert board(table, labels_per_class=5).empty
