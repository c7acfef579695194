"""dvc.yaml names what each stage runs: no more, so that an edit elsewhere reruns nothing, and no less, so that no result is stale."""

import re

import pytest
import yaml
from dvc_deps import rewrite, wanted
from import_closure import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("stage", list(STAGES))
def test_code_dependencies_are_the_import_closure(stage):
    body = STAGES[stage].get("do", STAGES[stage])
    listed = {dep for dep in body["deps"] if dep.endswith(".py")}
    assert listed == wanted(stage), "run `PYTHONPATH=. python tests/dvc_deps.py`"


def test_the_writer_repairs_what_is_wrong_and_touches_nothing_else():
    text = (ROOT / "dvc.yaml").read_text()
    lines = text.split("\n")
    del lines[next(i for i, line in enumerate(lines) if line.endswith("- mae_core/model.py"))]
    assert "\n".join(lines) != text and rewrite("\n".join(lines)) == text


def test_every_listed_section_is_one_of_the_recipe():
    from experiments.recipe import Recipe

    for stage, body in STAGES.items():
        for entry in body.get("do", body).get("params", []):
            if isinstance(entry, dict):
                for path, sections in entry.items():
                    assert path.startswith("experiments/recipes/"), (stage, path)
                    assert set(sections) <= set(Recipe.model_fields), (stage, sections)


def test_no_stage_depends_on_the_app_or_the_docs():
    text = (ROOT / "dvc.yaml").read_text()
    assert not re.search(r"- (dashboard|docs|tests|benchmarks)\b", text)


def test_every_recipe_file_writes_out_every_section_and_key():
    """``dvc exp run -S`` finds only keys that are written out."""
    from experiments.recipe import Recipe

    whole = Recipe().model_dump()
    for path in (ROOT / "experiments" / "recipes").glob("*.yaml"):
        written = yaml.safe_load(path.read_text())
        for section, keys in whole.items():
            assert set(written.get(section, {})) == set(keys), (path.name, section)
