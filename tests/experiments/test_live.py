"""A search under way: what its folder says, whole lines alone, and nothing once it has delivered."""

import json
import time

import pytest
import yaml

from experiments.live import failures, live, under_way
from experiments.results import Store
from experiments.stages import heartbeats


def running(root, state: str = "running", age: float = 1.0, name: str = "search-digits-0a1b"):
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    beat = {"stage": "search", "recipe": "digits", "state": state, "step": 3, "steps": 12, "time": time.time() - age}
    (folder / "heartbeat.json").write_text(json.dumps(beat))
    return folder


def line(trial: int, score: float | None, **measures: float) -> str:
    job = {"trial": trial, "rung": 0, "origin": "sampled", "seed": 0, "share": 0.1, "chosen": {"masking.ratio": 0.5}}
    measures = measures or ({"knn": score} if score is not None else {})
    facts = {"loss": 0.2, "parameters": 9, "steps": 5, "flops": 1e9, "failure": "" if measures else "it diverged"}
    return json.dumps({"job": job, "measures": measures, **facts, "seconds": 1.0, "proxy_seconds": {}})


def test_ended_trials_are_told_and_torn_lines_passed_over(tmp_path):
    folder = running(tmp_path)
    lines = [line(0, 0.5), line(1, None), "[1, 2]", "null", line(2, 0.7)[:30]]
    (folder / "outcomes.jsonl").write_text("\n".join(lines))
    found = live(tmp_path, heartbeats(tmp_path / "runs"), "digits")
    assert found and found.beat.steps == 12
    assert list(found.trials["trial"]) == [0, 1] and list(found.trials["status"]) == ["complete", "failed"]
    assert found.trials["score"].iloc[0] == 0.5 and found.trials["score"].isna().iloc[1]
    assert "masking.ratio" in found.trials


def test_why_trials_failed_is_told_of_the_newest_search(tmp_path):
    (running(tmp_path, "finished", 900.0, "search-digits-0000") / "outcomes.jsonl").write_text(line(0, None))
    folder = running(tmp_path, "finished")
    (folder / "outcomes.jsonl").write_text("\n".join([line(0, 0.5), line(1, None), "[1]", line(2, None)[:30]]))
    assert failures(Store(tmp_path), "digits") == {(1, 0): "it diverged"}
    assert failures(Store(tmp_path), "other") == {}


def test_ranks_are_no_score_before_their_rung_is_whole(tmp_path):
    folder = running(tmp_path)
    (folder / "outcomes.jsonl").write_text(line(0, None, lidar=3.0, explained=0.2))
    found = live(tmp_path, heartbeats(tmp_path / "runs"), "digits")
    assert found and found.trials["score"].isna().all() and list(found.trials["status"]) == ["complete"]


def test_a_search_that_has_just_begun_has_no_trials(tmp_path):
    running(tmp_path)
    found = live(tmp_path, heartbeats(tmp_path / "runs"), "digits")
    assert found and found.trials.empty
    assert live(tmp_path, heartbeats(tmp_path / "runs"), "other") is None


def test_what_was_delivered_is_not_under_way_whatever_crashed_before(tmp_path):
    running(tmp_path, "failed", 900.0, "search-digits-0000")
    beats = heartbeats(tmp_path / "runs")
    assert live(tmp_path, beats, "digits").beat.state == "failed"
    running(tmp_path, "finished", 1.0)
    assert live(tmp_path, heartbeats(tmp_path / "runs"), "digits") is None


def searched(root, rate: float = 0.1):
    """A project whose search of ``digits`` ran at a rate of 0.1 by dvc.lock, and is at ``rate`` now."""
    files = {
        "params.yaml": {"recipes": {"digits": {}}, "rate": rate},
        "dvc.yaml": {"stages": {"search": {"foreach": "${recipes}", "do": {"cmd": "true", "params": ["rate"]}}}},
        "dvc.lock": {
            "stages": {
                "search@digits": {
                    "cmd": "true",
                    "params": {"params.yaml": {"rate": 0.1}},
                    "outs": [{"path": "best.yaml", "md5": "b"}],
                }
            }
        },
        "best.yaml": {},
    }
    for name, content in files.items():
        (root / name).write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(("state", "age"), [("failed", 1.0), ("running", 900.0)])
def test_a_search_that_died_counts_only_where_no_results_are_up_to_date(tmp_path, state, age):
    running(tmp_path, "finished", 2000.0, "search-digits-0000")
    running(tmp_path, state, age)
    searched(tmp_path, rate=0.2)
    assert under_way(Store(tmp_path))["digits"].beat.state in ("failed", "crashed")
    searched(tmp_path)
    assert under_way(Store(tmp_path)) == {}, "the edit was taken back, and DVC has the results of before"
    (tmp_path / "best.yaml").unlink()
    assert list(under_way(Store(tmp_path))) == ["digits"], "DVC removes what a stage makes before it runs it"


def test_a_search_that_runs_counts_whatever_is_there(tmp_path):
    running(tmp_path)
    searched(tmp_path)
    assert under_way(Store(tmp_path))["digits"].beat.state == "running"
