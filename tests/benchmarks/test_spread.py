"""Cells over processes that really are killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
