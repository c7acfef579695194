"""dvc.yaml names what each stage runs: no more, so that an edit elsewhere reruns nothing, and no less, so that no result is stale."""

import re

import pytest
import yaml
from import_closure import ROOT, closure

from mae_core.modalities import MODALITIES

TABLES = frozenset(
    f"mae_core/{name}/__init__.py"
    for name in ("modalities", "masking", "encoders", "decoders", "targets", "objectives", "data/sources")
)
"""Registry tables: a new row changes no existing result. The modules of the rows that recipes may name are listed below."""
VIEWS = frozenset({"experiments/publish.py", "experiments/tracking.py"})
"""MLflow is a view of the files; it changes none."""
ROWS = {
    "mae_core/masking/plan.py",
    "mae_core/masking/random.py",
    "mae_core/masking/grid.py",
    "mae_core/masking/block.py",
    "mae_core/masking/column.py",
    "mae_core/masking/span.py",
    "mae_core/masking/groups.py",
    "mae_core/masking/kinds.py",
    "mae_core/encoders/vit.py",
    "mae_core/decoders/joint.py",
    "mae_core/targets/pixels.py",
    "mae_core/targets/series.py",
    "mae_core/targets/columns.py",
    "mae_core/targets/values.py",
    "mae_core/targets/tokens.py",
    "mae_core/targets/parts.py",
    "mae_core/objectives/reconstruction.py",
    "mae_core/objectives/contrastive.py",
}
MODALITY_ROWS = {row.split(":")[0].replace(".", "/") + ".py" for row in MODALITIES.values()}
MODALITY = "mae_core/modalities/${item.modality}.py"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def reached(path: str) -> set[str]:
    """Relative paths of everything that one file runs, itself included."""
    module = path.removesuffix(".py").replace("/", ".")
    return {str(found.relative_to(ROOT)) for found in closure(module, TABLES | VIEWS)}


def wanted(stage: str) -> set[str]:
    files = reached(f"pipelines/{stage}.py")
    rows = ROWS
    if stage == "prepare":
        rows = {
            str(path.relative_to(ROOT)) for path in (ROOT / "mae_core/data/sources").glob("[a-z]*.py")
        } | MODALITY_ROWS
    elif stage == "report":
        rows = set()
    for path in rows:
        files |= reached(path)
    if stage not in ("prepare", "report"):
        used = set().union(*(reached(path) for path in MODALITY_ROWS)) - MODALITY_ROWS
        files |= used | ({MODALITY} if stage != "transfer" else set())
    return files


@pytest.mark.parametrize("stage", list(STAGES))
def test_code_dependencies_are_the_import_closure(stage):
    body = STAGES[stage].get("do", STAGES[stage])
    listed = {dep for dep in body["deps"] if dep.endswith(".py")}
    need = wanted(stage)
    if stage == "transfer":
        need = {"mae_core/modalities/image.py" if dep == MODALITY else dep for dep in need} | (
            {"mae_core/modalities/image.py"} & listed
        )
    assert listed == need, "in dvc.yaml, under deps, write:\n" + "\n".join(f"        - {dep}" for dep in sorted(need))


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
