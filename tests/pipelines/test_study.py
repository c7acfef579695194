"""What ``maestro study`` says of searches of every kind, and what it and ``maestro plan`` say of damaged files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from project import make_project

from experiments.recipe import RecipeError
from pipelines.show import plan_text
from pipelines.study import study_text

PROXIES = "proxy,rung,target_rung,n,spearman,low,high,top_n,top_spearman,top_low,top_high\n"
SCHEDULE = {
    "member": 2,
    "line": [1, 2],
    "pieces": [],
    "steps": 60,
    "changes": [{"step": 0, "ratio": 0.8, "lr": 0.002}, {"step": 30, "ratio": 0.6, "lr": 0.002}],
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """``results/tiny`` of a project with the recipe ``tiny`` and a search of three trials, of which number 2 scores best."""
    recipe = tmp_path / "experiments" / "recipes" / "tiny.yaml"
    folder = tmp_path / "results" / "tiny"
    for place in (recipe.parent, folder):
        place.mkdir(parents=True)
    recipe.write_text("masking: {ratio: auto}\n")
    facts = {"rung": 0, "status": "complete", "seed": 0, "steps": 9, "flops": 1e9, "parameters": 9, "loss": 0.1}
    rows = [
        {**facts, "trial": trial, "origin": "sampled" if trial else "default", "score": score, "masking.ratio": 0.5}
        for trial, score in enumerate([0.5, 0.6, 0.7])
    ]
    pd.DataFrame(rows).to_parquet(folder / "trials.parquet")
    (folder / "proxies.csv").write_text(PROXIES)
    write_summary(folder)
    return folder


def write_summary(folder: Path, **changes: Any) -> None:
    """search.json of that search."""
    found = {"schema": 2, "metric": "knn", "trials": 3, "verdict": "found", "importance": {}, "importance_n": 3}
    (folder / "search.json").write_text(json.dumps({**found, **changes}))


def study(folder: Path) -> list[str]:
    """The lines of ``maestro study``."""
    return study_text("tiny", folder.parents[1]).splitlines()


def test_the_best_trial_is_proposed(results: Path) -> None:
    assert study(results)[-1] == "make a trial a recipe: maestro pin tiny 2 --name tiny_mine"


def test_trials_are_listed_the_longest_and_best_first(results: Path) -> None:
    trials = pd.read_parquet(results / "trials.parquet")
    longer = trials[trials["trial"] == 1].assign(rung=1, score=0.65)
    again = longer.assign(origin="confirm", score=0.9)
    lost = trials[trials["trial"] == 1].assign(trial=3, status="failed", score=float("nan"))
    pd.concat([trials, longer, lost, again]).to_parquet(results / "trials.parquet")
    run = results.parents[1] / "runs" / "search-tiny-0a1b"
    run.mkdir(parents=True)
    (run / "heartbeat.json").write_text('{"stage": "search", "recipe": "tiny", "state": "finished"}')
    job = {"trial": 3, "rung": 0, "origin": "sampled", "seed": 0, "chosen": {"masking.ratio": 0.5}}
    facts = {
        "measures": {},
        "loss": None,
        "parameters": 9,
        "steps": 9,
        "flops": 1e9,
        "failure": "the loss is not finite",
    }
    (run / "outcomes.jsonl").write_text(json.dumps({"job": job, **facts}))
    said = study(results)
    first = said.index("  trial  rung  score   masking.ratio")
    assert said[first + 1 : -1] == [
        "  1      1     0.6500  0.5",
        "  2      0     0.7000  0.5",
        "  0      0     0.5000  0.5            the defaults",
        "  3      0     failed  0.5            the loss is not finite",
    ]


@pytest.mark.parametrize("picked", [0, 1])
def test_of_several_objectives_the_picked_trial_is_proposed(results: Path, picked: int) -> None:
    write_summary(results, objectives=["metric", "flops"], front=[2, 1, 0], picked=picked)
    assert study(results)[-1] == f"make a trial a recipe: maestro pin tiny {picked} --name tiny_mine"


def test_no_member_of_a_population_is_proposed(results: Path) -> None:
    write_summary(results, schedule=SCHEDULE, picked=2)
    said = study(results)
    assert "ratio 0.6 and rate 0.002 from step 30" in "\n".join(said) and "maestro pin" not in "\n".join(said)
    assert (
        said[-1].startswith("no member can be pinned") and "`dvc repro pretrain@tiny` trains the defaults" in said[-1]
    )


def test_correlations_that_are_not_known_are_counted_and_not_listed(results: Path) -> None:
    unknown = "".join(f"{name},1,1,2,,,,2,,,\n" for name in ("ridge", "loss", "lidar"))
    (results / "proxies.csv").write_text(PROXIES + "ridge,0,0,8,0.5,-0.1,0.9,4,,,\n" + unknown)
    said = "\n".join(study(results))
    assert "with the score at rung 0: +0.50" in said and "of the better half unknown (n = 4)" in said
    assert "3 more rank correlations are unknown" in said and "rung 1" not in said


def test_of_a_population_it_is_said_why_rounds_stand_by_themselves(results: Path) -> None:
    (results / "proxies.csv").write_text(PROXIES + "ridge,0,0,8,0.5,-0.1,0.9,4,0.2,,\n")
    assert "of a population" not in "\n".join(study(results))
    write_summary(results, schedule=SCHEDULE)
    said = "\n".join(study(results))
    assert "with the score at rung 0: +0.50" in said and "A round of a population stands by itself" in said


def test_a_damaged_summary_is_not_an_absent_one(results: Path) -> None:
    (results / "search.json").write_text('{"schema": 2, "met')
    with pytest.raises(ValueError, match=r"^not read: results/tiny/search.json: .*run `dvc repro search@tiny`$"):
        study(results)
    (results / "search.json").unlink()
    with pytest.raises(ValueError, match=r"^no search of tiny is here"):
        study(results)


@pytest.mark.parametrize("name", ["proxies.csv", "trials.parquet"])
def test_what_cannot_be_read_is_named_below_what_can(results: Path, name: str) -> None:
    (results / name).write_bytes(b"rung\nx")
    said = study(results)
    assert said[0] == "tiny: 3 trials, ranked by knn"
    assert said[-1].startswith(f"not read: results/tiny/{name}: ") and said[-1].endswith("run `dvc repro search@tiny`")
    (results / name).unlink()
    assert "not read" not in "\n".join(study(results)), "what is absent is not damaged"


def test_a_plan_names_a_damaged_best_yaml(tmp_path: Path) -> None:
    root = make_project(tmp_path)
    path = root / "results" / "tiny" / "best.yaml"
    path.write_text("<<<<<<< HEAD\nmasking.ratio: 0.5\n=======\nmasking.ratio: 0.6\n>>>>>>> theirs\n")
    with pytest.raises(RecipeError, match=r"(?s)results/tiny/best.yaml .*dvc repro search@tiny"):
        plan_text("tiny", root)
