"""``python -m benchmarks.ucr``: frozen features of nine UCR sets beside 1-nearest-neighbour and the untrained encoder.

Each set is pretrained on its own train split without labels (recipe ``series_small``), then a ridge classifier learns from all labels and
the tokens of every block: the series of a set are aligned, and where in them something happens is what tells many classes apart.
1-NN needs no choice; the band of DTW is a tenth of the length.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifierCV

from benchmarks.commands import again, table_name
from benchmarks.rows import Row, publish
from benchmarks.variants import gain_facts
from experiments.datasets import prepare
from experiments.recipe import load_recipe
from experiments.resolving import resolve
from mae_core.data.dataset import Dataset, DatasetError, open_dataset
from mae_core.evaluation.knn import knn_predict
from mae_core.evaluation.linear import fit_scaler
from mae_core.evaluation.statistics import over_seeds, paired_over_items
from mae_core.modalities.series import SeriesModality
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import fit, start

COMMAND = "MAESTRO_MIRROR=… python -m benchmarks.ucr"
RECIPE = "series_small"
SETS = (
    "chinatown", "ecg200", "ecgfive_days", "gun_point", "italy_power_demand",
    "medical_images", "plane", "power_cons", "strawberry",
)  # fmt: skip
BAND = 0.1
ALPHAS = np.logspace(-3, 3, 10)
ENCODED = 256
"""Series at once."""


class Scores(NamedTuple):
    """Of one set, which test series were told right: (series,) bool, and (seeds, series) where a network has one per pretraining seed."""

    pretrained: np.ndarray
    untrained: np.ndarray
    values: np.ndarray
    """The same probe on the values themselves."""
    euclid: np.ndarray
    dtw: np.ndarray


def measure(name: str, seeds: list[int], root: Path = Path()) -> Scores:
    """Everything on one set."""
    try:
        dataset = open_dataset(root / "data" / f"ucr_{name}")
    except DatasetError:
        prepare(f"ucr_{name}", root)
        dataset = open_dataset(root / "data" / f"ucr_{name}")
    splits = {split: dataset.split(split) for split in ("train", "validation", "test")}
    labels = {split: np.asarray(one.labels) for split, one in splits.items()}
    plain = {split: SeriesModality.plain(one.samples, dataset.info) for split, one in splits.items()}
    resolved = resolve(load_recipe(RECIPE, root), dataset.info, {}, "series")
    networks: dict[str, list[np.ndarray]] = {"pretrained": [], "untrained": []}
    for seed in seeds:
        settings = replace(resolved.settings, seed=seed)
        untrained = MaskedAutoencoder.build(resolved.config, seed)
        networks["untrained"].append(probe(_features(untrained, dataset), labels))
        state = start(resolved.config, settings)
        for _ in fit(state, splits["train"].samples, settings, report_every=settings.steps):
            pass
        networks["pretrained"].append(probe(_features(state.result(), dataset), labels))
    # everything labelled votes: no choice is made, so nothing has to be held out
    bank = np.concatenate([plain["train"], plain["validation"]])
    known = np.concatenate([labels["train"], labels["validation"]])
    near = knn_predict(bank, known, plain["test"], k=1)
    warped = known[_dtw(plain["test"], bank, round(BAND * plain["test"].shape[1])).argmin(1)]
    right = labels["test"]
    return Scores(
        np.array(networks["pretrained"]),
        np.array(networks["untrained"]),
        probe(plain, labels),
        near == right,
        warped == right,
    )


@torch.no_grad()
def _features(model: MaskedAutoencoder, dataset: Dataset) -> dict[str, np.ndarray]:
    """By split, (n, blocks · tokens · width)."""
    model.eval()
    found = {}
    for name in ("train", "validation", "test"):
        blocks = torch.from_numpy(np.array(dataset.split(name).samples)).split(ENCODED)
        depth = range(1, len(model.encoder.blocks) + 1)
        tokens = [torch.cat([model.encode(x, "tokens", layer).flatten(1) for layer in depth], 1) for x in blocks]
        found[name] = torch.cat(tokens).numpy()
    return found


def probe(features: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> np.ndarray:
    """(series,) of test: right or wrong by a ridge classifier of everything that is labelled, its strength chosen by leaving one out.

    It is how frozen features of UCR series are commonly judged (Dempster et al. 2020, ROCKET, §3).
    """
    x = np.concatenate([features["train"], features["validation"]])
    y = np.concatenate([labels["train"], labels["validation"]])
    scaler = fit_scaler(x)
    return RidgeClassifierCV(ALPHAS).fit(scaler(x), y).predict(scaler(features["test"])) == labels["test"]


def _dtw(queries: np.ndarray, bank: np.ndarray, band: int) -> np.ndarray:
    """(n, m) squared dynamic-time-warping distances (Sakoe & Chiba 1978) of (n, T) to (m, T) series within ``band`` moments."""
    length = bank.shape[1]
    far = np.empty((len(queries), len(bank)), np.float32)
    for i, query in enumerate(queries):
        above = np.full((length + 1, len(bank)), np.inf, np.float32)
        above[0] = 0
        for t in range(length):
            row = np.full((length + 1, len(bank)), np.inf, np.float32)
            for u in range(max(0, t - band), min(length, t + band + 1)):
                cost = (query[t] - bank[:, u]) ** 2
                row[u + 1] = cost + np.minimum(np.minimum(above[u], above[u + 1]), row[u])
            above = row
        far[i] = above[-1]
    return far


def rows_of(found: dict[str, Scores], command: str) -> list[Row]:
    """A row per set, and the mean over the sets against each baseline.

    Each gain has its interval over pretraining seeds and beside it, of a set, that over its test series, told right by the one and wrong
    by the other; of the mean that over sets.
    """
    rows = []
    for name, one in found.items():
        gain = over_seeds(one.pretrained.mean(1) - one.euclid.mean(), "pretraining seeds")
        items = paired_over_items(one.pretrained.mean(0), one.euclid)
        means = float(one.pretrained.mean()), float(one.euclid.mean())
        facts = gain_facts("gain", gain) | gain_facts("over_items", items) | _others(one)
        rows.append(_row(f"{name}_accuracy_vs_1nn_euclid", means, gain.n, command, facts))
    ours = _by_seed_and_set([one.pretrained for one in found.values()])
    baselines = {
        "untrained": _by_seed_and_set([one.untrained for one in found.values()]),
        "1nn_euclid": _by_seed_and_set([one.euclid for one in found.values()]),
        "1nn_dtw": _by_seed_and_set([one.dtw for one in found.values()]),
        "values": _by_seed_and_set([one.values for one in found.values()]),
    }
    for name, theirs in baselines.items():
        gain = over_seeds((ours - theirs).mean(1), "pretraining seeds")
        sets = over_seeds((ours - theirs).mean(0), "sets")  # Student's as well: nine are few for a bootstrap
        facts = gain_facts("gain", gain) | gain_facts("over_sets", sets) | {"sets": len(found)}
        rows.append(
            _row(f"mean_accuracy_vs_{name}", (float(ours.mean()), float(theirs.mean())), gain.n, command, facts)
        )
    return rows


def _by_seed_and_set(hits: Sequence[np.ndarray]) -> np.ndarray:
    """(seeds, sets) accuracies; (1, sets) of what has no seeds."""
    return np.array([np.atleast_2d(one).mean(1) for one in hits]).T


def _row(name: str, means: tuple[float, float], seeds: int, command: str, facts: dict[str, float | None]) -> Row:
    return Row(name, *means, means[0] / means[1] if means[1] else None, None, None, seeds, command, facts)


def _others(one: Scores) -> dict[str, float | None]:
    return {name: float(getattr(one, name).mean()) for name in ("untrained", "values", "dtw")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, writes benchmarks/out/ucr.json, of some sets alone under a longer name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="pretraining seeds")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=SETS)
    given = parser.parse_args(arguments)
    found = {}
    for name in given.sets:
        began = time.perf_counter()
        found[name] = measure(name, list(range(given.seeds)))
        told = {field: round(float(hits.mean()), 4) for field, hits in found[name]._asdict().items()}
        print(f"{name}: {told} in {time.perf_counter() - began:.0f} s", flush=True)
    name = table_name("ucr", parser, given, ("sets",))
    publish(name, rows_of(found, again(COMMAND, given, ("seeds", "sets"))))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
