"""What a mask costs: milliseconds of one core for 256 samples of 64 cells, every strategy: ``python -m benchmarks.masks``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from benchmarks.rows import Row, compare, publish
from mae_core.cells import Cells, Context, Taught
from mae_core.draws import Draws
from mae_core.masking import MASKERS
from mae_core.masking.making import make_masker
from mae_core.masking.plan import plan_from_scores

BATCH, SIDE, RATIO = 256, 8, 0.75
DETAILS = ("variance", "edges", "motion")


def timed(strategy: str, step: int) -> float:
    """Milliseconds of the process from cells to a plan."""
    masker, draws, cells, context = make_masker({"strategy": strategy}), Draws(0, step, torch.arange(BATCH)), *given()
    began = time.process_time()
    plan_from_scores(masker.score(cells, draws, context).scores, RATIO)
    return (time.process_time() - began) * 1000


def given() -> tuple[Cells, Context]:
    """A batch on a square grid, with what a modality would measure of it and a teacher say."""
    places = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    cells = Cells(None, torch.stack(places, -1).view(-1, 2).float())
    measure = torch.rand(BATCH, SIDE * SIDE, generator=torch.Generator().manual_seed(0))
    return cells, Context(
        details=dict.fromkeys(DETAILS, measure), teacher=Taught(attention=measure, difficulty=measure)
    )


def rows(rounds: int, command: str, measure: Callable[[str, int], float] = timed) -> list[Row]:
    """A row for each strategy, beside ``random`` in the same round."""
    found: dict[str, list[float]] = {strategy: [] for strategy in MASKERS}
    for step in range(rounds + 1):  # the first round warms up
        for strategy, series in found.items():
            series.append(measure(strategy, step))
    base = found["random"][1:]
    return [
        compare(f"mask_{name}_vs_random_ms_per_256x64_cells", series[1:], base, command)
        for name, series in found.items()
    ]


def main() -> None:
    """Measures and publishes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    publish("masks", rows(rounds, f"python -m benchmarks.masks --rounds {rounds}"))


if __name__ == "__main__":
    main()
