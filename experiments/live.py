"""What the run folders of searches tell: how far one is that runs, which of its trials have ended, and what each proxy took."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from experiments.columns import TRIAL_COLUMNS
from experiments.outcomes import LEDGER
from experiments.results import Store
from experiments.stages import Heartbeat

MOST_LINES = 5000


class Live(NamedTuple):
    """A search that has not delivered yet."""

    beat: Heartbeat
    trials: pd.DataFrame
    """``TRIAL_COLUMNS`` and the searched keys of what has ended; ``score`` is empty where it is made of ranks."""
    reasons: dict[tuple[int, int], str]
    """Why trials failed, by trial and rung."""


def live(root: Path, beats: list[Heartbeat], recipe: str) -> Live | None:
    """The newest search of ``recipe`` (``beats`` newest first) where it runs, has failed or crashed; None where it has delivered."""
    beat = next((b for b in beats if b.stage == "search" and b.recipe == recipe), None)
    if beat is None or beat.state == "finished":
        return None
    rows = [row for line in _lines(root / "runs" / beat.run / LEDGER) if (row := _row(line))]
    return Live(beat, pd.DataFrame(rows, columns=None if rows else TRIAL_COLUMNS), _reasons(root, beat.run))


def under_way(found: Store) -> dict[str, Live]:
    """Declared recipes whose newest search has not delivered, with how far it is.

    One that failed or crashed counts only where the stage is not up to date: else results of another run of it are back, made before or
    taken from DVC's cache.
    """
    beats = found.heartbeats()
    known = ((name, live(found.root, beats, name)) for name in found.recipe_names(with_results=False))
    now = {name: one for name, one in known if one is not None}
    if all(one.beat.state == "running" for one in now.values()):
        return now
    done = {stage.key for stage in found.pipeline_state() if stage.stage == "search" and stage.state == "done"}
    return {name: one for name, one in now.items() if one.beat.state == "running" or name not in done}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-MOST_LINES:]
    except OSError:
        return []


def _row(line: str) -> dict[str, Any]:
    """A trial of a line of outcomes.jsonl; {} for one that is torn or of another layout."""
    try:
        found = json.loads(line)
        job, measures = found["job"], found["measures"]
        score = next(iter(measures.values())) if len(measures) == 1 else math.nan
        row = {
            "trial": job["trial"], "rung": job["rung"], "origin": job["origin"], "seed": job["seed"],
            "status": "failed" if found["failure"] else "complete", "steps": found["steps"], "flops": found["flops"],
            "parameters": found["parameters"], "score": score, "loss": found["loss"],
        }  # fmt: skip
        return {**{name: row[name] for name in TRIAL_COLUMNS}, **job["chosen"]}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def failures(found: Store, recipe: str) -> dict[tuple[int, int], str]:
    """Why trials failed, by trial and rung, of the newest search on this machine that delivered; of others no file says it."""
    ended = [b for b in found.heartbeats() if b.stage == "search" and b.recipe == recipe and b.state == "finished"]
    return _reasons(found.root, ended[0].run) if ended else {}


def _reasons(root: Path, run: str) -> dict[tuple[int, int], str]:
    told = {}
    for line in _lines(root / "runs" / run / LEDGER):
        if _row(line).get("status") == "failed":
            outcome = json.loads(line)
            told[outcome["job"]["trial"], outcome["job"]["rung"]] = str(outcome["failure"])
    return told


def proxy_seconds(found: Store, recipe: str) -> dict[str, float]:
    """Mean wall-clock seconds of each proxy of a trial, of the newest search on this machine; {} where there is none."""
    timings = found.timings()
    if "proxy_seconds" not in timings:
        return {}
    rows = timings[timings["stage"].eq("search") & timings["recipe"].eq(recipe)]
    told = rows["proxy_seconds"].iloc[-1] if len(rows) else None
    return {str(k): float(v) for k, v in told.items() if isinstance(v, int | float)} if isinstance(told, dict) else {}
