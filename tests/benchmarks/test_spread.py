"""Cells over processes that really are killed, and cells that cannot be measured."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from benchmarks.spread import problem_of, sources, spread
from mae_core.training.loop import TrainingDiverged

SCRIPT = """
import os, sys, time
from pathlib import Path
from typing import NamedTuple
from benchmarks.spread import spread

class Cell(NamedTuple):
    file: str

def measure(cell):
    (Path(sys.argv[1]) / f"{os.getpid()}.pid").write_text("")
    time.sleep(600)

if __name__ == "__main__":
    list(spread([Cell("a"), Cell("b")], Path(sys.argv[1]), measure, 2))
"""


def _until(true, seconds=60.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_outlive_the_shell_and_end_with_their_sweep(tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    started = ["sh", "-c", '"$0" "$1" "$2" </dev/null & echo $!; read line', sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(started, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        sweep = int(shell.stdout.readline())
        try:
            assert _until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
            workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
            shell.kill()
            time.sleep(2)  # several of their looks
            assert all(_alive(pid) for pid in workers)
        finally:
            os.kill(sweep, signal.SIGKILL)
    assert _until(lambda: not any(_alive(pid) for pid in workers), 30)


def test_a_killed_worker_ends_a_sweep_in_words(tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(SCRIPT.replace("time.sleep(600)", "os.kill(os.getpid(), 9)"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, script, tmp_path], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    words = f"RuntimeError: a worker process was killed, as the system does when memory runs out. What is done is kept in {tmp_path}"
    assert ended.stderr.splitlines()[-1].startswith(words)


class Named(NamedTuple):
    file: str


@pytest.mark.parametrize("failure", [TrainingDiverged, ValueError, torch.OutOfMemoryError])
def test_what_cannot_be_measured_says_so_and_is_not_tried_again(failure, tmp_path):
    asked = []

    def measure(cell):
        asked.append(cell.file)
        if cell.file == "bad":
            raise failure("too\nlarge")
        return json.dumps({"accuracy": 0.5})

    wanted = [Named("bad"), Named("good")]
    first = {cell.file: problem_of(text) for cell, text in spread(wanted, tmp_path, measure)}
    assert first == {"bad": f"{failure.__name__}: too large", "good": ""}
    again = {cell.file: problem_of(text) for cell, text in spread(wanted, tmp_path, measure)}
    assert again == first and asked == ["bad", "good"]


def test_cells_of_other_sources_are_counted(tmp_path, capsys):
    wanted = [Named("a"), Named("b"), Named("c")]
    kept = dict(spread(wanted[:2], tmp_path, lambda cell: json.dumps({"accuracy": 0.5})))
    assert [json.loads(text)["sources"] for text in kept.values()] == [sources()] * 2
    assert dict(spread(wanted[:2], tmp_path, lambda cell: "")) == kept and not capsys.readouterr().out
    (tmp_path / "a").write_text(json.dumps({"accuracy": 0.5, "sources": "older"}))
    (tmp_path / "b").write_text(json.dumps({"accuracy": 0.5}))
    list(spread(wanted, tmp_path, lambda cell: json.dumps({"accuracy": 0.5})))
    said = capsys.readouterr().out
    assert "2 of 3 are of other sources of mae_core" in said and f"`grep -L {sources()} {tmp_path}/" in said


def test_a_fault_of_the_code_ends_everything(tmp_path):
    def measure(cell):
        raise KeyError("misspelt")

    with pytest.raises(KeyError):
        list(spread([Named("a")], tmp_path, measure))
    assert not list(tmp_path.iterdir())
