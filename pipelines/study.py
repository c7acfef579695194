"""What ``maestro study`` prints of a search, and what ``maestro pin`` says when a trial has become a recipe."""

from __future__ import annotations

from pathlib import Path

from experiments.live import proxy_seconds
from experiments.params import recipe_row
from experiments.pinning import pin
from experiments.recipe import recipe_path
from experiments.results import Store, best_trial, repro
from experiments.search_results import lines


def study_text(recipe: str, root: Path) -> str:
    """Verdict, front, proxies and importance of a search, a line each. Raises ValueError where it has not run."""
    recipe_path(root, recipe)
    found = Store(root)
    summary = found.search_summary(recipe)
    if not summary:
        raise ValueError(f"no search of {recipe} is here: run `{repro('search', recipe)}`")
    said = [f"{recipe}: {summary.get('trials', 0)} trials, ranked by {summary.get('metric', 'score')}"]
    said += [f"  {line}" for line in lines(summary, found.proxies(recipe))]
    took = proxy_seconds(found, recipe)
    if took:
        said.append("  mean seconds a trial: " + ", ".join(f"{name} {value:.2f}" for name, value in took.items()))
    best = best_trial(found.trials(recipe))
    if best is not None:
        said.append(f"make a trial a recipe: maestro pin {recipe} {int(best['trial'])} --name {recipe}_mine")
    return "\n".join(said)


def pin_text(recipe: str, trial: int, name: str, root: Path) -> str:
    """Writes the recipe of a trial; its path and what to do next."""
    path = pin(root, recipe, trial, name)
    return f"{path}. Next: maestro enable {name} --dataset {recipe_row(recipe, root).dataset} && dvc repro report"
