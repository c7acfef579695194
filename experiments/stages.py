"""The state of the pipeline from files alone: dvc.yaml, dvc.lock, params.yaml, the outs on disk and the heartbeats.

`dvc status` takes seconds and a lock; a page that refreshes every few seconds can have neither. What is compared here
is what DVC records: commands, parameter values, file hashes, and the hash each stage saw of another stage's out. Folders that no
stage makes are not hashed, so an edit inside one is noticed by `dvc status` alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import re
import shlex
import time
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from experiments.reading import number
from experiments.yaml_files import NO_YAML, load_quickly

FRESH_SECONDS = 300.0
LARGEST_HASHED = 64 * 2**20
REFERENCE = re.compile(r"\$\{\s*([\w.\-]+)\s*\}")


class Unreadable(Exception):
    """A file of the pipeline that cannot be understood."""

    def __init__(self, path: str, what: str):
        super().__init__(f"{path}: {what}")
        self.path, self.what = path, what


class Heartbeat(NamedTuple):
    """The last sign of life of one run; `state` is running, finished, failed, or crashed (silent for 5 minutes, and its process gone)."""

    run: str
    stage: str
    recipe: str
    state: str
    age_s: float
    seed: int | None
    step: float
    steps: float
    loss: float
    lr: float
    samples_per_s: float
    data_wait: float  # fraction of the wall time
    eta_s: float

    @property
    def where(self) -> str:
        """'step 740 of 1,200'; a stage that has just begun tells of no steps."""
        known = math.isfinite(self.step) and math.isfinite(self.steps)
        return f"step {self.step:,.0f} of {self.steps:,.0f}" if known else "has begun"


class StageState(NamedTuple):
    """One stage of the DAG: what it is, why, and the command that would bring it up to date."""

    name: str  # pretrain@digits
    stage: str
    key: str  # the recipe or dataset; '' for a stage without foreach
    state: str  # done | stale | running | failed | crashed | missing
    why: str
    command: str
    progress: float  # fraction of the steps of a running stage, else NaN


def repro(stage: str, key: str = "") -> str:
    """The command that brings one stage up to date; a hostile name stays one quoted word when it is pasted into a shell."""
    return "dvc repro " + shlex.quote(f"{stage}@{key}" if key else stage)


def what_next(recipe: str) -> str:
    """The commands that train and score a recipe that is listed: it alone, or everything."""
    alone, everything = repro("evaluate", recipe), repro("report")
    return f"{alone} (it alone; maestro scores and the app show it), or {everything} (everything that params.yaml lists, and a page of it)"


def split_run_name(run: str) -> tuple[str, str]:
    """'pretrain-my-digits-1f2e' → ('pretrain', 'my-digits')."""
    stage, _, rest = run.partition("-")
    return stage, rest.rpartition("-")[0] or rest


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
        except ValueError:
            return math.nan
    return number(value)


def heartbeats(runs: Path, now: float | None = None) -> list[Heartbeat]:
    """Every `runs/*/heartbeat.json`, newest first; a half-written or foreign one is passed over until its next beat."""
    now = time.time() if now is None else now
    found = []
    for file in sorted(runs.glob("*/heartbeat.json")) if runs.is_dir() else []:
        try:
            beat = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(beat, dict):
            continue
        stage, recipe = split_run_name(file.parent.name)
        age = now - _seconds(beat.get("time"))
        state = str(beat.get("state", "running"))
        if (file.parent / "DELIVERED").exists() and state == "running":
            state = "finished"
        if state == "running" and not age < FRESH_SECONDS and not _held(file.parent / "lock"):
            state = "crashed"
        seed = beat.get("seed")
        numbers = [number(beat.get(key)) for key in Heartbeat._fields[6:]]
        found.append(
            Heartbeat(
                file.parent.name,
                str(beat.get("stage", stage)),
                str(beat.get("recipe", recipe)),
                state,
                age,
                seed if isinstance(seed, int) else None,
                *numbers,
            )
        )
    return sorted(found, key=lambda b: (math.isnan(b.age_s), b.age_s, b.run))


def _held(lock: Path) -> bool:
    """Whether a living process holds the lock of a run folder: one whose steps take minutes has long been silent, and is well."""
    try:
        with open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _yaml(root: Path, name: str) -> dict[str, Any]:
    file = root / name
    if not file.is_file():
        return {}
    try:
        stat = file.stat()
        found = _parse_yaml(str(file), stat.st_mtime_ns, stat.st_size)
    except (*NO_YAML, OSError) as error:
        raise Unreadable(name, f"not readable as YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict):
        raise Unreadable(name, "is no YAML mapping")
    return found


@lru_cache(maxsize=256)
def _parse_yaml(path: str, mtime_ns: int, size: int) -> Any:
    return load_quickly(Path(path).read_text(encoding="utf-8")) or {}


@lru_cache(maxsize=4096)
def _md5(path: str, mtime_ns: int, size: int) -> str:
    return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


def recorded(root: Path, name: str) -> dict[str, Any]:
    """What dvc.lock says of a stage (``pretrain@digits``), {} where the files on disk are not those that it is of.

    Folders are not hashed: what they hold may differ. Raises Unreadable.
    """
    entry = (_yaml(root, "dvc.lock").get("stages") or {}).get(name) or {}
    for out in entry.get("outs") or []:
        file = root / str(out.get("path"))
        if not file.exists():
            return {}
        stat = file.stat()
        if file.is_file() and _md5(str(file), stat.st_mtime_ns, stat.st_size) != out.get("md5"):
            return {}
    return dict(entry)


def _lookup(tree: Any, dotted: str) -> Any:
    """tree['a']['b'] for 'a.b'; KeyError where it is not there."""
    for part in dotted.split("."):
        if not isinstance(tree, dict) or part not in tree:
            raise KeyError(dotted)
        tree = tree[part]
    return tree


class Written(NamedTuple):
    """What a stage runs and reads, as dvc.yaml says it with the values that params.yaml has now."""

    command: Any
    deps: list[str]
    params: dict[str, list[str]]  # file → keys


def written_stages(root: Path) -> dict[str, Written]:
    """Every stage of dvc.yaml in file order, `foreach` written out as DVC names it (`pretrain@digits`)."""
    described = _yaml(root, "dvc.yaml")
    values = {**_yaml(root, "params.yaml"), **_variables(described)}
    found = {}
    for name, body in (described.get("stages") or {}).items():
        body = body if isinstance(body, dict) else {}
        over = body.get("foreach")
        if over is None:
            found[str(name)] = _written(body, values)
            continue
        for key, item in _items(over, values).items():
            found[f"{name}@{key}"] = _written(body.get("do") or {}, {**values, "key": key, "item": item})
    return found


def _items(over: Any, values: dict[str, Any]) -> dict[str, Any]:
    """What a stage is repeated over: item by key; a list is keyed by its own items."""
    known = over
    if isinstance(over, str):
        reference = REFERENCE.fullmatch(over.strip())
        try:
            known = _lookup(values, reference[1]) if reference else None
        except KeyError:
            known = None
    return {str(key): known[key] if isinstance(known, dict) else key for key in known or []}


def _written(body: dict[str, Any], values: dict[str, Any]) -> Written:
    params: dict[str, list[str]] = {}
    for entry in body.get("params") or []:
        for file, keys in (entry if isinstance(entry, dict) else {"params.yaml": [entry]}).items():
            params.setdefault(_filled(file, values), []).extend(_filled(key, values) for key in keys or [])
    deps = [_filled(path, values) for path in body.get("deps") or []]
    said: Any = body.get("cmd")
    command = [_filled(one, values) for one in said] if isinstance(said, list) else _filled(said, values)
    return Written(command, deps, params)


def _filled(text: Any, values: dict[str, Any]) -> str:
    """A text with its references written out as DVC does; one that leads nowhere stays as it is."""

    def value(found: re.Match[str]) -> str:
        try:
            known = _lookup(values, found[1])
        except KeyError:
            return found[0]
        return str(known).lower() if isinstance(known, bool) else str(known)

    return REFERENCE.sub(value, str(text)) if "$" in str(text) else str(text)


def _variables(described: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in described.get("vars") or []:
        if isinstance(item, dict):
            found.update(item)
    return found


def _changed(root: Path, written: Written, locked: dict[str, Any], outs: dict[str, str]) -> str:
    """Why a stage that once ran no longer matches what dvc.yaml says and what is on disk; '' where it does.

    As with DVC, what a stage once read and reads no more makes no difference.
    """
    if written.command != locked.get("cmd"):
        return "its command in dvc.yaml has changed"
    deps = {str(dep.get("path", "")): dep for dep in locked.get("deps") or []}
    for path in written.deps:
        if path not in deps:
            return f"it reads {path} now, which it did not when it last ran"
    for file, keys in written.params.items():
        current, wanted = _yaml(root, file), (locked.get("params") or {}).get(file) or {}
        for key in keys or wanted:
            try:
                now = _lookup(current, key)
            except KeyError:
                now = current.get(key)
            if now != wanted.get(key):
                return f"{key} in {file} has changed"
    for path in written.deps:
        dep = deps[path]
        seen = dep.get("md5")
        if path in outs:
            if outs[path] != seen:
                return f"{path} was made anew"
            continue
        full = root / path
        if not full.exists():
            return f"{path} is gone"
        stat = full.stat()
        if not full.is_file() or not seen or stat.st_size > LARGEST_HASHED:
            continue
        if dep.get("size") not in (None, stat.st_size) or _md5(str(full), stat.st_mtime_ns, stat.st_size) != seen:
            return f"{path} has changed"
    return ""


def pipeline_state(root: Path, beats: list[Heartbeat]) -> list[StageState]:
    """One record per stage, in the order of dvc.yaml; raises Unreadable where a file of DVC or of params is broken."""
    lock = _yaml(root, "dvc.lock").get("stages") or {}
    outs = {str(o.get("path")): str(o.get("md5")) for body in lock.values() for o in body.get("outs") or []}
    latest: dict[tuple[str, str], Heartbeat] = {}
    for beat in beats:
        latest.setdefault((beat.stage, beat.recipe), beat)
    found: list[StageState] = []
    behind: set[str] = set()  # outs of stages that are not up to date
    for name, written in written_stages(root).items():
        stage, _, key = name.partition("@")
        locked = lock.get(name)
        last = latest.get((stage, key))
        progress = math.nan
        if locked is None:
            state, why = "missing", "has never run here"
        else:
            gone = [str(o.get("path")) for o in locked.get("outs") or [] if not (root / str(o.get("path"))).exists()]
            why = f"{gone[0]} is not on disk" if gone else _changed(root, written, locked, outs)
            waiting = [path for path in written.deps if path in behind]
            if not why and waiting:
                why = f"{waiting[0]} is to be made anew"
            state = "missing" if gone else "stale" if why else "done"
        if last is not None and last.state == "running":
            state, why = "running", last.where
            progress = last.step / last.steps if last.steps > 0 else math.nan
        elif last is not None and last.state in ("failed", "crashed") and state != "done":
            state = last.state
            why = (
                "the last run failed"
                if state == "failed"
                else f"it has given no sign of life for {last.age_s / 60:.0f} min and seems to have crashed"
            )
        if state != "done":
            behind.update(str(o.get("path")) for o in (locked or {}).get("outs") or [])
        found.append(StageState(name, stage, key, state, why, repro(stage, key), progress))
    return found
