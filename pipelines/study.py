"""What ``maestro study`` prints of a search, and what ``maestro pin`` says when a trial has become a recipe."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from experiments import words
from experiments.live import failures, proxy_seconds
from experiments.params import recipe_row
from experiments.pinning import pin, rounded, searched_keys
from experiments.recipe import recipe_path
from experiments.results import Store, best_trial, repro
from experiments.search_results import lines

LONGEST_REASON = 80
"""Letters of why a trial failed."""


def study_text(recipe: str, root: Path) -> str:
    """Verdict, front, proxies and importance of a search, a line each, and its trials; files that cannot be read are named at the end.

    Raises ValueError where it has not run, and where its summary cannot be read.
    """
    recipe_path(root, recipe)
    found = Store(root)
    summary = found.search_summary(recipe)
    if not summary:
        raise ValueError(found.no_search(recipe))
    said = [f"{recipe}: {summary.get('trials', 0)} trials, ranked by {summary.get('metric', 'score')}"]
    try:
        said += [f"  {line}" for line in lines(summary, found.proxies(recipe))]
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"search.json of {recipe} is damaged ({problem!r}): run `{repro('search', recipe)}`") from None
    took = proxy_seconds(found, recipe)
    if took:
        said.append("  mean seconds a trial: " + ", ".join(f"{name} {value:.2f}" for name, value in took.items()))
    said += [f"  {line}" for line in _trials(found, recipe)]
    said += _next(found, recipe, summary)
    return "\n".join([*said, *found.not_read()])


def _next(found: Store, recipe: str, summary: dict[str, Any]) -> list[str]:
    """How to train what was found: the pick of several objectives, else the best trial, as a recipe; of a population none."""
    if summary.get("schedule"):
        return [
            "no member can be pinned: its values changed from round to round, and constant ones were never trained. "
            f"`{repro('pretrain', recipe)}` trains the defaults; the mask ratios of the schedule can be trained as masking.ratio and "
            "masking.schedule (kind: steps) of a recipe, see docs/masks.md"
        ]
    best = best_trial(found.trials(recipe))
    if best is None:
        return []
    picked = summary.get("picked") if summary.get("front") else None
    trial = int(best["trial"]) if picked is None else picked
    return [f"make a trial a recipe: maestro pin {recipe} {trial} --name {recipe}_mine"]


def _trials(found: Store, recipe: str) -> list[str]:
    """A row for each trial as it was trained longest, the longest and best first: what ``maestro pin`` takes the number of."""
    trials = found.trials(recipe)
    trials = trials[trials["origin"].ne("confirm")].sort_values(["trial", "rung"]).drop_duplicates("trial", keep="last")
    if trials.empty:
        return []
    keys, reasons = searched_keys(map(str, trials.columns)), failures(found, recipe)
    rows = [["trial", "rung", "score", *keys, ""]]
    for row in trials.sort_values(["rung", "score"], ascending=False, na_position="last").to_dict("records"):
        failed = row["status"] == "failed"
        score = "failed" if failed else words.NONE if math.isnan(row["score"]) else f"{row['score']:.4f}"
        reason = reasons.get((row["trial"], row["rung"]), "") if failed else "the defaults" if row["trial"] == 0 else ""
        values = [words.NONE if row[key] != row[key] else str(rounded(row[key])) for key in keys]  # NaN is not itself
        rows.append([str(row["trial"]), str(row["rung"]), score, *values, words.short(reason, LONGEST_REASON)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def pin_text(recipe: str, trial: int, name: str, root: Path) -> str:
    """Writes the recipe of a trial; its path and what to do next."""
    path = pin(root, recipe, trial, name)
    return (
        f"{path}. Next: maestro enable {name} --dataset {recipe_row(recipe, root).dataset} && {repro('evaluate', name)}"
    )
