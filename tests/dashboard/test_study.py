"""The study page in every state of a search, and what its figures draw."""

import importlib.util
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from opening import opened
from streamlit.testing.v1 import AppTest

from dashboard import figures
from dashboard.views.search import MASKED, validation_samples
from experiments.goals import METRICS, needs_labels
from experiments.proxies import MEASURES
from experiments.results import Store


def _module(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


studies = _module("make_studies")
SUBHEADERS = {"Why the winner won", "Importance", "Mask ratio", "Cost and score", "Loss and score", "Trials"}


@pytest.fixture
def tree(trees, tmp_path) -> Path:
    return shutil.copytree(trees["one"], tmp_path / "tree")


def said(app: AppTest) -> str:
    assert not app.exception
    kinds = ("subheader", "markdown", "caption", "info", "warning", "error", "success", "code", "metric")
    text = "\n".join(f"{getattr(e, 'label', '')} {e.value}" for kind in kinds for e in getattr(app, kind))
    assert "could not be drawn" not in text, text
    return text


def heads(app: AppTest) -> set[str]:
    return {e.value for e in app.subheader}


def star_names(app: AppTest) -> list[str]:
    """What the stars of the charts are called."""
    drawn = [trace for chart in app.get("plotly_chart") for trace in json.loads(chart.proto.spec)["data"]]
    return [trace["name"] for trace in drawn if (trace.get("marker") or {}).get("symbol") == "star-open"]


def test_no_study_says_what_to_run(tree, monkeypatch):
    for name in ("trials.parquet", "search.json"):
        (tree / "results" / "digits" / name).unlink()
    text = said(opened("search", tree, monkeypatch))
    assert "This recipe was not searched" in text and "dvc repro search@digits" in text


def test_many_trials_show_everything(tree, monkeypatch):
    studies.many(tree)
    (tree / "runs" / "search-digits-0a1b2c").mkdir()
    (tree / "runs" / "search-digits-0a1b2c" / "timing.json").write_text('{"proxy_seconds": {"ridge": 0.25}}')
    app = opened("search", tree, monkeypatch)
    text = said(app)
    assert heads(app) == SUBHEADERS | {"Slice", "Parallel coordinates", "Which proxies could have been trusted"}
    assert "30 trials at equal cost" in text and "Best k\\-NN accuracy" in text
    assert "The longest schedule: all cost the same to train" in text
    app.selectbox("slice").set_value("masking.strategy").run()
    app.selectbox("cost").set_value("parameters").run()
    app.selectbox("proxy_rung").set_value("rung 0 with the score at rung 0").run()
    said(app)
    shown = next(frame.value for frame in app.dataframe if "spearman" in frame.value)
    assert "knn" not in set(shown["proxy"]) and shown["n"].eq(30).all()
    assert shown.set_index("proxy")["seconds"]["ridge"] == 0.25


def test_one_trial_draws_no_more_than_it_knows(tree, monkeypatch):
    studies.one(tree)
    app = opened("search", tree, monkeypatch)
    text = said(app)
    assert "Too few finished trials" in text and "Slice" not in heads(app)
    assert heads(app) >= SUBHEADERS


def test_several_objectives_show_the_front_and_the_pick(tree, monkeypatch):
    studies.several(tree)
    app = opened("search", tree, monkeypatch)
    text = said(app)
    assert "none dominates in metric, flops, parameters" in text and "nearest to the best of every objective" in text
    others = next(frame.value for frame in app.dataframe if "objective" in frame.value)
    assert list(others["objective"]) == ["FLOPs of encoding one sample"]
    chosen = next(frame.value for frame in app.dataframe if "searched key" in frame.value)
    assert list(chosen) == ["searched key", "defaults", "picked trial"], "the best score is another's"
    assert sorted(star_names(app)) == ["best", "picked"], "the best score beside the loss, the pick beside its cost"


def test_the_pick_of_several_objectives_is_the_first_to_become_a_recipe(tree, monkeypatch):
    studies.several(tree, pick=-1)
    summary = Store(tree).search_summary("digits")
    menu = opened("search", tree, monkeypatch).selectbox("trial_digits")
    assert menu.value == summary["picked"] != summary["front"][0] and menu.help == "Any trial, the picked one first."
    assert sorted(map(int, menu.options)) == list(range(30))


def test_without_labels_it_says_what_ranked(tree, monkeypatch):
    studies.unlabelled(tree)
    text = said(opened("search", tree, monkeypatch))
    assert "Too few labels for a probe" in text and "mean rank of the label\\-free measures" in text
    assert "k\\-NN accuracy" not in text and "k-NN accuracy" not in text


def test_a_population_shows_its_schedule(tree, monkeypatch):
    studies.population(tree)
    app = opened("search", tree, monkeypatch)
    text = said(app)
    assert "Schedule" in heads(app)
    assert "4 trials of equal steps" in text and "The last round: all made equal steps" in text
    assert "equal cost" not in text and "cost the same" not in text, "hiding less costs more a step"
    assert "No member can be made a recipe" in text and "maestro pin" not in text
    assert "trial_digits" not in {box.key for box in app.selectbox}
    assert "Mask ratio" not in heads(app), "the ratio of the last round had not made the score"
    assert any("best member, last round" in frame.value for frame in app.dataframe)
    assert app.selectbox("proxy_rung").options == [f"rung {n} with the score at rung {n}" for n in range(3)]
    assert "A round of a population stands by itself" in text and "chosen by the score" not in text
    changes = next(frame.value for frame in app.dataframe if list(frame.value) == ["step", "ratio", "lr"])
    assert list(changes["ratio"]) == [0.8, 0.6]


def test_a_first_search_under_way_is_shown_before_there_are_results(make, tmp_path, monkeypatch):
    make.dataset(tmp_path, "digits5k")
    make.pipeline(tmp_path, {"digits": "digits5k"})
    studies.under_way(tmp_path)
    app = opened("search", tmp_path, monkeypatch)
    text = said(app)
    assert "was not searched" not in text and "dvc repro" not in text, "it is being searched"
    frames = [frame.value for frame in app.dataframe]
    assert any("masking.ratio" in frame and len(frame) == 3 for frame in frames)


@pytest.mark.parametrize("ended", [0, 1, 5])
def test_a_search_under_way_stands_above_the_last_results(tree, monkeypatch, ended):
    studies.many(tree)
    studies.under_way(tree, ended=ended)
    app = opened("search", tree, monkeypatch)
    said(app)
    assert heads(app) >= SUBHEADERS


def outcome(trial: int, rung: int, failure: str = "") -> str:
    """A line of outcomes.jsonl."""
    job = {"trial": trial, "rung": rung, "origin": "sampled", "seed": 0, "chosen": {"masking.ratio": 0.5}}
    facts = {"loss": 0.2, "parameters": 9, "steps": 5, "flops": 1e9, "failure": failure}
    return json.dumps({"job": job, "measures": {} if failure else {"knn": 0.5}, **facts})


def test_a_search_under_way_counts_trials_apart_from_their_runs_and_says_why_some_failed(tree, monkeypatch):
    studies.under_way(tree, ended=0)
    lines = [outcome(0, 0), outcome(1, 0), outcome(0, 1), outcome(2, 0, "loss is not finite at step 7")]
    (tree / "runs" / "search-digits-0a1b2c" / "outcomes.jsonl").write_text("\n".join(lines))
    app = opened("search", tree, monkeypatch)
    assert "4 runs of 3 trials ended, at most 20 runs in all, 1 failed" in app.get("progress")[0].proto.text
    assert any(box.label == "3 runs of 2 trials so far" for box in app.expander)
    why = next(frame.value for frame in app.dataframe if list(frame.value) == ["trial", "rung", "why it failed"])
    assert why.values.tolist() == [[2, 0, "loss is not finite at step 7"]]


def test_trials_that_failed_say_why(tree, monkeypatch):
    """The trees hold a search of 12 trials, the last of which failed; nothing of a later search is told of it."""
    trials = pd.read_parquet(tree / "results" / "digits" / "trials.parquet")
    assert trials["status"].eq("failed").sum() == 1

    def why() -> list[str]:
        app = opened("search", tree, monkeypatch)
        table = next(
            frame.value for frame in app.dataframe if "why it failed" in frame.value and "score" in frame.value
        )
        return sorted(table["why it failed"])[-2:]

    assert why() == ["", "no file on this machine tells"]
    studies.under_way(tree, ended=0, state="finished", age=60)
    told = tree / "runs" / "search-digits-0a1b2c" / "outcomes.jsonl"
    told.write_text("\n".join([outcome(3, 0), outcome(11, 0, "loss is not finite at step 7")]))
    assert why() == ["", "loss is not finite at step 7"]
    later = shutil.copytree(told.parent, told.parent.with_name("search-digits-ffffff"))
    beat = json.loads((later / "heartbeat.json").read_text())
    (later / "heartbeat.json").write_text(json.dumps(beat | {"state": "running", "time": time.time()}))
    (later / "outcomes.jsonl").write_text(outcome(11, 0, "another trial of that number"))
    assert why() == ["", "loss is not finite at step 7"]


def test_a_search_that_died_says_how_it_goes_on(tree, monkeypatch):
    studies.many(tree)
    for name in ("best.yaml", "trials.parquet", "search.json", "proxies.csv"):
        (tree / "results" / "digits" / name).unlink()  # as DVC does before it runs the stage
    studies.under_way(tree, age=1200)
    text = said(opened("search", tree, monkeypatch))
    assert "crashed after 3 trials" in text and "dvc repro search@digits" in text
    assert "Where recipe, data and code are as they were it goes on from there, else it begins anew" in text
    assert "was not searched" not in text


def test_a_search_that_died_is_not_told_where_the_results_are_up_to_date(tree, monkeypatch):
    studies.many(tree)
    studies.under_way(tree, state="failed", age=60)
    app = opened("search", tree, monkeypatch)
    assert "failed after" not in said(app) and heads(app) >= SUBHEADERS


def test_a_trial_can_be_taken_as_a_recipe(tree, monkeypatch):
    studies.many(tree)
    app = opened("search", tree, monkeypatch)
    assert "Steps of equal cost are not known here" in said(app), "the tree holds no recipe file"
    (tree / "experiments" / "recipes").mkdir(parents=True)
    recipe = {"masking": {"ratio": "auto", "strategy": "auto"}, "model": {"encoder": {"width": "auto"}}}
    (tree / "experiments" / "recipes" / "digits.yaml").write_text(yaml.safe_dump(recipe))
    app = opened("search", tree, monkeypatch, trial_digits="3")
    text = said(app)
    assert "maestro pin digits 3 --name digits_trial_3" in text and "pretrain.steps=" in text
    assert "Steps of equal cost are not known here" not in text


def test_an_old_search_still_draws(tree, monkeypatch):
    app = opened("search", tree, monkeypatch)
    assert "Trials of one rung get equal FLOPs" in said(app)


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("knn", "9,000 labelled validation samples"),
        ("rankme", "10,000 validation samples"),
        ("lidar", "1,000 validation samples"),
        ("label_free", "1,000 validation samples"),
        ("unheard of", "validation samples"),
    ],
)
def test_a_score_names_the_samples_that_it_rests_on(tree, metric, told):
    path = tree / "data" / "digits5k" / "dataset.json"
    info = json.loads(path.read_text())
    assert validation_samples(Store(tree), "digits", "ridge") == "40 labelled validation samples"
    info["splits"]["validation"] = {"samples": 60_000, "labelled": 9_000}
    path.write_text(json.dumps(info))
    assert validation_samples(Store(tree), "digits", metric) == told
    assert validation_samples(Store(tree), "of no dataset", "ridge") == "at most 10,000 labelled validation samples"


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_reads_the_samples_that_are_told(name):
    class Asked(Exception):
        """Which samples were."""

    class Subject:
        model = None

        def __getattr__(self, what):
            raise Asked(what)

    with pytest.raises(Asked) as asked:
        MEASURES[name](Subject())
    assert str(asked.value) == ("some" if name in MASKED else "labelled" if needs_labels(name) else "features")
    assert name in METRICS


