"""What a search knows so far, as lines of a file: a killed search reads them and goes on from there."""

from __future__ import annotations

import json
import os
from pathlib import Path

from experiments.halving import Job, Outcome, identity


def append(path: Path, outcome: Outcome, seconds: float) -> None:
    """Adds one line, on disk before this returns; the torn line of a killed writer is closed first."""
    line = json.dumps({**outcome._asdict(), "job": outcome.job._asdict(), "seconds": round(seconds, 3)})
    with open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> dict[str, Outcome]:
    """Outcomes by the identity of their job; lines that are not whole are left out, so their jobs run again."""
    known = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
            del row["seconds"]
            outcome = Outcome(**{**row, "job": Job(**row["job"])})
        except (ValueError, TypeError, KeyError):
            continue  # the writer was killed inside this line
        known[identity(outcome.job)] = outcome
    return known
