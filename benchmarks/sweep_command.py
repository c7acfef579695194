"""What every sweep over variants is as a command: its options, its cost, the table that it publishes."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.rows import OUT, publish
from benchmarks.variants import FINALISTS, LEAST_SEEDS, MEASURES, Sweep, Table, Trial, opened, recipe_with, rows_of, run
from experiments.resolving import resolve
from mae_core.atomic import write_text
from mae_core.flops import train_flops
from mae_core.training.loop import fit, start

MOST_SEEDS = 60
REPEATED = (
    *("dataset", "recipe", "set", "steps", "tuned_at", "finalists", "variants", "metric"),
    *("seeds", "most_seeds", "half_width", "narrow", "named"),
)
"""Options that decide what stands in a table."""
WARM, TIMED = 5, 40
"""Steps before and during which a step is timed."""


def command_line(name: str, about: str | None, tables: Mapping[str, Table], arguments: list[str] | None = None) -> None:
    """``main`` of the benchmark ``name``; ``tables`` by modality. Publishes ``<name>-<dataset>-<steps>``."""
    parser = options(about)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data, _ = opened(given.root, given.dataset, given.recipe)
    whole = tables[data.modality]
    baseline, *others = whole
    for option, known in (("variants", others), ("narrow", given.variants or others)):
        if unknown := [one for one in getattr(given, option) if one not in known]:
            parser.error(f"--{option} {' '.join(unknown)}: the variants are {', '.join(known)}")
    common = {key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in given.set)}
    table = {
        one: tuple(trial._replace(changes={**common, **trial.changes}) for trial in trials)
        for one, trials in whole.items()
        if not given.variants or one in (baseline, *given.variants)
    }
    folder = given.out / f"trained-{given.dataset}"  # of all sweeps: a model that two of them ask for is trained once
    first = table[baseline][0]
    steps = given.steps or steps_in(given.minutes, given.root, given.dataset, given.recipe, first, folder)
    flops = baseline_flops(given.root, given.dataset, given.recipe, first, steps)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device
    until = time.time() + 60 * given.most_minutes
    if given.tuned_at and given.tuned_at >= steps:
        parser.error(f"--tuned-at {given.tuned_at}: trials are to be shorter than the {steps} steps that are compared")
    if given.finalists < 1:
        parser.error(f"--finalists {given.finalists}: at least 1, which trains no trial again")
    tuning = flops * given.tuned_at / steps if given.tuned_at else flops
    sweep = Sweep(
        given.root, given.dataset, given.recipe, flops, tuning, folder, device, given.workers, until, given.finalists
    )
    trainings = sum(map(len, table.values())) + given.seeds * len(table)
    print(
        f"{name} on {given.dataset}: at least {trainings} trainings of what {steps} steps of {baseline} cost",
        flush=True,
    )
    found = run(sweep, table, given.metric, given.seeds, given.most_seeds, given.half_width / 100, given.narrow)
    items = int((np.asarray(data.split("test").labels) >= 0).sum())
    publish(
        "-".join([name, given.dataset, str(steps), *([given.named] if given.named else [])]),
        rows_of(found, table, items, f"python -m benchmarks.{name} {repeated(given, steps)}"),
        given.out,
    )


def options(about: str | None) -> argparse.ArgumentParser:
    """Those of every sweep."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="a prepared one with labels")
    parser.add_argument("--recipe", help="what variants change; default: the schema's own values")
    parser.add_argument("--minutes", type=float, default=1.0, help="of one baseline training on this machine")
    parser.add_argument("--steps", type=int, help="of it, in place of --minutes")
    parser.add_argument("--tuned-at", type=int, help="steps of the trials; the best few are then trained again")
    parser.add_argument("--finalists", type=int, default=FINALISTS, help="of --tuned-at, at most; 1: none again")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the recipe, for everybody")
    parser.add_argument("--seeds", type=int, default=LEAST_SEEDS, help="of everybody")
    parser.add_argument("--most-seeds", type=int, default=MOST_SEEDS, help="while an interval is wider than asked")
    parser.add_argument("--half-width", type=float, default=1.0, help="asked of the interval, in points")
    parser.add_argument("--narrow", nargs="+", default=[], help="whose interval; default: the best on validation")
    parser.add_argument("--most-minutes", type=float, default=90.0, help="begin no training after so long")
    parser.add_argument("--metric", choices=MEASURES[:2], default="knn", help="chooses trials, on validation")
    parser.add_argument("--variants", nargs="+", default=[], help="some alone")
    parser.add_argument("--named", metavar="WORD", help="ends the table's name, so that it replaces no other choice's")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--out", type=Path, default=OUT)
    return parser


def repeated(given: argparse.Namespace, steps: int) -> str:
    """The options that give the same table again, on any machine: ``steps`` in place of minutes."""
    asked = {**vars(given), "steps": steps}
    said = {name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in asked.items()}
    return " ".join(f"--{name.replace('_', '-')} {said[name]}" for name in REPEATED if said[name] not in (None, ""))


def baseline_flops(root: Path, dataset: str, recipe: str | None, trial: Trial, steps: int) -> float:
    """Of so many steps of the baseline."""
    data, described = opened(root, dataset, recipe)
    resolved = resolve(recipe_with(described, trial.changes), data.info, {}, data.modality, root)
    return float(steps * resolved.settings.batch_size * train_flops(resolved.config))


def steps_in(minutes: float, root: Path, dataset: str, recipe: str | None, trial: Trial, folder: Path) -> int:
    """Steps of the baseline in so many minutes of one process on this machine; once measured they stay what they are."""
    file = folder / f"steps-{minutes:g}-minutes.json"
    if file.is_file():
        return int(json.loads(file.read_text())["steps"])
    data, described = opened(root, dataset, recipe)
    resolved = resolve(recipe_with(described, trial.changes), data.info, {}, data.modality, root)
    settings = replace(resolved.settings, steps=WARM + TIMED)
    reports = fit(start(resolved.config, settings), data.split("train").samples, settings, report_every=1)
    list(islice(reports, WARM))
    began = time.perf_counter()
    list(reports)
    steps = max(int(60 * minutes * TIMED / (time.perf_counter() - began)), 1)
    write_text(file, json.dumps({"steps": steps, "minutes": minutes}) + "\n")
    return steps
