"""The rules of the house: arrows one way, a light core, nothing unpickled, everything named and registered."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from import_closure import PACKAGES, ROOT, file_of

from mae_core.data.sources import SOURCES
from mae_core.decoders import DECODERS
from mae_core.encoders import ENCODERS
from mae_core.masking import MASKERS
from mae_core.modalities import MODALITIES
from mae_core.objectives import OBJECTIVES
from mae_core.registry import resolve
from mae_core.targets import TARGETS

ARROWS = {
    "mae_core": {"mae_core"},
    "experiments": {"experiments", "mae_core"},
    "pipelines": {"pipelines", "experiments", "mae_core"},
    "dashboard": {"dashboard", "experiments", "mae_core"},
    "benchmarks": {"benchmarks", "experiments", "mae_core"},
}
"""Room → rooms it may import from."""
NEVER_IN_CORE = {"ray", "mlflow", "dvc", "streamlit", "pydantic", "optuna", "plotly"}
AT_THE_TOP_OF_CORE = {"torch", "numpy", "safetensors", "mae_core"} | set(sys.stdlib_module_names)
LONGEST = {"tests": 500}
"""Lines of a file, fewer than; 400 where nothing is said. Tests may list more cases."""
TABLES = {
    "modality": MODALITIES,
    "masker": MASKERS,
    "encoder": ENCODERS,
    "decoder": DECODERS,
    "target": TARGETS,
    "objective": OBJECTIVES,
    "source": SOURCES,
}
GENERATED = (
    "data/x/dataset.json", "models/r/seed-0/model.safetensors", "controls/r/m-0/config.json", "heads/r/h.safetensors",
    "report/index.html", "runs/pretrain-r-0/lock", "results/r/trials.parquet", "results/r/reconstructions/a.png",
    "benchmarks/out/gpu.json", "mlflow.db", "mlflow.db-wal", "mlruns/0/meta.yaml", "mlartifacts/0/a", "downloads/x.zip",
    ".venv/bin/python", "mae_core/__pycache__/a.pyc", ".hypothesis/x", "maestro_mae.egg-info/PKG-INFO",
)  # fmt: skip


def files(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_file = pytest.mark.parametrize("path", files(*ARROWS), ids=name)
core_file = pytest.mark.parametrize("path", files("mae_core"), ids=name)


def packages(nodes: Iterator[ast.AST]) -> set[str]:
    """First names of what these statements import."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: not what lies in functions or is for type checkers alone."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


@every_file
def test_arrows_run_one_way(path):
    room = name(path).split("/")[0]
    found = packages(ast.walk(ast.parse(path.read_text()))) & set(ARROWS)
    assert found <= ARROWS[room], f"{room} may import {sorted(ARROWS[room])} alone"


@every_file
def test_imports_are_absolute(path):
    relative = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if getattr(node, "level", 0)]
    assert relative == []


