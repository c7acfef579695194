"""The progress of a training as lines that can be read and grepped, made from the run folder's log."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

EVERY_S = 5.0
"""Seconds between two lines."""


def line(recipe: str, row: dict[str, Any]) -> str:
    """``pretrain digits seed-0  step 1200/3000 …`` of one row of the log; the data wait is a share of the time."""
    minutes, seconds = divmod(round(row["eta_s"]), 60)
    parts = [
        f"{recipe} {row['name']}",
        f"step {row['step']}/{row['steps']}",
        f"loss {row['loss']:.4f}",
        f"lr {row['lr']:.2e}",
        f"{row['samples_per_s']:.0f} samples/s",
        f"data wait {row['data_wait']:.1%}",
        f"ETA {minutes}:{seconds:02d}",
    ]
    if row.get("mfu"):
        parts.insert(5, f"MFU {row['mfu']:.0%}")
    return "  ".join(parts)


class Printer:
    """Prints what a training logs, one line every few seconds and the last one; a context manager."""

    def __init__(self, folder: Path, recipe: str, name: str, every: float = EVERY_S) -> None:
        self.path, self.recipe, self.name, self.every = folder / "log.jsonl", recipe, name, every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="progress")

    def __enter__(self) -> Printer:
        self._at = self.path.stat().st_size if self.path.exists() else 0
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _follow(self) -> None:
        over = False
        while not over:
            over = self._end.wait(self.every)
            rows = self._new()
            for row in rows:
                if row.get("event") == "resumed":
                    print(f"{self.recipe} {self.name}  resumed at step {row['step']}", flush=True)
            steps = [row for row in rows if row.get("loss") is not None]
            if steps:
                print(line(self.recipe, steps[-1]), flush=True)

    def _new(self) -> list[dict[str, Any]]:
        """Whole rows of this training that were appended since the last look."""
        if not self.path.exists():
            return []
        with open(self.path, "rb") as file:
            file.seek(self._at)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._at += len(whole)
        rows = []
        for entry in whole.splitlines():
            try:
                rows.append(json.loads(entry))
            except ValueError:
                continue  # a writer was killed inside this line
        return [row for row in rows if row.get("name") == self.name]
