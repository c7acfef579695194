"""Cells of a sweep over several processes: each is measured once and is one file, so that a sweep that was stopped goes on where it was.

A training that diverges, is refused or runs out of memory is a file, too, which says so: the others go on, and nobody trains it again.
A file says of which sources it is, and a sweep how many of what it finds are of others than today's.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

import mae_core
from experiments.pool import begin_worker, lost_workers
from mae_core.atomic import write_text
from mae_core.draws import key
from mae_core.training.loop import TrainingDiverged

FAILURES = (TrainingDiverged, ValueError, torch.OutOfMemoryError, MemoryError)
"""What ends one training and would end it again; anything else is a fault of the code or of the machine."""
WORDS = 300
"""Letters of a failure that are kept, at most."""


class Cell(Protocol):
    """What is measured; another file name for everything that changes the outcome."""

    @property
    def file(self) -> str: ...


Some = TypeVar("Some", bound=Cell)


class TimeSpent(RuntimeError):
    """A sweep whose table needs every cell came to the end of its time."""

    def __init__(self, done: int, asked: int, folder: Path) -> None:
        super().__init__(
            f"the time was spent: {done} of {asked} trainings are done and kept in {folder}. Start the same command again to go on, "
            "or give it more --most-minutes"
        )


def file_of(*told: Any) -> str:
    """A file's name, another one for everything that is told (of what JSON holds); of what the code does it knows nothing."""
    return f"{key(json.dumps(told, sort_keys=True)):016x}.json"


@cache
def sources() -> str:
    """12 hex digits of what trains and measures here: of every module of ``mae_core``."""
    digest, folder = hashlib.sha256(), Path(mae_core.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def problem_of(text: str) -> str:
    """Why the cell whose file says ``text`` could not be measured; '' where it was."""
    return str(json.loads(text).get("problem", ""))


def spread(
    wanted: Sequence[Some],
    folder: Path,
    measure: Callable[[Some], str],
    processes: int = 1,
    until: float = math.inf,
) -> Iterator[tuple[Some, str]]:
    """Every wanted cell with what its file in ``folder`` says, as they end: first those that are there already.

    Args:
        wanted: cells; with several processes they have to be picklable, like ``measure``, and are started in this order.
        measure: gives the text of a cell's file, a mapping as JSON, which is written in one step. Where it ends in one of ``FAILURES``,
            the file says why (``problem_of``), and is to be removed by who wants another try.
        processes: started afresh, each with one thread, and gone when this one is; 1 = measured here.
        until: of ``time.time()``; what would begin later is left out.

    Raises RuntimeError where a process is killed.
    """
    found = {cell.file: (folder / cell.file).read_text() for cell in wanted if (folder / cell.file).is_file()}
    if others := sum(json.loads(text).get("sources") != sources() for text in found.values()):
        print(
            f"{others} of {len(wanted)} are of other sources of mae_core than today's. Where a change may matter, remove their files, and "
            f"they are measured again: `grep -L {sources()} {folder}/{'?' * 16}.json` lists all such",
            flush=True,
        )
    missing = [cell for cell in wanted if cell.file not in found]
    yield from ((cell, found[cell.file]) for cell in wanted if cell.file in found)
    one = partial(_kept, folder, measure, until)
    if processes == 1 or len(missing) < 2:
        yield from ((cell, text) for cell in missing if (text := one(cell)) is not None)
        return
    # spawned, for a forked process can neither use a GPU that its parent has used nor torch's threads
    context = multiprocessing.get_context("spawn")
    advice = (
        f"What is done is kept in {folder}: start the same command again, with fewer --workers where memory is short"
    )
    with lost_workers(advice), ProcessPoolExecutor(min(processes, len(missing)), context, begin_worker) as pool:
        running = {pool.submit(one, cell): cell for cell in missing}
        try:
            for done in as_completed(running):
                if (text := done.result()) is not None:
                    yield running[done], text
        finally:
            pool.shutdown(cancel_futures=True)


def _kept(folder: Path, measure: Callable[[Some], str], until: float, cell: Some) -> str | None:
    """Measures a cell and writes its file; None where it is too late to begin."""
    if time.time() > until:
        return None
    try:
        text = measure(cell)
    except FAILURES as problem:
        text = json.dumps({"problem": f"{type(problem).__name__}: {' '.join(str(problem).split())[:WORDS]}"})
    text = json.dumps({**json.loads(text), "sources": sources()}) + "\n"
    write_text(folder / cell.file, text)
    return text
