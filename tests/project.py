"""A whole project in a temporary folder: the real code and dvc.yaml, a tiny dataset and a tiny recipe."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from experiments.recipe import Recipe, load_recipe
from experiments.resolving import resolve
from mae_core.data.dataset import open_dataset
from mae_core.data.pack import Rules, pack
from mae_core.data.sources import Part, Source
from mae_core.training import loop

ROOT = Path(__file__).resolve().parents[1]
CODE = ("mae_core", "experiments", "pipelines")
SIZE = 8
SMALL: dict[str, Any] = {
    "model": {
        "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
        "patch": 2,
    },
    "masking": {"strategy": "random", "ratio": 0.75},
    "pretrain": {"steps": 60, "batch_size": 12, "lr": 2e-3, "precision": "fp32", "checkpoint_every": 20},
    "search": {"trials": 0},
    "evaluate": {
        "probe_seeds": [0, 1],
        "labels_per_class": [1, 5],
        "knn_k": 5,
        "finetune": {"labels_per_class": [5], "trials": 1, "steps": 5},
    },
}


def stripes(n: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1, 8, 8) uint8 of synthetic noisy stripes, whose direction is the label, and (n,) labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    y, x = np.mgrid[:SIZE, :SIZE]
    waves = [np.sin(x * 1.6), np.sin(y * 1.6), np.sin((x + y) * 1.2)]
    clean = np.stack([waves[label] for label in labels])
    noisy = 128 + 80 * clean + random.normal(0, 15, clean.shape)
    return noisy.clip(0, 255).astype(np.uint8)[:, None], labels.astype(np.int64)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, section by section."""
    both = {
        key: merged(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
        for key, value in changes.items()
    }
    return {**base, **both}


def write_recipe(root: Path, name: str = "tiny", **changes: Any) -> Recipe:
    """Writes a recipe with every key, as small as one can be, changed as asked."""
    recipe = Recipe.model_validate(merged(SMALL, changes))
    path = root / "experiments" / "recipes" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(), sort_keys=False))
    return recipe


def write_dataset(root: Path, name: str = "tiny", n: int = 240, labels: np.ndarray | None = None) -> None:
    """Packs synthetic stripes into ``data/<name>``."""
    samples, known = stripes(n)
    labels = known if labels is None else labels
    classes = ["across", "down", "slanted"] if (labels >= 0).any() else []
    part = Part("all", samples, labels, [f"stripe[{i}]" for i in range(n)])
    rules = Rules(name, "image", "CC0", "made by the tests (synthetic)", True, {"validation": 0.2, "test": 0.25})
    pack(Source([part], classes, [], 0, []), rules, root / "data" / name)


def make_project(root: Path, code: str = "link", **recipe: Any) -> Path:
    """A project below ``root`` that lists the recipe ``tiny`` on the dataset ``tiny``; ``code`` is ``link`` or ``copy``."""
    for package in CODE:
        (root / package).mkdir(parents=True)
        for path in (ROOT / package).iterdir():
            if path.name in ("recipes", "datasets", "__pycache__") or path.name.endswith(".egg-info"):
                continue
            if code == "link":
                (root / package / path.name).symlink_to(path)
            elif path.is_dir():
                shutil.copytree(path, root / package / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, root / package / path.name)
    for folder in ("recipes", "datasets"):
        (root / "experiments" / folder).mkdir()
    shutil.copy(ROOT / "dvc.yaml", root / "dvc.yaml")
    params = {
        "datasets": ["tiny"],
        "recipes": {"tiny": {"dataset": "tiny", "modality": "image"}},
        "transfers": {},
        "resources": {"workers": 1, "gpu": False},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    write_recipe(root, **recipe)
    write_dataset(root)
    (root / "results" / "tiny").mkdir(parents=True)
    (root / "results" / "tiny" / "best.yaml").write_text("{}\n")
    return root


def stage(root: Path, name: str, key: str = "tiny") -> subprocess.Popen[str]:
    """Starts ``python -m pipelines.<name> <key>`` as DVC would, with the code of ``root``."""
    command = [sys.executable, "-m", f"pipelines.{name}", *([key] if key else [])]
    return start(root, command)


def start(root: Path, command: list[str]) -> subprocess.Popen[str]:
    """Starts a command in a project, in a process group of its own, with MLflow off; its output is one text."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(root), "MAESTRO_MLFLOW": "off", "DVC_NO_ANALYTICS": "1"}
    out = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=root, env=env, stdout=out, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finished(process: subprocess.Popen[str], patience: float = 400) -> str:
    """The output of a process that ends well."""
    output, _ = process.communicate(timeout=patience)
    assert process.returncode == 0, output
    return output


def finished_stage(root: Path, name: str, key: str = "tiny") -> str:
    """Runs one stage to its end; its output."""
    return finished(stage(root, name, key))


def use_dataset(root: Path, name: str, described: dict[str, Any], samples: Path) -> None:
    """Describes the files in ``samples`` as the dataset ``name``, on which the recipe ``tiny`` runs."""
    source = {**described["source"], "path": str(samples)}
    (root / "experiments" / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump({**described, "source": source}))
    params = {
        "datasets": [name],
        "recipes": {"tiny": {"dataset": name, "modality": described["modality"]}},
        "resources": {"workers": 1, "gpu": False},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def trained(root: Path, dataset: str, steps: int, batch_size: int) -> Path:
    """The model folder of the recipe ``tiny`` on a prepared dataset, trained in this process."""
    found = open_dataset(root / "data" / dataset)
    config = resolve(load_recipe("tiny", root), found.info, {}, found.modality).config
    settings = loop.Settings(steps=steps, batch_size=batch_size, lr=4e-3, precision="fp32")
    state = loop.start(config, settings)
    list(loop.fit(state, found.split("train").samples, settings))
    state.model.config["provenance"] = {"precision": "fp32"}
    return state.model.eval().save(root / "models" / "tiny" / "seed-0")
