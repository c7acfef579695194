"""ON PAPER: ViT-B and ViT-L with the batch of the MAE paper on 8 to 512 GPUs, beside one. Nothing is run.

``python -m benchmarks.many_gpus`` writes benchmarks/out/many_gpus.json. Computing is taken from the analytic FLOPs at the share of an
H100's peak that ``benchmarks.gpu`` found, what workers send from ``mae_core.communication``. A row holds the step with nothing of the
talking hidden, the facts the one with all hidden that can be.
"""

from __future__ import annotations

import argparse

from benchmarks.gpu import SIZES, config_of
from benchmarks.rows import Row, publish
from mae_core.communication import Links, steps_of
from mae_core.flops import PEAK
from mae_core.memory import MB

BATCH = 4096
"""Of all GPUs together (He et al. 2022, appendix)."""
SHARES = {"vit_b": 0.26, "vit_l": 0.32}
"""Of the peak, as ``python -m benchmarks.gpu --compile`` measured on one H100 at 256 samples."""
GPUS = (8, 64, 512)


def rows(name: str, command: str) -> list[Row]:
    """Of one size, for both strategies: milliseconds a step, beside one GPU that does the whole batch alone."""
    found = []
    for strategy in ("ddp", "fsdp2"):
        one, *steps = steps_of(config_of(SIZES[name]), BATCH, (1, *GPUS), PEAK["H100"] * SHARES[name], strategy)
        for step in steps:
            ms, alone = 1000 * step.slowest_s, 1000 * one.computing_s
            facts = {
                "sent_mb_by_each": step.sent_bytes / MB,
                "talking_ms": 1000 * step.talking_s,
                "computing_ms": 1000 * step.computing_s,
                "ms_with_all_hidden_that_can_be": 1000 * step.fastest_s,
                "efficiency": alone / ms / step.workers,
                "efficiency_at_best": step.computing_s / step.fastest_s,
            }
            label = f"{name}_on_{step.workers}_gpus_{strategy}_vs_one_ms_per_step"
            found.append(Row(label, ms, alone, ms / alone, None, None, 1, command, facts))
    return found


def main() -> None:
    """Computes, prints and writes."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    command = "python -m benchmarks.many_gpus"
    print(f"on paper: {Links()}")
    publish("many_gpus", [row for name in SIZES for row in rows(name, command)])


if __name__ == "__main__":
    main()
