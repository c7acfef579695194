"""What objectives and targets are worth beside the plain model at equal FLOPs: ``python -m benchmarks.objectives --dataset NAME``.

A model for every variant and seed is trained on train, probed on labelled train and validation samples; the test split is never opened.
``--minutes`` is the length of one plain training on this machine, measured once on its first steps and kept, so that a sweep that was
stopped goes on with the same steps: every finished model is a file in ``benchmarks/out/objectives-<dataset>``. A variant with dearer
steps gets fewer of them, teachers and views counted.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.rows import OUT, Row, publish
from experiments.recipe import Recipe, load_recipe
from experiments.resolving import resolve
from mae_core.atomic import write_text
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.features import extract
from mae_core.evaluation.knn import knn_accuracy
from mae_core.evaluation.linear import fit_linear
from mae_core.evaluation.rank import measure_rank
from mae_core.evaluation.statistics import over_seeds
from mae_core.flops import train_flops
from mae_core.training.loop import Settings, fit, start

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "uniformity": {"objective": {"uniformity": 0.01}},
    "mask_contrastive": {"objective": {"mask_contrastive": 0.1}},
    "uniformity_and_mask_contrastive": {"objective": {"uniformity": 0.01, "mask_contrastive": 0.1}},
    "vicreg": {"objective": {"invariance": 0.1, "variance": 0.1, "covariance": 0.01}},
    "latent": {"objective": {"target": "latent"}},
    "pixels_and_latent": {"objective": {"targets": {"latent": 1.0}}},
    "hog": {"objective": {"target": "hog"}},
    "fourier": {"objective": {"target": "fourier"}},
    "attention_masks": {"masking": {"strategy": "attention"}},
    "loss_ranked_masks": {"masking": {"strategy": "loss_ranked"}, "objective": {"loss_ranking": 1.0}},
}
"""Name → what it changes of the recipe."""
WARM, TIMED = 5, 40
"""Steps before and during which a step is timed."""
NEIGHBOURS = 20


class Cell(NamedTuple):
    """One trained and probed model."""

    variant: str
    seed: int
    steps: int
    seconds: float
    knn: float
    """Accuracy on validation, like ``linear``."""
    linear: float
    effective_rank: float
    rank_share: float
    """Of the width."""


def variant(recipe: Recipe, name: str) -> Recipe:
    """``recipe`` with what ``name`` changes; ``auto`` is left to its default."""
    told = recipe.model_dump()
    for section, changes in VARIANTS[name].items():
        told[section] = {**told[section], **changes}
    return Recipe.model_validate(told)


def steps_in(minutes: float, recipe: Recipe, data: Dataset, folder: Path) -> int:
    """Steps of the plain model in so many minutes of this machine; once measured they stay what they are."""
    file = folder / f"steps-{minutes:g}-minutes.json"
    if file.is_file():
        return int(json.loads(file.read_text())["steps"])
    resolved = resolve(variant(recipe, "plain"), data.info, {}, data.modality)
    settings = replace(resolved.settings, steps=WARM + TIMED)
    state = start(resolved.config, settings)
    reports = fit(state, data.split("train").samples, settings, report_every=1)
    list(islice(reports, WARM))
    began = time.perf_counter()
    list(reports)
    steps = max(int(60 * minutes * TIMED / (time.perf_counter() - began)), 1)
    write_text(file, json.dumps({"steps": steps, "minutes": minutes}) + "\n")
    return steps


def measure(name: str, seed: int, steps: int, recipe: Recipe, data: Dataset, folder: Path) -> Cell:
    """The cell from its file, or trained, probed and written there. ``steps`` are those of the plain model."""
    file = folder / f"{name}-seed-{seed}-steps-{steps}.json"
    if file.is_file():
        return Cell(**json.loads(file.read_text()))
    plain, own = (resolve(variant(recipe, one), data.info, {}, data.modality) for one in ("plain", name))
    mine = max(round(steps * train_flops(plain.config) / train_flops(own.config)), 1)
    settings: Settings = replace(own.settings, steps=mine, seed=seed)
    began = time.perf_counter()
    state = start(own.config, settings, "cuda" if torch.cuda.is_available() else "cpu")
    for _ in fit(state, data.split("train").samples, settings):
        pass
    seconds = time.perf_counter() - began
    found = Cell(name, seed, mine, round(seconds, 1), **probe(state.result(), data))
    write_text(file, json.dumps(found._asdict()) + "\n")
    return found


def probe(model: Any, data: Dataset) -> dict[str, float]:
    """k-NN, linear and effective rank of frozen features; labelled train samples ask, labelled validation samples answer."""
    x, y = {}, {}
    for name in ("train", "validation"):
        split = data.split(name)
        rows = np.flatnonzero(split.labels >= 0)
        x[name], y[name] = extract(model, split.samples[rows]), np.asarray(split.labels)[rows]
    rank = measure_rank(x["validation"])
    return {
        "knn": knn_accuracy(x["train"], y["train"], x["validation"], y["validation"], NEIGHBOURS),
        "linear": fit_linear(x["train"], y["train"], x["validation"], y["validation"]).validation,
        "effective_rank": rank.effective_rank,
        "rank_share": rank.effective_rank_share,
    }


def rows_of(cells: list[Cell], command: str) -> list[Row]:
    """A row for every variant and measure: means over seeds, the plain model beside, and the gain with its interval over paired seeds."""
    by_name: dict[str, list[Cell]] = {}
    for cell in cells:
        by_name.setdefault(cell.variant, []).append(cell)
    rows = []
    for name, own in by_name.items():
        plain = {cell.seed: cell for cell in by_name["plain"]}
        for what in ("knn", "linear", "effective_rank"):
            ours = np.array([getattr(cell, what) for cell in own])
            theirs = np.array([getattr(plain[cell.seed], what) for cell in own])
            gain = over_seeds(ours - theirs, "paired, pretraining seeds")
            facts: dict[str, Any] = {
                "steps": own[0].steps,
                "seconds": round(float(np.mean([c.seconds for c in own])), 1),
            }
            if name != "plain":
                known = np.isfinite([gain.low, gain.high]).all()
                low, high = (round(gain.low, 4), round(gain.high, 4)) if known else (None, None)
                facts |= {"gain": round(gain.mean, 4), "gain_low": low, "gain_high": high}
            means = float(ours.mean()), float(theirs.mean())
            ratio = means[0] / means[1] if means[1] else None
            rows.append(Row(f"{name}_vs_plain_{what}_validation", *means, ratio, None, None, len(own), command, facts))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Trains what is not there yet and publishes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="a prepared one of images")
    parser.add_argument("--recipe", help="what variants change; default: the schema's own values")
    parser.add_argument("--minutes", type=float, default=5.0, help="of one plain training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    data = open_dataset(given.root / "data" / given.dataset)
    recipe = load_recipe(given.recipe, given.root) if given.recipe else Recipe()
    folder = given.out / f"objectives-{given.dataset}"
    steps = steps_in(given.minutes, recipe, data, folder)
    cells = []
    for seed in range(given.seeds):
        for name in dict.fromkeys(["plain", *given.variants]):
            cells.append(measure(name, seed, steps, recipe, data, folder))
            print(cells[-1], flush=True)
    recipe_words = f" --recipe {given.recipe}" if given.recipe else ""
    command = f"python -m benchmarks.objectives --dataset {given.dataset}{recipe_words} --minutes {given.minutes:g} --seeds {given.seeds}"
    publish(f"objectives-{given.dataset}", rows_of(cells, command), given.out)


if __name__ == "__main__":
    main()
