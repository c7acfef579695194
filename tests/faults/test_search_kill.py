"""A search whose driver is killed goes on after the trials that had ended, and ends where an unbroken one ends, a killed trial included."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from search_project import ledger, make_project, outs, without_ray

from experiments.search import search

REPOSITORY = Path(__file__).resolve().parents[2]
DRIVER = (
    "import sys; from pathlib import Path; from experiments.search import search; search('tiny', Path(sys.argv[1]))"
)


def start(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(root)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(root: Path) -> int:
    return len(ledger(root)) if list((root / "runs").glob("search-tiny-*/outcomes.jsonl")) else 0


def kill_a_trial(driver: subprocess.Popen[str]) -> None:
    """Kills the process of the first trial that trains."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert driver.poll() is None, driver.communicate()[0]
        for child in psutil.Process(driver.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name().endswith("train"):
                    child.kill()
                    return
        time.sleep(0.05)
    raise AssertionError("no trial began")


@pytest.mark.fault
@pytest.mark.timeout(600)
def test_a_killed_search_goes_on_and_ends_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_MLFLOW", "off")
    root = make_project(tmp_path / "killed", pretrain={"steps": 400})
    driver = start(root)
    deadline = time.monotonic() + 200
    while finished(root) < 3:
        assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
        time.sleep(0.05)
    # Ray's two agents look for their raylet every few seconds and leave last, harmlessly
    children = psutil.Process(driver.pid).children(recursive=True)
    family = [child for child in children if "Agent" not in child.name()]
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    _, left = psutil.wait_procs(family, timeout=60)
    assert not left, "Ray outlives its driver"
    assert not (root / "results").exists(), "nothing is written by half a search"
    before = ledger(root)

    second = start(root)
    kill_a_trial(second)
    said = second.communicate(timeout=400)[0]
    assert second.returncode == 0, said
    assert f"going on after {len(before)} trials" in said
    after = ledger(root)
    assert after[: len(before)] == before, "what had ended is not run again"
    jobs = Counter((row["job"]["origin"], row["job"]["trial"], row["job"]["rung"], row["job"]["seed"]) for row in after)
    assert set(jobs.values()) == {1}

    unbroken = make_project(tmp_path / "unbroken", pretrain={"steps": 400})
    without_ray(monkeypatch)
    search("tiny", unbroken)
    assert outs(root) == outs(unbroken)
