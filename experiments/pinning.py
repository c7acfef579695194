"""A trial becomes a recipe: the searched values as literals, and the steps that its final run would have had."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.goals import COLUMN
from experiments.names import unfit_name
from experiments.networks import KINDS, TABLES, idle, refused
from experiments.params import recipe_row
from experiments.recipe import RecipeError, load_recipe, parse_recipe, recipe_path
from experiments.resolving import resolve
from experiments.results import Store
from experiments.space import unbuildable
from experiments.yaml_files import dump_yaml, parse_yaml, read_text
from mae_core.atomic import write_text
from mae_core.data.dataset import open_dataset


def searched_keys(columns: Iterable[str]) -> list[str]:
    """The searched keys among the columns of trials.parquet: they are dotted, and no proxies."""
    return sorted(name for name in columns if "." in name and not name.startswith(COLUMN))


def rounded(value: Any) -> Any:
    """A setting as a person would write it: plain Python, four significant digits."""
    value = value.item() if isinstance(value, np.generic) else value
    return float(f"{value:.4g}") if isinstance(value, float) else value


def settings_of(trials: pd.DataFrame, trial: int) -> dict[str, Any]:
    """What a trial was tried with, by dotted key. Raises ValueError where there is no such trial, naming those there are."""
    rows = trials[(trials["trial"] == trial) & trials["origin"].ne("confirm")]
    if rows.empty:
        there = ", ".join(str(int(t)) for t in sorted(trials["trial"].unique())) or "none"
        raise ValueError(f"no trial {trial}: there are {there}")
    row = rows.sort_values("rung").iloc[-1]
    found = {key: rounded(row[key]) for key in searched_keys(map(str, trials.columns))}
    return {key: value for key, value in found.items() if not (isinstance(value, float) and math.isnan(value))}


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """{'a.b': 1} → {'a': {'b': 1}}, as a recipe wants it."""
    tree: dict[str, Any] = {}
    for key, value in dotted.items():
        *above, last = key.split(".")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[last] = rounded(value)
    return tree


def as_command(recipe: str, dotted: dict[str, Any]) -> str:
    """The shell command that trains a recipe with a trial's values; a hostile name stays one quoted word."""
    file = f"experiments/recipes/{recipe}.yaml"
    return " \\\n  ".join(
        ["dvc exp run", *(f"-S {shlex.quote(f'{file}:{k}={_written(v)}')}" for k, v in dotted.items())]
    )


def _written(value: Any) -> str:
    """As a command line says it to DVC."""
    return "null" if value is None else str(rounded(value))


def pinned_settings(root: Path, recipe: str, trial: int) -> dict[str, Any]:
    """A trial's values by dotted key, and ``pretrain.steps`` of equal FLOPs, which a recipe with these literals would not find itself.

    What the recipe pins is not among them, nor what the trial's kinds of networks do not take; what it sets for other kinds than those, and
    a map that the trial's strategy does not read, is set back to its default. Raises RecipeError where the recipe or the dataset cannot be
    read, ValueError where there is no search or no such trial, where its values make no model, or where it is a member of a population:
    its values changed from part to part.
    """
    store, described = Store(root), load_recipe(recipe, root)
    summary, trials = store.search_summary(recipe), store.trials(recipe)
    if trials.empty:
        off = summary.get("trials") == 0
        raise ValueError(f"no trial of {recipe}: {summary.get('verdict')}" if off else store.no_search(recipe))
    if summary.get("schedule"):
        raise ValueError(
            f"trial {trial} of {recipe} followed a schedule, which no constant values stand for: see schedule in search.json"
        )
    row, chosen = recipe_row(recipe, root), settings_of(trials, trial)
    resolved = resolve(described, open_dataset(root / "data" / row.dataset).info, chosen, row.modality, root)
    if problem := unbuildable(resolved.config):
        raise ValueError(f"trial {trial} of {recipe} makes no model: {problem}")
    values = resolved.values
    kinds = {key: values[key].value for key in KINDS}
    alone = {key: [kind] for key, kind in kinds.items()}
    free = {k: v for k, v in chosen.items() if values[k].origin == "search" and not idle(k, alone)}
    for what in TABLES:
        section = getattr(described.model, what)
        if section.kind == "auto":
            instead = refused(section, what, kinds[f"model.{what}.kind"])
            free |= {f"model.{what}.{name}": default for name, default in instead.items()}
    if described.masking.weights and values["masking.strategy"].value != "weight_map":
        free["masking.weights"] = None
    return {**free, "pretrain.steps": resolved.settings.steps}


def pinned_text(root: Path, recipe: str, trial: int) -> str:
    """The YAML of ``recipe`` with ``pinned_settings`` in place of ``auto``; raises what that raises."""
    settings = pinned_settings(root, recipe, trial)
    tree = parse_yaml(read_text(recipe_path(root, recipe), RecipeError), recipe, RecipeError)
    for key, value in {**settings, "search.trials": 0}.items():  # what is auto still had its default in the trial
        *above, last = key.split(".")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    text = dump_yaml(tree, width=140)
    cost = f"{settings['pretrain.steps']} steps cost what the final run of {recipe} does"
    head = f"# {recipe} with the values of trial {trial} of its search; {cost}.\n"
    parse_recipe(head + text, f"trial {trial} of {recipe}")
    return head + text


def pin(root: Path, recipe: str, trial: int, name: str) -> Path:
    """Writes ``experiments/recipes/<name>.yaml`` of a trial and returns its path.

    Raises RecipeError for a name that is no name or is taken, and what ``pinned_text`` raises.
    """
    if wrong := unfit_name(name):
        raise RecipeError(f"recipe name {name!r}: {wrong}: give --name with another, such as {recipe}_{trial}")
    path = root / "experiments" / "recipes" / f"{name}.yaml"
    if path.exists():
        raise RecipeError(f"{path} is there already: choose another name, or remove it")
    write_text(path, pinned_text(root, recipe, trial))
    return path
