"""What ``maestro study`` prints of a search, and what ``maestro pin`` says when a trial has become a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.live import proxy_seconds
from experiments.params import recipe_row
from experiments.pinning import pin
from experiments.recipe import recipe_path
from experiments.results import Store, best_trial, repro
from experiments.search_results import lines


def study_text(recipe: str, root: Path) -> str:
    """Verdict, front, proxies and importance of a search, a line each; files that cannot be read are named at the end.

    Raises ValueError where it has not run, and where its summary cannot be read.
    """
    recipe_path(root, recipe)
    found = Store(root)
    summary = found.search_summary(recipe)
    if not summary:
        raise ValueError(
            "\n".join(_not_read(found)) or f"no search of {recipe} is here: run `{repro('search', recipe)}`"
        )
    said = [f"{recipe}: {summary.get('trials', 0)} trials, ranked by {summary.get('metric', 'score')}"]
    try:
        said += [f"  {line}" for line in lines(summary, found.proxies(recipe))]
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"search.json of {recipe} is damaged ({problem!r}): run `{repro('search', recipe)}`") from None
    took = proxy_seconds(found, recipe)
    if took:
        said.append("  mean seconds a trial: " + ", ".join(f"{name} {value:.2f}" for name, value in took.items()))
    said += _next(found, recipe, summary)
    return "\n".join([*said, *_not_read(found)])


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


def _not_read(found: Store) -> list[str]:
    """A line for each damaged file, with what makes it anew."""
    return [f"not read: {p.path}: {p.what}; run `{p.command}`" for p in found.problems if p.kind == "corrupt"]


def pin_text(recipe: str, trial: int, name: str, root: Path) -> str:
    """Writes the recipe of a trial; its path and what to do next."""
    path = pin(root, recipe, trial, name)
    return f"{path}. Next: maestro enable {name} --dataset {recipe_row(recipe, root).dataset} && dvc repro report"
