"""A stage ends with the DVC that started it, and with nobody else."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from experiments.runs import _recorded
from experiments.stages import pipeline_state
from experiments.subjects import subjects

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
STAGE = """
import pathlib, sys, time
from experiments import runs
begun, alone, unmoved = map(pathlib.Path, sys.argv[1:])
runs.end_with_parent(every=0.05)
first = runs._ancestors()
begun.touch()
while not alone.exists():
    time.sleep(0.05)
assert runs._ancestors() == first
unmoved.touch()
time.sleep(600)
"""
DVC = """
import os, pathlib, subprocess, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
subprocess.run(sys.argv[2:])
"""
LAUNCHER = """
import pathlib, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", *sys.argv[2:]], start_new_session=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
"""
"""Whoever typed `dvc repro`: ends once the stage is at work."""
PROJECT = {
    "experiments/recipes/a.yaml": "pretrain: {steps: 100, lr: 1e-3, weight_decay: 1.0e-05}\n",
    "params.yaml": "recipes:\n  a: {dataset: d, modality: image}\n",
    "dvc.yaml": """
stages:
  pretrain:
    foreach: ${recipes}
    do:
      cmd: train ${key}
      params:
        - experiments/recipes/${key}.yaml: [pretrain]
""",
    "DELIVERED": "",
    "dvc.lock": """
stages:
  pretrain@a:
    cmd: train a
    params:
      experiments/recipes/a.yaml:
        pretrain: {steps: 100, lr: 0.001, weight_decay: 1e-05}
""",
}
"""A recipe, and what DVC records of it."""


def shell_of(name):
    """As DVC starts a shell."""
    return [shutil.which(name), *(["--noprofile", "--norc"] if name == "bash" else []), "-c"]


def alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("shell", "after"), [("bash", ""), ("sh", "; true")], ids=["a shell in whose place it runs", "a shell that waits"]
)
def test_a_stage_outlives_whoever_started_dvc_and_ends_with_dvc(tmp_path, shell, after):
    begun, alone, unmoved, pid, file = (tmp_path / name for name in ("begun", "alone", "unmoved", "pid", "stage.py"))
    file.write_text(STAGE)
    command = [*shell_of(shell), f"'{sys.executable}' '{file}' '{begun}' '{alone}' '{unmoved}'{after}"]
    subprocess.run(
        [sys.executable, "-c", LAUNCHER, begun, DVC, pid, *command], cwd=ROOT, check=True, timeout=PATIENCE,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    dvc = psutil.Process(int(pid.read_text()))
    below = dvc.children(recursive=True)
    try:
        assert any("stage.py" in part for process in below for part in process.cmdline())
        alone.touch()
        wait_until(lambda: unmoved.exists() or not all(map(alive, below)))
        assert unmoved.exists() and all(map(alive, below)), "whoever started DVC has ended, DVC has not"
        dvc.kill()
        wait_until(lambda: not any(map(alive, below)))
    finally:
        for process in [dvc, *below]:
            if process.is_running():
                process.kill()


def test_a_number_that_dvc_writes_another_way_is_the_same_number(tmp_path):
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert _recorded("pretrain", "a", tmp_path / "DELIVERED", tmp_path)
    (found,) = pipeline_state(tmp_path, [])
    assert (found.state, found.why) == ("done", "")


def test_the_folder_of_a_negative_seed_is_not_taken_for_another(tmp_path):
    for seed in (1, -1, 10, 2):
        (tmp_path / "models" / "a" / f"seed-{seed}").mkdir(parents=True)
    trained = [(one.seed, one.folder.name) for one in subjects("a", tmp_path) if one.model == "pretrained"]
    assert trained == [(1, "seed-1"), (2, "seed-2"), (10, "seed-10")]
