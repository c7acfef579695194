"""The ``transfer`` stage: models trained on one dataset, probed on another.

Samples are brought to the models' shape: stretched with antialiasing, grey repeated to three channels, colour turned to grey; other
channel counts are refused. Raw pixels, the baseline, keep their own shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from experiments.names import NAME
from experiments.params import read_params, recipe_row
from experiments.probes import Fitted, answer_jobs, probe_jobs
from experiments.probing import probing
from experiments.questions import Skip, questions
from experiments.recipe import RecipeError, load_recipe
from experiments.scores import Answer, Origin, rows, write
from experiments.subjects import Subject, subjects, unlike
from experiments.words import RAN
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.registry import nearest

TASKS = ("knn", "linear", "few_label")


class Pair(NamedTuple):
    """A row of ``transfers`` in params.yaml."""

    recipe: str
    """Whose models are probed."""
    dataset: str
    """On what."""


def transfer(name: str, root: Path = Path(), workers: int | None = None) -> None:
    """Probes the models of a recipe on another dataset and writes ``results/<name>``: scores, reasons and metrics.

    Raises RecipeError for a name that params.yaml does not list, and DatasetError or ValueError for data that cannot be brought to shape.
    """
    pair = pair_of(name, root)
    spec, dataset = load_recipe(pair.recipe, root).evaluate, open_dataset(root / "data" / pair.dataset)
    everyone = [one for one in subjects(pair.recipe, root) if one.model in ("pixels", "pretrained", "untrained")]
    _check_shape(everyone, dataset)
    asked = questions(dataset, spec, [task for task in TASKS if task in spec.tasks])
    asked = asked._replace(skipped=[*asked.skipped, *_leaks(recipe_row(pair.recipe, root).dataset, dataset, root)])
    with probing("transfer", name, root, workers) as now:
        fitted: list[list[Fitted]] = now.run_all(probe_jobs(everyone, dataset, asked, spec, now.shelf))
        said: list[list[Answer]] = now.run_all(answer_jobs(everyone, dataset, fitted, now.shelf))
        answers = [answer for some in said for answer in some]
        write(root / "results" / name, rows(Origin(name, dataset.name, now.mark), answers, []), asked)


def pair_of(name: str, root: Path = Path()) -> Pair:
    """The recipe and dataset of a transfer. Raises RecipeError naming what is missing and the line to add."""
    path, params = root / "params.yaml", read_params(root)
    listed = params.get("transfers") or {}
    if not NAME.match(name) or name not in listed:
        raise RecipeError(
            f"{path} does not list the transfer {name!r}{nearest(name, listed)}: add\n"
            f"  {name}: {{recipe: NAME, dataset: NAME}}\nunder transfers"
        )
    if name in (params.get("recipes") or {}):
        raise RecipeError(f"{path}: {name} is a recipe and a transfer, which would share results/{name}: rename one")
    row = listed[name] if isinstance(listed[name], dict) else {}
    missing = [key for key in Pair._fields if not row.get(key)]
    if missing:
        raise RecipeError(f"{path}: transfers.{name} lacks {' and '.join(missing)}")
    return Pair(str(row["recipe"]), str(row["dataset"]))


def _check_shape(everyone: list[Subject], dataset: Dataset) -> None:
    """Refuses at once, before anything is extracted, what ``fitted`` cannot bring to shape."""
    for subject in everyone:
        if subject.folder is not None:
            network = subject.load()
            if problem := unlike(network, dataset):
                raise ValueError(f"{subject.folder} on {dataset.name}: {problem}")
            try:
                network.modality.fitted(dataset.split("train").samples)
            except ValueError as problem:
                raise ValueError(f"{subject.folder} on {dataset.name}: {problem}") from None


def _leaks(source: str, dataset: Dataset, root: Path) -> list[Skip]:
    """A line where models may have seen, without labels, the images they are tested on."""
    trained_on = root / "data" / source
    others = open_dataset(trained_on).info["overlaps"] if (trained_on / "dataset.json").is_file() else []
    if source == dataset.name or source in dataset.info["overlaps"] or dataset.name in others:
        return [Skip("transfer", f"{RAN}{dataset.name} shares images with {source}, which the models were trained on")]
    return []
