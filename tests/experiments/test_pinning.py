"""A trial as a recipe: the same model, settings and cost as the trial's own final run."""

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from search_project import make_project

from experiments.pinning import as_command, nested, pin, pinned_settings, pinned_text, searched_keys, settings_of
from experiments.recipe import RecipeError, load_recipe
from experiments.resolving import resolve
from mae_core.data.dataset import open_dataset


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A recipe with two trials, of which one went on to a second rung, and a confirming run."""
    root = make_project(tmp_path, masking={"strategy": "random", "ratio": "auto"}, pretrain={"steps": 500})
    rows = [
        {
            "trial": 0,
            "rung": 0,
            "origin": "default",
            "model.encoder.depth": 6,
            "masking.ratio": 0.75,
            "pretrain.lr": 1e-3,
        },
        {
            "trial": 1,
            "rung": 0,
            "origin": "sampled",
            "model.encoder.depth": 2,
            "masking.ratio": 0.4,
            "pretrain.lr": 2e-3,
        },
        {
            "trial": 1,
            "rung": 1,
            "origin": "sampled",
            "model.encoder.depth": 2,
            "masking.ratio": 0.4,
            "pretrain.lr": 2e-3,
        },
        {
            "trial": 1,
            "rung": 1,
            "origin": "confirm",
            "model.encoder.depth": 2,
            "masking.ratio": 0.4,
            "pretrain.lr": 2e-3,
        },
    ]
    facts = {"status": "complete", "seed": 0, "steps": 9, "flops": 1e9, "parameters": 9, "score": 0.5, "loss": 0.1}
    (root / "results" / "tiny").mkdir(parents=True)
    table = pd.DataFrame([{**facts, "proxy.ridge": 0.4, **row} for row in rows])
    table.to_parquet(root / "results" / "tiny" / "trials.parquet")
    return root


def test_the_pinned_recipe_trains_what_the_trial_would_have_trained(project):
    path = pin(project, "tiny", 1, "mine")
    info = open_dataset(project / "data" / "bars").info
    chosen = {"model.encoder.depth": 2, "masking.ratio": 0.4, "pretrain.lr": 2e-3}
    whole = resolve(load_recipe("tiny", project), info, chosen)
    alone = resolve(load_recipe("mine", project), info)
    assert alone.config == whole.config and alone.settings == whole.settings
    assert alone.settings.steps != 500, "another architecture, other steps at equal cost"
    assert {alone.values[key].origin for key in chosen} == {"recipe"}
    assert path.read_text().startswith("# tiny with the values of trial 1")
    assert load_recipe("tiny", project).search.trials > load_recipe("mine", project).search.trials == 0


def tried(project, **values):
    """Trial 2 of a recipe that leaves everything to the search, on a space of ``values``."""
    path = project / "experiments" / "recipes" / "tiny.yaml"
    recipe = yaml.safe_load(path.read_text())
    for key in values:
        nest = nested({key: "auto"})
        for section, inner in nest.items():
            recipe[section] = merged(recipe.get(section, {}), inner)
    path.write_text(yaml.safe_dump(recipe))
    table = project / "results" / "tiny" / "trials.parquet"
    facts = ["status", "seed", "steps", "flops", "parameters", "score", "loss"]
    known = pd.read_parquet(table).iloc[-1][facts].to_dict()
    row = {**known, "trial": 2, "rung": 0, "origin": "sampled", **values}
    pd.DataFrame([row]).to_parquet(table)


def merged(into, inner):
    return {**into, **{k: merged(into.get(k, {}), v) if isinstance(v, dict) else v for k, v in inner.items()}}


def test_keys_that_a_trials_kinds_do_not_take_stay_out_of_its_recipe(project):
    chosen = {"model.encoder.kind": "conv", "model.encoder.registers": 4, "model.decoder.kind": "unet"}
    tried(project, **chosen, **{"model.decoder.depth": 2})
    info = open_dataset(project / "data" / "bars").info
    whole = resolve(load_recipe("tiny", project), info, {**chosen, "model.decoder.depth": 2})
    pin(project, "tiny", 2, "mine")
    alone = resolve(load_recipe("mine", project), info)
    assert alone.config == whole.config and alone.settings.steps == whole.settings.steps


def test_a_map_that_the_trials_strategy_does_not_read_is_taken_out(project):
    tried(project, **{"masking.strategy": "random"})
    path = project / "experiments" / "recipes" / "tiny.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["masking"]["weights"] = "maps/centre.npy"
    path.write_text(yaml.safe_dump(recipe))
    pin(project, "tiny", 2, "mine")
    resolve(load_recipe("mine", project), open_dataset(project / "data" / "bars").info)
    command = as_command("tiny", pinned_settings(project, "tiny", 2))
    assert "experiments/recipes/tiny.yaml:masking.weights=null" in shlex.split(command.replace("\\\n", ""))


def test_a_trial_that_makes_no_model_is_no_recipe(project):
    tried(project, **{"model.encoder.kind": "conv", "model.encoder.positions": "rope"})
    with pytest.raises(ValueError, match="trial 2 of tiny makes no model: unknown positions 'rope' of encoder conv"):
        pinned_text(project, "tiny", 2)


def test_what_the_recipe_pins_stays(project):
    path = project / "experiments" / "recipes" / "tiny.yaml"
    path.write_text(path.read_text().replace("ratio: auto", "ratio: 0.55"))
    assert yaml.safe_load(pinned_text(project, "tiny", 1))["masking"]["ratio"] == 0.55


@pytest.mark.parametrize(
    ("trial", "name", "words"),
    [(7, "mine", "no trial 7: there are 0, 1"), (1, "tiny", "is there already"), (1, "../x", "a-z, 0-9 and _")],
)
def test_what_cannot_be_pinned_is_refused(project, trial, name, words):
    before = sorted(project.rglob("*.yaml"))
    with pytest.raises(ValueError, match=words):
        pin(project, "tiny", trial, name)
    assert sorted(project.rglob("*.yaml")) == before
    with pytest.raises(RecipeError, match="no recipe 'tyni'"):
        pin(project, "tyni", 1, "mine")


def test_without_a_search_it_is_said_what_runs_one(project):
    folder = project / "results" / "tiny"
    (folder / "trials.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"^not read: results/tiny/trials.parquet: .*run `dvc repro search@tiny`$"):
        pin(project, "tiny", 1, "mine")
    (folder / "trials.parquet").unlink()
    with pytest.raises(ValueError, match=r"^no search of tiny is here: run `dvc repro search@tiny`$"):
        pin(project, "tiny", 1, "mine")
    (folder / "search.json").write_text(json.dumps({"schema": 2, "trials": 0, "verdict": "search.trials: 0"}))
    with pytest.raises(ValueError, match=r"^no trial of tiny: search.trials: 0$"):
        pin(project, "tiny", 1, "mine")


def test_a_member_of_a_population_is_no_constant_recipe(project):
    summary = {"schema": 2, "schedule": {"member": 1}}
    (project / "results" / "tiny" / "search.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match="trial 1 of tiny followed a schedule"):
        pin(project, "tiny", 1, "mine")


def test_a_name_that_is_no_word_in_yaml_is_refused(project):
    with pytest.raises(RecipeError, match="'2024': YAML reads it as a number, not as a word: give --name"):
        pin(project, "tiny", 1, "2024")


def test_keys_are_told_from_proxies():
    assert searched_keys(["trial", "proxy.knn", "masking.ratio", "model.patch"]) == ["masking.ratio", "model.patch"]
    frame = pd.DataFrame(
        [{"trial": 0, "rung": 0, "origin": "default", "model.patch": np.nan, "masking.ratio": 0.71907}]
    )
    assert settings_of(frame, 0) == {"masking.ratio": 0.7191}


def test_dotted_keys_become_a_recipe_section():
    assert nested({"masking.ratio": 0.71907, "model.patch": np.int64(7)}) == {
        "masking": {"ratio": 0.7191},
        "model": {"patch": 7},
    }


def test_a_trial_becomes_a_command_that_a_hostile_name_cannot_leave():
    command = as_command("a'; touch pwned", {"masking.ratio": 0.71907, "model.patch": np.int64(7)})
    words = shlex.split(command.replace("\\\n", ""))  # as a shell joins continued lines
    assert words[:4] == ["dvc", "exp", "run", "-S"] and words.count("-S") == 2
    assert words[4] == "experiments/recipes/a'; touch pwned.yaml:masking.ratio=0.7191"
