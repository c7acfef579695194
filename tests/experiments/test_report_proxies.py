"""The report's part of a search that knows proxies, fronts and schedules, as people read it."""

import re

import pandas as pd

from experiments.columns import PROXY_COLUMNS
from experiments.report_proxies import front, schedule, trusted


def text(markup) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", str(markup)).split())


def row(proxy: str, rung: int, target: int, value: float = 0.5) -> dict:
    numbers = {"n": 20, "spearman": value, "low": 0.1, "high": 0.8, "top_n": 10, "top_spearman": 0.2}
    return {
        "proxy": proxy,
        "rung": rung,
        "target_rung": target,
        **numbers,
        "top_low": float("nan"),
        "top_high": float("nan"),
    }


def test_correlations_are_shown_with_intervals_and_the_rest_is_folded_away():
    table = pd.DataFrame([row("ridge", 0, 0), row("ridge", 0, 1), row("loss", 0, 1, -0.3), row("lidar", 1, 1)])
    drawn = trusted(table, {})
    said = text(drawn)
    assert "training loss 0 1 -0.30 [+0.10, +0.80] 20 +0.20 10" in said and "ridge probe accuracy 0 1 +0.50" in said
    folded = str(drawn).split("<details>")[1]
    assert "LiDAR" in folded and "training loss" not in folded
    assert "chosen by the score" in said and "population" not in said
    assert trusted(pd.DataFrame(columns=PROXY_COLUMNS), {}) is None
    unknown = trusted(pd.DataFrame([row("ridge", 0, 0, float("nan"))]), {})
    assert "ridge probe accuracy 0 0 – 20" in text(unknown)


def test_of_a_population_the_first_round_is_shown_and_the_others_are_folded_away():
    table = pd.DataFrame([row("ridge", 0, 0), row("loss", 0, 0), row("ridge", 1, 1, 0.7), row("ridge", 2, 2, 0.9)])
    shown, folded = str(trusted(table, {"schedule": {"steps": 30}})).split("<details>")
    assert "+0.50" in shown and "training loss" in shown and "+0.70" not in shown
    assert "+0.70" in folded and "+0.90" in folded
    assert "A round of a population stands by itself" in shown and "chosen by the score" not in shown


TRIALS = pd.DataFrame(
    {
        "trial": [0, 3, 5, 3], "rung": [1, 1, 1, 1], "origin": ["default", "sampled", "sampled", "confirm"],
        "score": [0.7, 0.8, 0.6, 0.9], "encode_flops": [2e6, 3e6, 1e6, 3e6], "parameters": [9, 9, 9, 9],
    }
)  # fmt: skip


def test_the_front_names_its_pick_and_what_each_costs():
    said = text(front({"front": [3, 5], "picked": 3, "objectives": ["metric", "flops"]}, TRIALS))
    assert "3 (picked) 0.8000 3 MFLOP" in said and "5 0.6000 1 MFLOP" in said and "0.9000" not in said
    assert front({"front": [], "objectives": ["metric", "flops"]}, TRIALS) is None
    assert front({"objectives": ["metric"], "front": [3]}, TRIALS) is None and front({}, TRIALS.iloc[:0]) is None


def test_a_schedule_is_a_line_for_each_change():
    changes = [{"step": 0, "ratio": 0.75, "lr": 0.002}, {"step": 1500, "ratio": 0.6, "lr": 0.0025}]
    assert "1,500 0.6 0.0025" in text(schedule({"schedule": {"steps": 3000, "changes": changes}}))
    assert schedule({}) is None and schedule({"schedule": None}) is None