def test_modules_do_not_import_each_other_in_a_circle():
    """At import time; an import inside a function may reach back."""
    arrows: dict[Path, set[Path]] = {}
    for path in files(*PACKAGES):
        tree = ast.parse(path.read_text())
        top = {node for node in at_import(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
        whole = {ast.unparse(node) for node in top}
        arrows[path] = {
            target
            for module in imports_of("\n".join(sorted(whole)))
            if (target := file_of(module)) is not None and target != path and target.name != "__init__.py"
        }
    done: set[Path] = set()

    def visit(path: Path, trail: tuple[Path, ...]) -> None:
        assert path not in trail, " → ".join(map(name, (*trail[trail.index(path) :], path)))
        if path not in done:
            for target in arrows.get(path, ()):
                visit(target, (*trail, path))
            done.add(path)

    for path in arrows:
        visit(path, ())


def imports_of(text: str) -> set[str]:
    """Like ``import_closure.imports``, of a text."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@core_file
def test_the_core_is_light_at_import(path):
    found = packages(at_import(ast.parse(path.read_text()))) - AT_THE_TOP_OF_CORE
    assert not found, f"import {sorted(found)} inside the functions that use them"


@core_file
def test_the_core_knows_nothing_of_the_tools_around_it(path):
    assert not packages(ast.walk(ast.parse(path.read_text()))) & NEVER_IN_CORE


def test_training_loads_nothing_beyond_the_core_libraries():
    code = (
        "import sys, mae_core.training.loop, mae_core.model\n"
        f"print(sorted({NEVER_IN_CORE | {'sklearn', 'pandas', 'PIL'}!r} & {{m.split('.')[0] for m in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def keyword(node: ast.Call, wanted: str) -> object:
    """The literal given for a keyword, or None."""
    for given in node.keywords:
        if given.arg == wanted and isinstance(given.value, ast.Constant):
            return given.value.value
    return None


UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
"""Their exceptions may be named, but nothing of them called."""
UNSAFE_LOADERS = {"yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader", "yaml.CLoader"}
FORBIDDEN = {"eval", "exec", "os.system", "yaml.unsafe_load", "pd.read_pickle"}


def dangers(tree: ast.Module) -> Iterator[str]:
    """What may run code from data, leave its folder, or listen to the world."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value == "0.0.0.0":
            yield f"line {node.lineno}: 0.0.0.0"
        if isinstance(node, ast.ImportFrom) and node.module in UNPICKLERS:
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in UNSAFE_LOADERS:
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if not isinstance(node, ast.Call):
            continue
        what, last = called(node), called(node).rsplit(".", 1)[-1]
        if what == "torch.load" and keyword(node, "weights_only") is not True:
            yield f"line {node.lineno}: torch.load without weights_only=True"
        if what in FORBIDDEN or what.split(".")[0] in UNPICKLERS or last in {"extractall", "extract_all"}:
            yield f"line {node.lineno}: {what}"
        if what == "yaml.load" and "Loader" not in {given.arg for given in node.keywords}:
            yield f"line {node.lineno}: yaml.load without a loader"
        if keyword(node, "shell") is True or keyword(node, "allow_pickle") is True:
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if what == "np.load" and keyword(node, "allow_pickle") is not False:
            yield f"line {node.lineno}: np.load without allow_pickle=False"


@every_file
def test_nothing_dangerous_is_called(path):
    assert list(dangers(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "pickle.loads(content)", "from pickle import loads",
        "archive.extractall(to)", "yaml.load(text, Loader=yaml.FullLoader)", "os.system(text)",
        "subprocess.run(command, shell=True)", "serve('0.0.0.0')", "np.load(path)", "np.load(path, allow_pickle=True)", "yaml.load(text)",
    ],
)  # fmt: skip
def test_the_rule_sees_each_danger(line):
    assert len(list(dangers(ast.parse(line)))) >= 1


def test_the_rule_lets_the_safe_forms_pass():
    safe = "torch.load(p, weights_only=True); np.load(p, allow_pickle=False); subprocess.run([a]); yaml.safe_load(t)"
    assert list(dangers(ast.parse(safe))) == []


def stub(node: ast.AST) -> bool:
    """A method of a protocol, ``...`` alone: its class says what it is."""
    return isinstance(node, ast.FunctionDef) and ast.unparse(node.body[0]) == "..."


def public(
    body: list[ast.stmt], inside: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Public classes and functions, and the public methods of public classes."""
    for node in body:
        kind = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if kind and not node.name.startswith("_") and not stub(node):
            yield f"{inside}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


@pytest.mark.parametrize("path", files("mae_core", "experiments", "benchmarks"), ids=name)
def test_what_is_public_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"
    assert [what for what, node in public(tree.body) if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", [*files(*ARROWS), *files("tests")], ids=name)
def test_files_are_small(path):
    assert len(path.read_text().splitlines()) < LONGEST.get(name(path).split("/")[0], 400), (
        "split it: one file, one idea"
    )


@pytest.mark.parametrize(("what", "row"), [(what, row) for what, table in TABLES.items() for row in table])
def test_every_registered_name_is_there(what, row):
    assert callable(resolve(TABLES[what], row, what))


@pytest.mark.parametrize("path", sorted((ROOT / "experiments" / "recipes").glob("*.yaml")), ids=name)
def test_every_recipe_is_one(path):
    from experiments.recipe import load_recipe

    assert load_recipe(path.stem, ROOT).pretrain.steps > 0


@pytest.mark.parametrize("path", sorted((ROOT / "experiments" / "datasets").glob("*.yaml")), ids=name)
def test_every_dataset_names_its_modality_source_and_licence(path):
    facts = yaml.safe_load(path.read_text())
    assert facts["modality"] in MODALITIES
    assert facts["source"]["kind"] in SOURCES
    assert facts["licence"]


@pytest.mark.parametrize("path", sorted((ROOT / "experiments" / "spaces").glob("*.yaml")), ids=name)
def test_every_space_searches_keys_that_may_be_searched(path):
    from experiments.resolving import SEARCHABLE

    facts = yaml.safe_load(path.read_text())
    assert facts and set(facts) <= set(SEARCHABLE)


def test_every_listed_recipe_and_dataset_has_its_file():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    folder = ROOT / "experiments"
    assert all((folder / "datasets" / f"{dataset}.yaml").is_file() for dataset in params["datasets"])
    for recipe, row in params["recipes"].items():
        assert (folder / "recipes" / f"{recipe}.yaml").is_file()
        assert row["dataset"] in params["datasets"] and row["modality"] in MODALITIES


def ignored(path: str) -> bool:
    done = subprocess.run(["git", "check-ignore", "--no-index", "-q", path], cwd=ROOT)
    if done.returncode == 128:
        pytest.skip("this copy is no git repository")
    return done.returncode == 0


@pytest.mark.parametrize("path", GENERATED)
def test_what_is_generated_is_ignored(path):
    assert ignored(path)


def outs(stage: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Every out, metric and plot of a stage, with whether DVC keeps it."""
    body = stage.get("do", stage)
    for entry in [*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])]:
        path, facts = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
        yield re.sub(r"\$\{.*?\}", "x", path), facts.get("cache", True)


def test_git_keeps_what_dvc_does_not():
    """An out without a cache is small and compared in git; every other one is DVC's."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    listed = {path: cached for stage in stages.values() for path, cached in outs(stage)}
    inside = {path: path if Path(path).suffix else f"{path}/file" for path in listed}
    assert {path for path, cached in listed.items() if ignored(inside[path]) != cached} == set()
    assert not ignored("dvc.lock")


def test_every_module_can_be_imported():
    for path in files("mae_core", "experiments", "pipelines", "benchmarks"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        assert import_module(module).__name__ == module
