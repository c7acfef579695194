"""Which proxies rank trials as the score does: directions, rungs, what is left out, and what is unknown."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments.columns import PROXY_COLUMNS
from experiments.correlations import correlations


def trials(n: int = 30, second: int = 10) -> pd.DataFrame:
    """Of ``n`` trials the best ``second`` reach a second rung; the slope of the spectrum nears 1 as the score rises."""
    rng = np.random.default_rng(0)
    score = rng.random(n)
    first = pd.DataFrame({"trial": range(n), "rung": 0, "origin": "sampled", "score": score})
    top = first[first["score"].rank(ascending=False) <= second].assign(rung=1)
    top["score"] = top["score"] + 0.1 * rng.random(len(top))
    table = pd.concat([first, top], ignore_index=True)
    quality = table["score"]
    return table.assign(
        **{
            "proxy.knn": quality,
            "proxy.ridge": quality**3,
            "proxy.alpha_req": 1 + (2 - quality) * rng.choice([-1, 1], len(table)),
            "proxy.lidar": rng.random(len(table)),
            "loss": quality + 1,
        }
    )


def row(table: pd.DataFrame, proxy: str, rung: int, target: int) -> pd.Series:
    found = table[(table["proxy"] == proxy) & (table["rung"] == rung) & (table["target_rung"] == target)]
    return found.iloc[0]


def test_more_is_better_whatever_the_direction_of_a_proxy():
    table = correlations(trials(), "knn")
    assert list(table) == PROXY_COLUMNS
    assert row(table, "ridge", 0, 0)["spearman"] == pytest.approx(1)
    assert row(table, "alpha_req", 0, 0)["spearman"] == pytest.approx(1), "nearer to 1 is better"
    assert row(table, "loss", 0, 0)["spearman"] == pytest.approx(-1), "a loss that rises with the score misleads"
    noise = row(table, "lidar", 0, 0)
    assert noise["low"] < 0 < noise["high"] and noise["n"] == 30 and noise["top_n"] == 15


def test_a_rung_stands_beside_the_longest_one_over_the_trials_that_reached_it():
    table = correlations(trials(), "knn")
    ahead = row(table, "knn", 0, 1)
    assert ahead["n"] == 10 and 0.3 < ahead["spearman"] < 1 and ahead["top_n"] == 5
    assert set(zip(table["rung"], table["target_rung"])) == {(0, 0), (0, 1), (1, 1)}


def test_what_the_score_is_made_of_is_left_out_at_its_own_rung():
    own = correlations(trials(), "knn").query("rung == target_rung")
    assert "knn" not in set(own["proxy"])
    free = correlations(trials(), "label_free").query("rung == target_rung")
    assert "knn" in set(free["proxy"]) and "lidar" not in set(free["proxy"])


def test_another_target_may_be_named():
    table = correlations(trials(), "knn", "proxy.ridge").query("rung == target_rung")
    assert "ridge" not in set(table["proxy"]) and (table.loc[table["proxy"] == "knn", "spearman"] == 1).all()


def test_a_member_that_took_over_other_weights_is_never_joined_with_its_own_past():
    """Round by round a proxy ranks as the score does; by number the first round would foretell the reverse of the last."""
    rounds = [
        pd.DataFrame({"trial": range(8), "rung": rung, "origin": "sampled", "score": order, "parent": parents})
        for rung, order, parents in ((0, range(8), None), (1, range(7, -1, -1), [7, 6, 5, 4, 3, 2, 1, 0]))
    ]
    members = pd.concat(rounds, ignore_index=True).astype({"parent": "Int64"})
    members["proxy.ridge"] = members["score"].astype(float)
    table = correlations(members, "knn")
    assert set(zip(table["rung"], table["target_rung"])) == {(0, 0), (1, 1)} and table["spearman"].eq(1).all()
    by_number = correlations(members.assign(parent=pd.NA), "knn")
    assert row(by_number, "ridge", 0, 1)["spearman"] == pytest.approx(-1), "trials of one training each are joined"


def test_failed_and_confirming_trials_do_not_count():
    table = trials(20, 6)
    extra = table.iloc[:5].assign(origin="confirm", score=[9, 8, 7, 6, 5])
    failed = table.iloc[5:8].assign(trial=[90, 91, 92], score=math.nan)
    both = pd.concat([table, extra, failed], ignore_index=True)
    pd.testing.assert_frame_equal(correlations(both, "knn"), correlations(table, "knn"))


def test_of_nothing_nothing_is_said():
    assert correlations(trials().iloc[:0], "knn").empty
    few = correlations(trials(3, 2), "knn")
    assert few["low"].isna().all() and row(few, "ridge", 0, 1).isna()["spearman"], "two pairs rank nothing"
    plain = trials(8, 3).drop(columns=[c for c in trials() if c.startswith("proxy.")])
    assert set(correlations(plain, "knn")["proxy"]) == {"loss"}, "a table of before has no proxies"