def test_a_front_is_a_stair_and_crosses_at_the_defaults():
    trials = studies.table(20).query("rung == 1")
    ahead = list(trials["trial"][:2])
    drawn = figures.front(trials, "encode_flops", "score", "cost", "score", ahead, trials.iloc[0], trials.iloc[1])
    stair = next(trace for trace in drawn.data if trace.name == "dominated by none")
    assert stair.line.shape == "hv" and len(stair.x) == 2 and list(stair.x) == sorted(stair.x)
    lines = [(shape.x0, shape.y0) for shape in drawn.layout.shapes]
    assert len(lines) == 2 and drawn.layout.xaxis.type == "log"


def test_a_curve_per_strategy_follows_its_dots():
    trials = studies.table(30).query("rung == 0")
    drawn = figures.by_group(trials, "masking.ratio", "score", "masking.strategy", "ratio", "score", 0.1)
    curves = [trace for trace in drawn.data if trace.mode == "lines"]
    assert len(curves) == 2
    for name, curve in zip(("block", "random"), curves):
        of = trials[trials["masking.strategy"] == name]["score"]
        assert of.min() <= np.min(curve.y) and np.max(curve.y) <= of.max()
    few = figures.by_group(trials.head(2), "masking.ratio", "score", "masking.strategy", "ratio", "score", 0.1)
    assert all(trace.mode == "markers" for trace in few.data), "two dots make no curve"


def test_parallel_coordinates_name_words_and_escape_them():
    trials = studies.table(5).query("rung == 0").assign(**{"masking.strategy": ["<b>x", "a", "a", "b", "b"]})
    drawn = figures.parallel(trials, ["masking.ratio", "masking.strategy"], "score", "k-NN")
    (lines,) = drawn.data
    assert [axis.label for axis in lines.dimensions] == ["masking.ratio", "masking.strategy", "k-NN"]
    assert list(lines.dimensions[1].ticktext) == ["&lt;b&gt;x", "a", "b"]
    assert list(lines.dimensions[1].values) == [0, 1, 1, 2, 2]


def test_the_way_to_the_best_member_is_drawn_over_the_others(tree):
    studies.population(tree)
    trials = pd.read_parquet(tree / "results" / "digits" / "trials.parquet")
    way = figures.schedules(trials, "masking.ratio", [1, 3, 3], "ratio").data[-1]
    assert list(way.x) == [1, 2, 3] and list(way.y) == pytest.approx([0.6, 0.8, 0.8])
