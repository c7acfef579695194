"""SYNTHETIC searches in the documented formats, for a tree that make_results.py made: every number below is drawn, none was measured."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.correlations import correlations

PROXIES = ("knn", "ridge", "explained", "lidar", "rankme", "alpha_req")


def table(n: int, longest: int = 6, seed: int = 0) -> pd.DataFrame:
    """``n`` trials, the best ``longest`` of them on a second rung, with proxies and three searched keys."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for trial in range(n):
        ratio = 0.75 if trial == 0 else round(float(rng.choice(np.arange(0.4, 0.91, 0.05))), 2)
        width = 128 if trial == 0 else int(rng.choice([64, 128, 192]))
        chosen = {
            "masking.ratio": ratio,
            "masking.strategy": "random" if trial == 0 else str(rng.choice(["random", "block"])),
            "model.encoder.width": width,
        }
        rows.append(_row(trial, 0, 0.8 - (ratio - 0.6) ** 2 + width / 4000 + rng.normal(0, 0.01), chosen, rng))
    first = sorted(rows, key=lambda row: -row["score"])[:longest]
    keys = ("masking.ratio", "masking.strategy", "model.encoder.width")
    going = {row["trial"]: row for row in [*first, rows[0]]}
    for row in going.values():
        rows.append(_row(row["trial"], 1, row["score"] + 0.05, {k: row[k] for k in keys}, rng))
    for row in rows[:n]:
        row["status"] = "complete" if row["trial"] in going else "stopped"
    return pd.DataFrame(rows)


def _row(trial: int, rung: int, score: float, chosen: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    width = chosen["model.encoder.width"]
    proxies = {f"proxy.{name}": score + rng.normal(0, 0.02 * (i + 1)) for i, name in enumerate(PROXIES)}
    return {
        "trial": trial, "rung": rung, "origin": "sampled" if trial else "default", "status": "complete", "seed": 0,
        "steps": 100 * 3**rung, "flops": 1e12 * 3**rung, "parameters": 6 * width**2, "score": score, "loss": rng.random(),
        "encode_flops": 100.0 * width**2, "parent": None, **proxies, **chosen,
    }  # fmt: skip


def summary(trials: pd.DataFrame, **changes: Any) -> dict[str, Any]:
    """search.json of a table."""
    keys = [name for name in trials if "." in name and not name.startswith("proxy.")]
    default, best = ({k: trials.iloc[i][k] for k in keys} for i in (0, int(trials["score"].argmax())))
    plain = json.loads(json.dumps([default, best], default=lambda value: value.item()))
    n = int((trials["rung"] == 0).sum())
    return {
        "schema": 2, "metric": "knn", "objectives": ["metric"], "split": "validation", "trials": n, "keys": keys,
        "default": plain[0], "winner": plain[1], "chosen": "default", "verdict": "the defaults stay: synthetic",
        "confirm": {"seeds": [], "default": [], "winner": [], "gain": None, "standard_error": None},
        "importance": {key: 1 / len(keys) for key in keys} if n > 2 else {}, "importance_n": n,
        "rank_correlation": {"loss_with_score": -0.2 if n > 2 else None, "n": n}, "picked": None, "front": [], "others": {},
        "schedule": None, "flops": float(trials["flops"].sum()), **changes,
    }  # fmt: skip


def write(root: Path, trials: pd.DataFrame, found: dict[str, Any], recipe: str = "digits") -> None:
    """The files of a search."""
    folder = root / "results" / recipe
    trials.to_parquet(folder / "trials.parquet")
    (folder / "search.json").write_text(json.dumps(found))
    correlations(trials, found["metric"]).to_csv(folder / "proxies.csv", index=False)


def many(root: Path) -> None:
    """Thirty trials."""
    trials = table(30)
    write(root, trials, summary(trials))


def one(root: Path) -> None:
    """The defaults alone."""
    trials = table(1)
    write(root, trials, summary(trials))


def several(root: Path, pick: int = 0) -> None:
    """Thirty trials judged by score, FLOPs and parameters; ``pick`` counts along the front."""
    from experiments.pareto import front_of

    trials = table(30)
    last = trials[trials["rung"] == 1].reset_index(drop=True)
    rows = front_of(np.stack([last["score"], -last["encode_flops"], -last["parameters"]], 1))
    front = [int(last["trial"][row]) for row in rows]
    confirm = {"seeds": [1, 2], "default": [0.8, 0.81], "winner": [0.82, 0.84], "gain": 0.025, "standard_error": 0.005}
    others = {"flops": {**confirm, "gain": 1e5, "standard_error": 0.0}}
    changes = {
        "objectives": ["metric", "flops", "parameters"],
        "front": front,
        "picked": front[pick],
        "confirm": confirm,
    }
    write(root, trials, summary(trials, **changes, others=others))


def unlabelled(root: Path) -> None:
    """Ranked without labels: no k-NN, no ridge."""
    trials = table(12).assign(**{"proxy.knn": np.nan, "proxy.ridge": np.nan})
    write(root, trials, summary(trials, metric="label_free"))


def population(root: Path) -> None:
    """Four members in three rounds."""
    rng = np.random.default_rng(0)
    rows = []
    for rung in range(3):
        for member in range(4):
            chosen = {"masking.ratio": 0.5 + 0.1 * member, "model.encoder.width": 128}
            row = _row(member, rung, 0.5 + 0.1 * rung + 0.01 * member, chosen, rng)
            rows.append({**row, "parent": None if rung == 0 else member})
    trials = pd.DataFrame(rows).drop(columns="model.encoder.width")
    changes = [{"step": 0, "ratio": 0.8, "lr": 0.002}, {"step": 500, "ratio": 0.6, "lr": 0.001}]
    schedule = {"member": 3, "line": [1, 3, 3], "pieces": [], "steps": 1500, "changes": changes}
    write(root, trials, summary(trials, schedule=schedule))


def under_way(root: Path, recipe: str = "digits", ended: int = 3, state: str = "running", age: float = 1.0) -> None:
    """A run folder of a search that has not delivered."""
    folder = root / "runs" / f"search-{recipe}-0a1b2c"
    folder.mkdir(parents=True)
    beat = {"stage": "search", "recipe": recipe, "state": state, "step": ended, "steps": 20, "time": time.time() - age}
    (folder / "heartbeat.json").write_text(json.dumps(beat))
    lines = []
    for trial in range(ended):
        job = {
            "trial": trial,
            "rung": 0,
            "origin": "sampled",
            "seed": 0,
            "chosen": {"masking.ratio": 0.4 + 0.1 * trial},
        }
        facts = {"loss": 0.2, "parameters": 9, "steps": 5, "flops": 1e9, "failure": ""}
        lines.append(json.dumps({"job": job, "measures": {"knn": 0.5 + 0.01 * trial}, **facts}))
    (folder / "outcomes.jsonl").write_text("\n".join(lines) + "\n")
