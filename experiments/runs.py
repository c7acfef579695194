"""The live folder of a stage, ``runs/<stage>-<recipe>-<fingerprint>/``: its lock, heartbeat, log and resume rules.

The fingerprint is a hash of what the stage reads (its DVC deps and params) with the resolved precision and library versions, so a killed
stage finds its own checkpoints again and a changed recipe starts fresh.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

import numpy
import torch

from experiments.yaml_files import read_yaml
from mae_core.atomic import write_text

SCHEMA = 1
GIVEN = (("pretrain", "init_from"), ("objective", "features_from"))
"""Keys of recipes that name a model folder. DVC does not know of it, but a run that began from other weights is another run."""

SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh"})
"""By their process's name: with ``-c`` they stand between this process and who started it."""


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file; the torn line of a writer that was killed is closed first, so that only that one is lost."""
    with open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


class RunBusy(RuntimeError):
    """Another process holds the run folder."""


class Run:
    """A claimed run folder."""

    def __init__(self, folder: Path, stage: str, recipe: str, fingerprint: str) -> None:
        self.folder, self.stage, self.recipe, self.fingerprint = folder, stage, recipe, fingerprint

    def heartbeat(self, state: str = "running", **facts: Any) -> None:
        """What the app shows while the stage runs."""
        beat = {
            "schema": SCHEMA,
            "stage": self.stage,
            "recipe": self.recipe,
            "state": state,
            "time": time.time(),
            **facts,
        }
        write_text(self.folder / "heartbeat.json", json.dumps(beat))

    def log(self, **row: Any) -> None:
        """Appends one row to ``log.jsonl``; a number that is not finite becomes null, as JSON has it."""
        finite = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
        }
        append_line(self.folder / "log.jsonl", json.dumps(finite))

    def log_rows(self) -> list[dict[str, Any]]:
        """The rows logged so far; a torn last line is left out."""
        path = self.folder / "log.jsonl"
        rows = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue  # the writer was killed inside this line; the row is logged again after the resume
        return rows

    def timing(self, **facts: Any) -> None:
        """Wall-clock facts, which never enter a DVC out."""
        write_text(self.folder / "timing.json", json.dumps({"schema": SCHEMA, **facts}, indent=2))

    def delivered(self) -> None:
        """Marks the outs as handed over: once DVC has recorded them, this run is never resumed again."""
        write_text(self.folder / "DELIVERED", "")
        self.heartbeat("finished")


@contextmanager
def claim(stage: str, recipe: str, fingerprint: str, root: Path = Path()) -> Iterator[Run]:
    """The run folder of a stage, locked until the block ends or the process dies.

    A delivered run that DVC has recorded is cleared and starts afresh. Any other goes on from its checkpoints: DVC removes what a stage
    made before it runs it again, so what it had no time to record is handed over once more. Raises RunBusy naming the holder.
    The process ends with its parent, so that a killed ``dvc repro`` leaves nothing behind; who started ``dvc repro`` may go.
    """
    folder = root / "runs" / f"{stage}-{recipe}-{fingerprint}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+") as lock:
        _hold(lock, folder)
        if (folder / "DELIVERED").exists() and _recorded(stage, recipe, folder / "DELIVERED", root):
            for path in folder.iterdir():
                if path.name != "lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        end_with_parent()
        run = Run(folder, stage, recipe, fingerprint)
        run.heartbeat("running")
        try:
            yield run
        except BaseException:
            run.heartbeat("failed")
            raise


def _recorded(stage: str, recipe: str, delivered: Path, root: Path) -> bool:
    """Whether dvc.lock has been written since, and says of the stage the parameters of now."""
    lock = root / "dvc.lock"
    if not lock.is_file() or lock.stat().st_mtime_ns < delivered.stat().st_mtime_ns:
        return False
    entry = (read_yaml(lock, ValueError).get("stages") or {}).get(f"{stage}@{recipe}")
    return entry is not None and entry.get("params", {}) == _params(stage_inputs(stage, recipe, root), root)


def _hold(lock: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        try:
            pid = json.loads(lock.read() or "{}").get("pid", "unknown")
        except ValueError:
            pid = "unknown"
        raise RunBusy(f"{folder} is held by process {pid}: wait for it, or stop it with `kill {pid}`") from None
    lock.seek(0)
    lock.truncate()
    lock.write(json.dumps({"schema": SCHEMA, "pid": os.getpid(), "started": time.time()}))
    lock.flush()


def _ancestors() -> tuple[int, ...]:
    """The parent's pid; of a shell that was told one command, as DVC starts stages, the pid of its own parent, too.

    Most shells put such a command in their own place: the parent is then DVC itself, and who started DVC, a login shell or make, may
    end long before it. The parent alone, too, where there is no /proc to tell of shells.
    """
    parent = os.getppid()
    try:
        name, facts = Path(f"/proc/{parent}/stat").read_text().split("(", 1)[1].rsplit(")", 1)
        told = Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0")[1:]
    except (OSError, IndexError, ValueError):
        return (parent,)
    options = takewhile(lambda word: word.startswith(b"-"), told)
    one_command = name in SHELLS and any(re.fullmatch(rb"-\w*c", word) for word in options)
    return (parent, int(facts.split()[1])) if one_command else (parent,)


def end_with_parent(kin: Callable[[], object] = _ancestors, every: float = 0.5) -> None:
    """Interrupts this process once ``kin`` says something else: its parent, or who had a shell start it, is gone."""
    family = kin()

    def watch() -> None:
        while kin() == family:
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
        os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def _exit(*_: object) -> None:
    raise SystemExit(143)


def fingerprint(stage: str, recipe: str, precision: str = "", root: Path = Path()) -> str:
    """12 hex digits over everything ``stage@recipe`` reads: files, recipe sections, models that they name, precision and versions."""
    digest = hashlib.sha256()

    def add(name: str, content: bytes) -> None:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)

    inputs = stage_inputs(stage, recipe, root)
    for path in inputs["deps"]:
        for file in sorted(_files(root / path)):
            add(str(file.relative_to(root)), file.read_bytes())
    for path, chosen in _params(inputs, root).items():
        add(path, json.dumps(chosen, sort_keys=True).encode())
        for section, key in GIVEN:
            if folder := (chosen.get(section) or {}).get(key):
                for file in sorted(_files(root / folder)):
                    add(f"{section}.{key} {file.name}", file.read_bytes())
    add("versions", f"{torch.__version__} {numpy.__version__} {precision}".encode())
    return digest.hexdigest()[:12]


def _params(inputs: dict[str, Any], root: Path) -> dict[str, dict[str, Any]]:
    """File → section → what stands there now."""
    documents = {path: read_yaml(root / path, ValueError) for path in inputs["params"]}
    return {path: {one: documents[path].get(one) for one in sections} for path, sections in inputs["params"].items()}


def _files(path: Path) -> list[Path]:
    """The files that identify a dependency; a dataset is identified by its ``dataset.json``, which holds a content hash."""
    if (path / "dataset.json").is_file():
        return [path / "dataset.json"]
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return [path] if path.exists() else []


def stage_inputs(stage: str, recipe: str, root: Path = Path()) -> dict[str, Any]:
    """``{"deps": [paths], "params": {file: [sections]}}`` of a ``foreach`` stage in dvc.yaml, for one of its items.

    Raises ValueError where dvc.yaml has no such stage.
    """
    stages = read_yaml(root / "dvc.yaml", ValueError)["stages"]
    if stage not in stages:
        raise ValueError(f"{root / 'dvc.yaml'} has no stage {stage}: its stages are {', '.join(stages)}")
    document, params = stages[stage], read_yaml(root / "params.yaml", ValueError)
    items = params[document["foreach"].strip("${}")]
    item = items[recipe] if isinstance(items, dict) else {}

    def fill(text: str) -> str:
        text = text.replace("${key}", recipe).replace("${item}", recipe)
        for name, value in item.items():
            text = text.replace(f"${{item.{name}}}", str(value))
        return text

    body = document["do"]
    listed: dict[str, list[str]] = {}
    for entry in body.get("params", []):
        for path, sections in entry.items():
            listed[fill(path)] = list(sections)
    return {"deps": [fill(path) for path in body.get("deps", [])], "params": listed}
