"""A training on 8 to 512 GPUs, on paper: what each worker sends in a step, how long a step lasts, and what is left of so many times one."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.forecast import GPU_SHARE, duration
from experiments.resolving import Resolved
from mae_core.communication import Step, steps_of
from mae_core.flops import PEAK
from mae_core.memory import MB


def steps_on(resolved: Resolved, workers: Sequence[int], gpu: str, strategy: str) -> list[Step]:
    """One worker, then each of ``workers``: the recipe's batch is shared by all of them.

    Raises ValueError where a GPU's peak is not known or a batch is smaller than the number of workers.
    """
    if gpu not in PEAK:
        raise ValueError(f"the peak of {gpu!r} is not known: there are {', '.join(PEAK)}")
    return steps_of(resolved.config, resolved.settings.batch_size, (1, *workers), PEAK[gpu] * GPU_SHARE, strategy)


def lines(resolved: Resolved, workers: Sequence[int], gpu: str, strategy: str) -> list[tuple[str, str]]:
    """What there is to say of each number of workers, as names and texts."""
    one, *others = steps_on(resolved, workers, gpu, strategy)
    return [(f"on paper, {step.workers} × {gpu}", _said(step, one, resolved.settings.steps)) for step in others]


def _said(step: Step, one: Step, steps: int) -> str:
    least, most = (one.computing_s / seconds for seconds in (step.slowest_s, step.fastest_s))
    times = f"{least:.1f} to {most:.1f}" if most - least > 0.05 else f"{most:.1f}"
    return (
        f"{step.rows} samples each, {step.sent_bytes / MB:.0f} MB sent by each a step; {times} times as fast as one, "
        f"{duration(steps * step.fastest_s)} to {duration(steps * step.slowest_s)} ({GPU_SHARE:.0%} of the peak assumed)"
    )
