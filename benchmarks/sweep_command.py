"""What every sweep over variants is as a command: its options, its cost, the table that it publishes."""

from __future__ import annotations

import argparse
import json
import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.commands import again
from benchmarks.rows import OUT, publish
from benchmarks.spread import file_of
from benchmarks.training import Training
from benchmarks.variants import FINALISTS, LEAST_SEEDS, MEASURES, Sweep, Table, described, opened, rows_of, run
from mae_core.atomic import write_text
from mae_core.training.loop import fit

MOST_SEEDS = 60
REPEATED = (
    *("dataset", "recipe", "set", "steps", "tuned_at", "finalists", "variants", "metric"),
    *("seeds", "most_seeds", "half_width", "narrow", "named"),
)
"""Options that decide what stands in a table."""
IDLE = ("pretrain.steps", "pretrain.seeds", "pretrain.checkpoint_every", "search", "controls", "evaluate")
"""Keys and sections of a recipe that change nothing in a sweep."""
WARM, TIMED = 5, 40
"""Steps before and during which a step is timed."""


def command_line(name: str, about: str | None, tables: Mapping[str, Table], arguments: list[str] | None = None) -> None:
    """``main`` of the benchmark ``name``; ``tables`` by modality. Publishes ``<name>-<dataset>-<steps>``, if anything was compared."""
    parser = options(about)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device
    try:
        table = table_of(name, tables, given, device)
    except (ValueError, yaml.YAMLError) as problem:
        parser.error(str(problem))
    baseline = next(iter(table))
    folder = given.out / f"trained-{given.dataset}"  # of all sweeps: a model that two of them ask for is trained once
    first = described(given.root, given.dataset, given.recipe, table[baseline][0], device)
    steps = given.steps = given.steps or steps_in(given.minutes, first, folder)
    flops = steps * first.step_flops
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
    items = int((np.asarray(first.data.split("test").labels) >= 0).sum())
    rows = rows_of(found, table, given.metric, items, again(f"python -m benchmarks.{name}", given, REPEATED))
    if not any("gain" in row.facts for row in rows):
        raise SystemExit(
            f"nothing was compared within --most-minutes {given.most_minutes:g} ({found.note}): give it more, "
            f"what was trained is kept in {folder}"
        )
    publish("-".join([name, given.dataset, str(steps), *([given.named] if given.named else [])]), rows, given.out)


def table_of(name: str, tables: Mapping[str, Table], given: Namespace, device: str) -> Table:
    """The asked-for variants of ``tables`` for the dataset, with what is set for everybody.

    Raises ValueError, naming the option, where the dataset, a variant or a key is not there, or a key would change nothing.
    """
    data, _ = opened(given.root, given.dataset, given.recipe)
    if data.modality not in tables:
        raise ValueError(
            f"--dataset {given.dataset}: it is of {data.modality}, {name} has trials for {', '.join(tables)}"
        )
    whole = tables[data.modality]
    baseline, *others = whole
    for option, known in (("variants", others), ("narrow", given.variants or others)):
        if unknown := [one for one in getattr(given, option) if one not in known]:
            raise ValueError(f"--{option} {' '.join(unknown)}: the variants are {', '.join(known)}")
    kept = {one: trials for one, trials in whole.items() if not given.variants or one in (baseline, *given.variants)}
    told = [trial for trials in kept.values() for trial in trials]
    common = {}
    for one in given.set:
        key, equals, value = one.partition("=")
        if not equals:
            raise ValueError(f"--set {one}: write KEY=VALUE")
        if any(f"{key}.".startswith(f"{idle}.") for idle in IDLE) or all(key in trial.changes for trial in told):
            raise ValueError(
                f"--set {one}: it would change nothing, for the sweep sets {key} itself or does without it"
            )
        common[key] = yaml.safe_load(value)
    table = {
        one: tuple(trial._replace(changes={**common, **trial.changes}) for trial in trials)
        for one, trials in kept.items()
    }
    for trial in (trial for trials in table.values() for trial in trials):
        try:
            described(given.root, given.dataset, given.recipe, trial, device).told()
        except ValueError as problem:
            raise ValueError(f"{trial} cannot be trained on {given.dataset}: {problem}") from None
    return table


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


def steps_in(minutes: float, training: Training, folder: Path) -> int:
    """Steps of a training in so many minutes of one process on this machine; once measured they stay what they are."""
    file = folder / f"steps-{minutes:g}-minutes-{file_of(minutes, training.told(), training.device)}"
    if file.is_file():
        return int(json.loads(file.read_text())["steps"])
    settings, split = replace(training.settings, steps=WARM + TIMED), training.data.split("train")
    state = training._replace(settings=settings).begin()
    reports = fit(state, split.samples, settings, report_every=1, labels=split.labels, watched=False)
    list(islice(reports, WARM))
    began = clock(training.device)
    list(reports)
    steps = max(int(60 * minutes * TIMED / (clock(training.device) - began)), 1)
    write_text(file, json.dumps({"steps": steps, "minutes": minutes}) + "\n")
    return steps


def clock(device: str) -> float:
    """Seconds, when the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
