"""Processes are really killed, in mid-epoch: the training goes on from its last checkpoint and ends where an unbroken one ends."""

import contextlib
import json
import os
import signal
import time

import psutil
import pytest
import torch
from project import finished, make_project, stage, start

from experiments.runs import fingerprint
from mae_core.model import MaskedAutoencoder
from mae_core.training.state import newest_step

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]
STEPS, KILL_AT, CHECKPOINTS = 1600, 300, 100
PATIENCE = 400


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Number of workers → weights, by name, of a training that nobody disturbs; made when first asked for."""
    made = {}

    def weights(workers):
        if workers not in made:
            root = project(tmp_path_factory.mktemp("unbroken"), workers)
            finished(stage(root, "pretrain"))
            made[workers] = final_weights(root)
        return made[workers]

    return weights


def final_weights(root):
    return MaskedAutoencoder.load(root / "models" / "tiny" / "seed-0").state_dict()


def pretrain():
    return {"steps": STEPS, "checkpoint_every": CHECKPOINTS}


def project(tmp_path, workers=1, code="link"):
    root = make_project(tmp_path / "p", code, pretrain=pretrain())
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("workers: 1", f"workers: {workers}"))
    return root


def log(root):
    rows = []
    for path in root.glob("runs/pretrain-tiny-*/log.jsonl"):
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


def wait_for_checkpoint(root, step, process):
    """Until ``step`` is saved, which a thread of its own does after the log shows it; fails where the stage ends before."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if any(newest_step(folder) >= step for folder in root.glob("runs/pretrain-tiny-*/checkpoints/*")):
            return
        assert process.poll() is None, f"the stage ended before step {step}:\n{process.stdout.read()}"
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not saved in {PATIENCE} s")


def workers_of(processes):
    """Ray's training workers among processes, by the order of their start."""
    named = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if any("RayTrainWorker" in part for part in process.cmdline()):
                named.append(process)
    return sorted(named, key=lambda process: process.create_time())


def below(process):
    return psutil.Process(process.pid).children(recursive=True)


def check_gone(processes, patience):
    """No stage and no worker trains on; Ray's idle agents may take a minute to notice."""
    workers = workers_of(processes)
    training = [process for process in processes if process in workers or _is_stage(process)]
    _, alive = psutil.wait_procs(training, timeout=patience)
    assert not alive, f"left behind: {[process.cmdline() for process in alive]}"


def _is_stage(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return "pipelines.pretrain" in process.cmdline()
    return False


def check_like(root, unbroken):
    found = final_weights(root)
    assert all(torch.equal(found[name], value) for name, value in unbroken.items())
    resumed = [row["step"] for row in log(root) if row.get("event") == "resumed"]
    assert resumed and all(step % CHECKPOINTS == 0 and step >= KILL_AT for step in resumed)
    with open(root / "results" / "tiny" / "history.csv") as file:
        steps = [int(line.split(",")[1]) for line in file.read().splitlines()[1:]]
    assert steps == list(range(50, STEPS + 1, 50)), "no gap and no repeat"


def test_a_killed_worker_of_two(tmp_path, unbroken):
    root = project(tmp_path, workers=2)
    process = stage(root, "pretrain")
    wait_for_checkpoint(root, KILL_AT, process)
    two = workers_of(below(process))
    assert len(two) == 2
    os.kill(two[-1].pid, signal.SIGKILL)
    assert "resumed at step" in finished(process)
    check_like(root, unbroken(2))


def test_a_killed_driver(tmp_path, unbroken):
    root = project(tmp_path)
    process = stage(root, "pretrain")
    wait_for_checkpoint(root, KILL_AT, process)
    children = below(process)
    os.kill(process.pid, signal.SIGKILL)
    check_gone(children, 30)
    assert "resumed at step" in finished(stage(root, "pretrain"))
    check_like(root, unbroken(1))


def test_a_killed_dvc_repro(tmp_path, unbroken):
    root = project(tmp_path, code="copy")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "config", "core.analytics", "false"]):
        finished(start(root, command))
    repro = ["dvc", "repro", "-s", "pretrain@tiny"]
    process = start(root, repro)
    wait_for_checkpoint(root, KILL_AT, process)
    children = below(process)
    second = start(root, repro)
    output, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode != 0 and str(process.pid) in output, "two at once: the second names the first"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()  # as a zombie it would still hold DVC's lock
    check_gone(children, 40)  # a stage ends when its parent dies
    assert "resumed at step" in finished(start(root, repro))
    check_like(root, unbroken(1))
    assert "didn't change" in finished(start(root, repro))
    mark = fingerprint("pretrain", "tiny", "fp32", root)
    before = (root / "runs" / f"pretrain-tiny-{mark}" / "DELIVERED").stat().st_mtime_ns
    output = finished(start(root, [*repro, "-f"]))
    assert "resumed" not in output and "seed-0  step " in output, "what DVC has recorded is trained anew"
    assert (root / "runs" / f"pretrain-tiny-{mark}" / "DELIVERED").stat().st_mtime_ns > before
    (root / "dvc.lock").unlink()  # as if DVC had been stopped before it recorded the stage
    assert "seed-0  step " not in finished(start(root, repro)), "what was trained is handed over"
    assert all(torch.equal(final_weights(root)[name], value) for name, value in unbroken(1).items())
