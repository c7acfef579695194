"""A search that is running: how far it is, and the trials that have ended, from its run folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from experiments.columns import TRIAL_COLUMNS
from experiments.stages import Heartbeat

MOST_LINES = 5000


class Live(NamedTuple):
    """A search that has not delivered yet."""

    beat: Heartbeat
    trials: pd.DataFrame
    """``TRIAL_COLUMNS`` and the searched keys of what has ended; ``score`` is empty where it is made of ranks."""


def live(root: Path, beats: list[Heartbeat], recipe: str) -> Live | None:
    """The newest search of ``recipe`` (``beats`` newest first) where it runs, has failed or crashed; None where it has delivered."""
    beat = next((b for b in beats if b.stage == "search" and b.recipe == recipe), None)
    if beat is None or beat.state == "finished":
        return None
    rows = [row for line in _lines(root / "runs" / beat.run / "outcomes.jsonl") if (row := _row(line))]
    return Live(beat, pd.DataFrame(rows, columns=None if rows else TRIAL_COLUMNS))


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
