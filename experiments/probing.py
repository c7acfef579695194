"""What the stages that probe models have in common: a claimed run, features that are extracted once, processes that share the work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from experiments.pool import AllOf, counted, pool
from experiments.publish import publish
from experiments.runs import claim, fingerprint
from experiments.subjects import Shelf, device
from mae_core.training.precision import choose_precision


class Probing(NamedTuple):
    """A stage at work."""

    mark: str
    """Its fingerprint."""
    shelf: Shelf
    run_all: AllOf


@contextmanager
def probing(stage: str, name: str, root: Path, workers: int | None) -> Iterator[Probing]:
    """The run of a stage, from its claim to its timing and its MLflow runs; ``workers`` processes, one per core by default.

    What the block has written is handed over when it ends; after an error the run stays, and the next one goes on with its features.
    """
    precision = choose_precision("auto", device())
    mark = fingerprint(stage, name, precision.name, root)
    with claim(stage, name, mark, root) as run:
        began = time.perf_counter()
        shelf = Shelf(run.folder / "features")
        with pool(workers) as run_all:
            yield Probing(mark, shelf, counted(run, run_all))
        run.timing(
            seconds=round(time.perf_counter() - began, 2),
            device=device().type,
            precision=precision.name,
            reason=precision.reason,
        )
        shelf.clear()
        run.delivered()
    publish(root, stage, name, mark)
