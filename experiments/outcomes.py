"""What a search knows so far, as lines of a file: a killed search reads them and goes on from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from experiments.halving import Job, Outcome, identity
from experiments.runs import append_line

LEDGER = "outcomes.jsonl"
"""What a search leaves in its run folder: its trials, which say whether those on disk are its own."""


def append(path: Path, outcome: Outcome, seconds: float, proxy_seconds: dict[str, float] | None = None) -> None:
    """Adds one line, on disk before this returns; the torn line of a killed writer is closed first."""
    took = {name: round(value, 4) for name, value in (proxy_seconds or {}).items()}
    clock = {"seconds": round(seconds, 3), "proxy_seconds": took}
    append_line(path, json.dumps({**outcome._asdict(), "job": outcome.job._asdict(), **clock}))


def read(path: Path) -> dict[str, Outcome]:
    """Outcomes by the identity of their job; lines that are not whole are left out, so their jobs run again."""
    found = (outcome for outcome, _, _ in _lines(path))
    return {identity(outcome.job): outcome for outcome in found}


def read_seconds(path: Path) -> tuple[float, dict[str, list[float]]]:
    """What the known trials took together, and each of their proxies."""
    total = 0.0
    proxies: dict[str, list[float]] = {}
    for _, seconds, took in _lines(path):
        total += seconds
        for name, value in took.items():
            proxies.setdefault(name, []).append(value)
    return total, proxies


def _lines(path: Path) -> Iterator[tuple[Outcome, float, dict[str, float]]]:
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
            seconds, took = row.pop("seconds"), row.pop("proxy_seconds")
            outcome = Outcome(**{**row, "job": Job(**row["job"])})
        except (ValueError, TypeError, KeyError):
            continue  # the writer was killed inside this line
        yield outcome, seconds, took
