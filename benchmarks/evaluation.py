"""How fast frozen probes and feature extraction are: ours beside scikit-learn, and beside what this machine multiplies at best.

``python -m benchmarks.evaluation`` writes benchmarks/out/evaluation.json. The probes are those of ``evaluate`` on a prepared dataset
(MNIST's 70,000 by default: ``dvc repro prepare@mnist``): k-NN and the linear probe with all labels, few-label probes with 10 and 100
labels a class and three draws each, all on features that were extracted once. scikit-learn does the same with its own estimators.
Extraction is that of the architectures of ``benchmarks.step``, in the precision of this machine, as a share of the best matrix product
found here.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.rows import Row, compare, publish
from benchmarks.step import SHAPES, Shape, images
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.features import extract
from mae_core.evaluation.few_label import few
from mae_core.evaluation.knn import TEMPERATURE, knn_predict
from mae_core.evaluation.linear import GRID, fit_linear, fit_scaler
from mae_core.flops import encode_flops
from mae_core.model import MaskedAutoencoder
from mae_core.training.precision import choose_precision

FEW = (10, 100)
SEEDS = (0, 1, 2)
NEIGHBOURS = 20
SIDES = (1024, 2048, 4096)
"""Of the square matrices whose product is the peak."""


class Data(NamedTuple):
    """Features and labels of the three splits."""

    train_x: np.ndarray
    train_y: np.ndarray
    validation_x: np.ndarray
    validation_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


class Outcome(NamedTuple):
    """What one way of probing found, and what it took."""

    seconds: float
    """Of CPU, on all threads together."""
    wall: float
    knn: float
    """Accuracy on test."""
    linear: float
    few_label: float
    """The mean over amounts and draws."""


def features_of(dataset: Dataset, folder: Path | None) -> Data:
    """Of the model in ``folder``, or of an untrained one of the default architecture where there is none."""
    from experiments.recipe import Recipe
    from experiments.resolving import resolve

    if folder is not None:
        model = MaskedAutoencoder.load(folder)
    else:
        model = MaskedAutoencoder.build(resolve(Recipe(), dataset.info, {}, dataset.modality).config)
    found: list[np.ndarray] = []
    for name in ("train", "validation", "test"):
        split = dataset.split(name)
        found += [extract(model, split.samples), np.asarray(split.labels)]
    return Data(*found)


def timed(probe: Callable[[Data], tuple[float, float, float]], data: Data) -> Outcome:
    """``probe`` with its time."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = probe(data)
    return Outcome(time.process_time() - cpu, time.perf_counter() - wall, *found)


def ours(data: Data) -> tuple[float, float, float]:
    """Accuracy of k-NN, of the linear probe and of the few-label probes, as ``evaluate`` fits them."""
    near = knn_predict(data.train_x, data.train_y, data.test_x, NEIGHBOURS)
    linear = fit_linear(*data[:4]).predict(data.test_x)
    scaler = fit_scaler(data.train_x)
    shares = []
    for amount in FEW:
        for seed in SEEDS:
            rows = few(data.train_y, amount, seed)
            probe = fit_linear(data.train_x[rows], data.train_y[rows], *data[2:4], scaler=scaler)
            shares.append(float(np.mean(probe.predict(data.test_x) == data.test_y)))
    return float(np.mean(near == data.test_y)), float(np.mean(linear == data.test_y)), float(np.mean(shares))


def scikit_learn(data: Data) -> tuple[float, float, float]:
    """The same with scikit-learn's estimators: the same grid, chosen on validation, and the same votes."""
    from sklearn.neighbors import KNeighborsClassifier

    votes = KNeighborsClassifier(
        NEIGHBOURS, metric="cosine", algorithm="brute", weights=lambda distance: np.exp(-distance / TEMPERATURE)
    )
    near = votes.fit(data.train_x, data.train_y).score(data.test_x, data.test_y)
    scaler = fit_scaler(data.train_x)
    train, validation, test = (scaler(x) for x in (data.train_x, data.validation_x, data.test_x))
    linear = _path(train, data.train_y, validation, data.validation_y, test, data.test_y)
    shares = []
    for amount in FEW:
        for seed in SEEDS:
            rows = few(data.train_y, amount, seed)
            shares.append(_path(train[rows], data.train_y[rows], validation, data.validation_y, test, data.test_y))
    return float(near), linear, float(np.mean(shares))


def _path(*data: np.ndarray) -> float:
    """Test accuracy of the C that is best on validation."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    train_x, train_y, validation_x, validation_y, test_x, test_y = data
    solver = LogisticRegression(max_iter=500, warm_start=True)
    best, found = -1.0, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for c in sorted(GRID):
            solver.set_params(C=c).fit(train_x, train_y)
            score = float(solver.score(validation_x, validation_y))
            if score > best:
                best, found = score, float(solver.score(test_x, test_y))
    return found


def probe_rows(data: Data, command: str) -> list[Row]:
    """Time and accuracy of both."""
    mine, theirs = timed(ours, data), timed(scikit_learn, data)
    n = sum(len(x) for x in (data.train_y, data.validation_y, data.test_y))
    facts = {"threads": torch.get_num_threads(), "samples": n}
    rows = [
        compare("probes_vs_scikit_learn_cpu_s", [mine.seconds], [theirs.seconds], command, **facts),
        compare("probes_vs_scikit_learn_wall_s", [mine.wall], [theirs.wall], command, **facts),
    ]
    for task in ("knn", "linear", "few_label"):
        pair = [getattr(mine, task)], [getattr(theirs, task)]
        rows.append(compare(f"{task}_accuracy_vs_scikit_learn", *pair, command))
    return rows


def peak_gflops(dtype: torch.dtype, tries: int = 5) -> float:
    """The best rate of a product of square matrices."""
    best = 0.0
    for side in SIDES:
        a, b = torch.randn(2, side, side).to(dtype).unbind()
        for _ in range(tries):
            begun = time.process_time()
            a @ b
            best = max(best, 2 * side**3 / (time.process_time() - begun) / 1e9)
    return best


def extraction_row(name: str, shape: Shape, peak: float, rounds: int, command: str) -> Row:
    """GFLOP/s of ``extract``, per CPU second, beside the peak."""
    model = MaskedAutoencoder.build(shape.config())
    raw = images(shape, 4 * shape.batch).numpy()
    work = encode_flops(shape.config()) * len(raw) / 1e9
    rates = []
    for number in range(rounds + 1):
        begun = time.process_time()
        extract(model, raw)
        if number:
            rates.append(work / (time.process_time() - begun))
    label = f"{name}_extraction_vs_best_product_gflop_per_cpu_s"
    facts = {"images_per_cpu_s": float(np.median(rates)) * len(raw) / work}
    return compare(label, rates, [peak] * rounds, command, **facts)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=Path("data/mnist"))
    parser.add_argument("--model", type=Path, help="a model folder; an untrained model without")
    parser.add_argument("--rounds", type=int, default=3, help="of extraction")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    model = f" --model {given.model}" if given.model else ""
    command = f"python -m benchmarks.evaluation --dataset {given.dataset}{model} --threads {given.threads}"
    torch.set_num_threads(1)
    low = choose_precision("auto", torch.device("cpu")).name == "bf16"
    peak = peak_gflops(torch.bfloat16 if low else torch.float32)
    rows = [extraction_row(name, shape, peak, given.rounds, command) for name, shape in SHAPES.items()]
    torch.set_num_threads(given.threads)
    rows += probe_rows(features_of(open_dataset(given.dataset), given.model), command)
    publish("evaluation", rows)


if __name__ == "__main__":
    main()
