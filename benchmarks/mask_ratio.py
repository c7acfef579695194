"""Mask strategy × ratio, beside random masks of 75 %: ``python -m benchmarks.mask_ratio --dataset NAME``.

Each strategy's trials are the ratios, the baseline's as many learning rates; see ``benchmarks.variants`` for how they are compared.
"""

from __future__ import annotations

from benchmarks.sweep_command import command_line
from benchmarks.variants import Table, Trial

RATIOS = (0.4, 0.55, 0.65, 0.75, 0.85)
RATES = (1.0, 0.5, 0.7, 1.4, 2.0)
STRATEGIES = {
    "image": ("random", "grid", "block", "multi_block", "coarse"),
    "audio": ("random", "line", "stripe", "block", "coarse"),
}


def at(strategy: str, ratio: float) -> Trial:
    """One cell of the grid."""
    return Trial({"masking.strategy": strategy, "masking.ratio": ratio})


def grid(modality: str) -> tuple[Trial, ...]:
    """Every strategy at every ratio."""
    return tuple(at(strategy, ratio) for strategy in STRATEGIES[modality] for ratio in RATIOS)


def table(modality: str) -> Table:
    """The baseline, then a variant for each strategy."""
    baseline = tuple(Trial(at("random", 0.75).changes, rate) for rate in RATES)
    return {"random_75": baseline} | {
        strategy: tuple(at(strategy, ratio) for ratio in RATIOS) for strategy in STRATEGIES[modality]
    }


def main(arguments: list[str] | None = None) -> None:
    """Trains what is not there yet and publishes the table."""
    command_line("mask_ratio", __doc__, {modality: table(modality) for modality in STRATEGIES}, arguments)


if __name__ == "__main__":
    main()
