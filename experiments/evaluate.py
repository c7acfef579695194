"""The ``evaluate`` stage: what the models of a recipe are worth, beside their baselines.

Three rounds of jobs: everything is fitted, then what was chosen on validation is repeated, and only then is the test split opened.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from experiments.bank import Banked, fill_bank, write_bank
from experiments.columns import EMBEDDING_COLUMNS
from experiments.finetuning import Tuned, answer_tuned, choose, heads, repeat, tune
from experiments.params import recipe_row
from experiments.pool import AllOf, Job
from experiments.probes import Fitted, answer_jobs, label_free_of, probe_jobs, rank_of
from experiments.probing import probing
from experiments.questions import LABELLED_TASKS, Questions, of_masks, of_target, questions
from experiments.recipe import EvaluateSection, load_recipe
from experiments.scores import Answer, Measure, Origin, rows, write
from experiments.subjects import Shelf, Subject, masked_by_labels, spread, subjects, target_of
from mae_core.atomic import replace_file, replace_folder
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.embedding_map import LEAST, MOST, embedding_map
from mae_core.evaluation.linear import LinearProbe, save_probe

JUDGED = ("validation", "test")


def evaluate(recipe: str, root: Path = Path(), workers: int | None = None) -> None:
    """Measures the models of a recipe and writes scores, reasons, metrics, maps, reconstructions and heads.

    ``workers`` processes share the work, one per core by default; scores do not depend on how many.
    Raises FileNotFoundError where there is no model yet, and what reading the recipe or the dataset raises.
    """
    spec, dataset = load_recipe(recipe, root).evaluate, open_dataset(root / "data" / recipe_row(recipe, root).dataset)
    everyone = subjects(recipe, root)
    asked = of_target(questions(dataset, spec), target_of(everyone))
    asked = of_masks(asked, masked_by_labels(everyone))
    with probing("evaluate", recipe, root, workers) as now:
        _measure(Origin(recipe, dataset.name, now.mark), root, dataset, everyone, asked, spec, now.shelf, now.run_all)


def _measure(
    origin: Origin,
    root: Path,
    dataset: Dataset,
    everyone: list[Subject],
    asked: Questions,
    spec: EvaluateSection,
    shelf: Shelf,
    run_all: AllOf,
) -> None:
    pretrained = [subject for subject in everyone if subject.model == "pretrained"]
    probing = probe_jobs(everyone, dataset, asked, spec, shelf)
    tuning = tune(pretrained, dataset.folder, asked, spec)
    first = run_all([*tuning, *probing])
    chosen = choose(first[: len(tuning)])
    fitted: list[list[Fitted]] = first[len(tuning) :]
    tuned: list[Tuned] = [*chosen, *run_all(repeat(chosen, spec.probe_seeds))]
    # nothing is chosen any more: from here on the test split is read
    answering = [Job(answer_tuned, (one, split)) for one in tuned for split in JUDGED]
    answering += answer_jobs(everyone, dataset, fitted, shelf)
    filling = _fill_jobs(everyone, dataset, asked)
    ranking = _rank_jobs(everyone, dataset, asked, shelf)
    mapping = [Job(map_of, (pretrained[0], dataset.folder, shelf))] if "embedding" in asked.tasks else []
    # the ranks come after the answers, which put the features of the test split on the shelf
    last = iter(run_all([*answering, *mapping, *filling, *ranking]))
    answers: list[Answer] = [answer for _ in answering for answer in next(last)]
    maps = [next(last) for _ in mapping]
    banked: list[Banked] = [next(last) for _ in filling]
    measures: list[Measure] = [m for one in banked for m in one.measures] + [m for _ in ranking for m in next(last)]
    folder = root / "results" / origin.recipe
    write(folder, rows(origin, answers, measures), asked)
    _write_map(folder / "embeddings.parquet", maps[0] if maps else pd.DataFrame(columns=EMBEDDING_COLUMNS))
    with replace_folder(folder / "reconstructions") as staging:
        pictured = next((one for one in banked if one.pictures), None)
        write_bank(staging, dataset, "test", pictured)
    _write_heads(root / "heads" / origin.recipe, origin, dataset, chosen, [one for some in fitted for one in some])


def _fill_jobs(everyone: list[Subject], dataset: Dataset, asked: Questions) -> list[Job]:
    """The bank on both splits, for every model that reconstructs; the first also for what needs no model, and for pictures."""
    able = (
        [one for one in everyone if one.model in ("pretrained", "autoencoder")]
        if "reconstruction" in asked.tasks
        else []
    )
    return [
        Job(fill_bank, (one, dataset.folder, split, one is able[0], one is able[0] and split == "test"))
        for one in able
        for split in JUDGED
    ]


def _rank_jobs(everyone: list[Subject], dataset: Dataset, asked: Questions, shelf: Shelf) -> list[Job]:
    """Ranks of every network's features, and where no labelled task can run the measures that need no labels."""
    networks = [one for one in everyone if one.folder is not None] if "rank" in asked.tasks else []
    ranks = [Job(rank_of, (one, dataset.folder, shelf, split)) for one in networks for split in JUDGED]
    if asked.tasks & set(LABELLED_TASKS):
        return ranks
    able = [one for one in networks if one.model != "supervised"]
    return ranks + [Job(label_free_of, (one, dataset.folder, split)) for one in able for split in JUDGED]


def map_of(subject: Subject, folder: Path, shelf: Shelf) -> pd.DataFrame:
    """Two maps of the test split, at most 2,000 samples spread evenly over it; no rows where there are too few samples."""
    dataset = open_dataset(folder)
    labels = dataset.split("test").labels
    if len(labels) < LEAST:
        return pd.DataFrame(columns=EMBEDDING_COLUMNS)
    index = spread(len(labels), MOST)
    found = embedding_map(np.asarray(shelf.fill(subject, dataset, "test")[index]))
    facts = {"index": index, "split": "test", "label": np.asarray(labels[index])}
    places = {"x": found.tsne[:, 0], "y": found.tsne[:, 1], "pca_x": found.pca[:, 0], "pca_y": found.pca[:, 1]}
    return pd.DataFrame({**facts, **places})[EMBEDDING_COLUMNS]


def _write_map(path: Path, table: pd.DataFrame) -> None:
    with replace_file(path) as staging:
        table.to_parquet(staging, index=False)


def _write_heads(folder: Path, origin: Origin, dataset: Dataset, chosen: list[Tuned], fitted: list[Fitted]) -> None:
    """``linear-seed-<k>`` and ``finetune-<labels per class>-seed-<k>``, and a line that says so."""
    facts = {"recipe": origin.recipe, "dataset": origin.dataset, "fingerprint": origin.fingerprint}
    with replace_folder(folder) as staging:
        for one in fitted:
            if one.model == "pretrained" and isinstance(one.probe, LinearProbe) and one.labels_per_class is None:
                made = {**facts, "pretrain_seed": one.pretrain_seed, "n_train": one.n_train}
                save_probe(one.probe, staging / f"linear-seed-{one.pretrain_seed}", dataset.classes, made)
        for name, classifier, work in heads(chosen, dataset.classes):
            made = {**facts, "pretrain_seed": work.pretrain_seed, "probe_seed": work.probe_seed}
            classifier.save(staging / name, {**made, "settings": work.settings._asdict()})
        (staging / "README.md").write_text(
            f"Heads on the encoders of models/{origin.recipe}, made by `dvc repro evaluate@{origin.recipe}`.\n"
        )
