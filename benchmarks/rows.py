"""What every benchmark ends with: a table for people and ``benchmarks/out/<name>.json`` for machines."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mae_core.atomic import write_text
from mae_core.evaluation.statistics import over_seeds

SCHEMA = 1
OUT = Path(__file__).parent / "out"
RESAMPLES = 2000


class Ratio(NamedTuple):
    """Of two paired measurements, with its 95 % interval; ``low`` and ``high`` are NaN where none can be given."""

    ratio: float
    low: float
    high: float


class Row(NamedTuple):
    """One comparison. Numbers that were not measured are None."""

    name: str
    """Says the comparison and its unit, such as ``ray_one_worker_vs_fit_ms_per_step``."""
    ours: float
    baseline: float | None
    ratio: float | None
    """ours / baseline, paired within a round."""
    low: float | None
    high: float | None
    n: int
    """Rounds."""
    command: str
    """What makes it again."""
    facts: dict[str, Any] = {}  # noqa: RUF012 - read, never written to
    """What else was measured, by name and unit."""


def paired(ours: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """ours / baseline of rounds in which both were measured in turn: the geometric mean, with Student's t interval of the mean log ratio.

    No interval below three rounds. (A bootstrap of their median would cover 75 % at three rounds, 50 % at two and nothing at one.)
    Raises ValueError where the rounds do not match.
    """
    if len(ours) != len(baseline) or not len(ours):
        raise ValueError(
            f"{len(ours)} rounds of ours and {len(baseline)} of the baseline: they are compared round by round"
        )
    # of a round of nothing the mean is 0 or ∞, without an interval
    with np.errstate(divide="ignore", invalid="ignore"):
        found = over_seeds(np.log(np.asarray(ours, float) / np.asarray(baseline, float)), "rounds")
    return Ratio(*(float(np.exp(end)) for end in found[:3]))


def ratio_of_means(ours: np.ndarray, baseline: np.ndarray, root: bool = False) -> Ratio:
    """Σ ours / Σ baseline of (n,) items, with its bootstrap interval over items; its root for RMSE."""
    picks = np.random.default_rng(0).integers(0, len(ours), (RESAMPLES, len(ours)))
    shares = ours[picks].sum(1) / np.maximum(baseline[picks].sum(1), 1e-12)
    low, high = np.quantile(shares, [0.025, 0.975])
    whole = float(ours.sum() / max(baseline.sum(), 1e-12))
    return Ratio(*(float(np.sqrt(x)) if root else float(x) for x in (whole, low, high)))


def compare(name: str, ours: Sequence[float], baseline: Sequence[float], command: str, **facts: Any) -> Row:
    """The row of two series of rounds: their medians, and the mean of their paired ratios with its interval, where there is one."""
    ratio, *ends = paired(ours, baseline)
    low, high = (None if np.isnan(end) else end for end in ends)
    return Row(name, float(np.median(ours)), float(np.median(baseline)), ratio, low, high, len(ours), command, facts)


def table(rows: Sequence[Row]) -> str:
    """A line per row, in columns."""
    wide = max((len(row.name) for row in rows), default=0)
    lines = [f"{'':<{wide}} {'ours':>10} {'baseline':>10} {'ratio':>7}  95 % interval   n"]
    for row in rows:
        spread = "–" if row.low is None else f"[{row.low:.3f}, {row.high:.3f}]"
        lines.append(
            f"{row.name:<{wide}} {_number(row.ours):>10} {_number(row.baseline):>10} {_number(row.ratio):>7}  {spread:<15} {row.n}"
        )
        lines += [f"{'':<{wide}}   {name} {_number(value)}" for name, value in row.facts.items()]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": _cpu(), "threads": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}


def publish(name: str, rows: Sequence[Row], out: Path = OUT) -> Path:
    """Prints the table and writes ``<out>/<name>.json``; returns that path."""
    print(table(rows))
    path = out / f"{name}.json"
    content = {"schema": SCHEMA, "machine": machine(), "rows": [row._asdict() for row in rows]}
    write_text(path, json.dumps(content, indent=2) + "\n")
    print(path)
    return path


def _cpu() -> str:
    """The processor's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
