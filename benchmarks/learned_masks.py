"""What a learned mask finds where a good one is known: ``python -m benchmarks.learned_masks``.

49 cells, 4 of which hold the class, 5 visible. Then as many cells of noise are added, on which rewards for high or low reconstruction
error both fail: the one hides the noise, the other keeps looking at it. Every figure is of pictures that were never trained on. Each
training is a file of ``benchmarks/out/learned_masks``, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.commands import again, table_name
from benchmarks.planted import CELL, GRID, TELLING, Planted, planted
from benchmarks.rows import OUT, Row, publish
from benchmarks.spread import file_of, problem_of, spread
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start

VISIBLE = 5
TRAIN, UNSEEN = 20_000, 1000
NOISY = 4
POLICIES: dict[str, dict[str, Any]] = {
    "random": {},
    "low_error": {"reward": "error", "seek": "low"},
    "low_error_ppo": {"reward": "error", "seek": "low", "update": "ppo"},
    "high_error": {"reward": "error", "seek": "high"},
    "probe": {"reward": "probe"},
}
"""Name → options of ``policy``; the first is random masking."""
PLAN = {
    "clean": ("random", "low_error", "low_error_ppo", "probe"),
    "noisy": ("random", "low_error", "high_error", "probe"),
}
"""Pictures → the policies that are trained on them."""
REPEATED = ("seeds", "steps", "kinds", "policies")
"""Options that decide what stands in a table; its name tells of all but the seeds."""


class Cell(NamedTuple):
    """One training."""

    kind: str
    """A row of ``PLAN``."""
    policy: str
    seed: int
    steps: int

    @property
    def noisy(self) -> int:
        """Cells of noise in each picture."""
        return NOISY if self.kind == "noisy" else 0

    @property
    def settings(self) -> Settings:
        """How it is trained."""
        return Settings(steps=self.steps, batch_size=64, lr=2e-3, precision="fp32", seed=self.seed)

    @property
    def file(self) -> str:
        """Another one for everything that changes what is trained and measured."""
        return file_of(config_of(self.policy), asdict(self.settings), self.noisy, TRAIN, UNSEEN)


def config_of(policy: str) -> dict[str, Any]:
    """A model of seconds a thousand steps."""
    cells = GRID * GRID
    masking: dict[str, Any] = {"strategy": "random", "ratio": 1 - VISIBLE / cells}
    if POLICIES[policy]:
        masking |= {"strategy": "policy", "options": {"plans": 4, "random": 0.1, "rate": 3e-3, **POLICIES[policy]}}
    return {
        "modality": {
            "kind": "image",
            "channels": 1,
            "size": [GRID * CELL] * 2,
            "patch": CELL,
            "mean": [0.5],
            "std": [0.2],
        },
        "encoder": {"kind": "vit", "width": 32, "depth": 2, "heads": 2},
        "decoder": {"kind": "joint", "width": 32, "depth": 1, "heads": 2},
        "masking": masking,
        "objective": {"reconstruction": 1.0, "target": "pixels"},
    }


def train(cell: Cell) -> str:
    """Trains and measures; what a cell's file says: shares, the process's seconds of CPU time, and what the masks showed at the end."""
    pictures, state = planted(TRAIN, cell.noisy, cell.seed), start(config_of(cell.policy), cell.settings)
    began, parts, every = time.process_time(), {}, max(cell.steps // 10, 1)
    for progress in fit(state, pictures.samples, cell.settings, report_every=every, labels=pictures.labels):
        parts = progress.masks
    seconds = time.process_time() - began
    shares = visible_shares(state.result().eval(), planted(UNSEEN, cell.noisy, 10_000 + cell.seed))
    return json.dumps({**shares, "cpu_s": seconds, **parts}) + "\n"


@torch.no_grad()
def visible_shares(model: MaskedAutoencoder, unseen: Planted) -> dict[str, float]:
    """Of unseen pictures under sampled masks: the shares of telling and of noisy cells that are visible."""
    raw = torch.from_numpy(unseen.samples)
    keep = model.plan(raw, model.ratio, model.config["masking"]["strategy"], seed=1).keep.numpy()
    seen = np.zeros(unseen.telling.shape, bool)
    np.put_along_axis(seen, keep, True, 1)
    found = {"telling_visible": float(seen[unseen.telling].mean())}
    return found | ({"noise_visible": float(seen[unseen.noise].mean())} if unseen.noise.any() else {})


def run(cells: Sequence[Cell], kept: Path, workers: int = 1) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The figures of all trainings by pictures and policy, from ``kept`` where they were done before.

    Raises RuntimeError where one could not be trained.
    """
    told: dict[str, dict[str, Any]] = {}
    for cell, text in spread(cells, kept, train, workers):
        if problem := problem_of(text):
            raise RuntimeError(f"{cell}: {problem}; remove {kept / cell.file} to have it tried again")
        told[cell.file] = found = json.loads(text)
        shown = {name: round(value, 3) for name, value in found.items() if isinstance(value, float)}
        print(cell.kind, cell.policy, cell.seed, shown, flush=True)
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        results.setdefault((cell.kind, cell.policy), []).append(told[cell.file])
    return results


def rows_of(results: dict[tuple[str, str], list[dict[str, Any]]], command: str) -> list[Row]:
    """A row for each policy: the mean share of telling cells that are visible, beside that of random masks."""
    rows = []
    for (kind, policy), found in results.items():
        ours = [one["telling_visible"] for one in found]
        base = float(np.mean([one["telling_visible"] for one in results[kind, "random"]]))
        facts = {
            "worst seed": min(ours),
            "CPU seconds": float(np.mean([one["cpu_s"] for one in found])),
        }
        if kind == "noisy":
            facts |= {
                "noise visible": float(np.mean([one["noise_visible"] for one in found])),
                "noise visible at random": VISIBLE / GRID**2,
            }
        mean = float(np.mean(ours))
        rows.append(
            Row(
                f"{kind}_{policy}_telling_cells_visible", mean, base, mean / base, None, None, len(ours), command, facts
            )
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is not there yet, and publishes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--kinds", nargs="*", default=list(PLAN), choices=list(PLAN))
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--kept", type=Path, default=OUT / "learned_masks")
    parser.add_argument("--workers", type=int, default=1, help="trainings at once, each with one thread")
    given = parser.parse_args(arguments)
    lost = [name for name in given.policies if not any(name in PLAN[kind] for kind in given.kinds)]
    if lost and given.policies != list(POLICIES):
        parser.error(f"--kinds {' '.join(given.kinds)} trains no {', '.join(lost)}: {PLAN}")
    torch.set_num_threads(1)
    command = again("python -m benchmarks.learned_masks", given, REPEATED)
    cells = [
        Cell(kind, policy, seed, given.steps)
        for kind in given.kinds
        for policy in PLAN[kind]
        if policy in (*given.policies, "random")
        for seed in range(given.seeds)
    ]
    results = run(cells, given.kept, given.workers)
    print(f"{TELLING} of {GRID**2} cells tell the class, {VISIBLE} are visible")
    publish(table_name("learned_masks", parser, given, REPEATED[1:]), rows_of(results, command), given.kept.parent)


if __name__ == "__main__":
    main()
