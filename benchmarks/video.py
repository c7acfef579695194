"""``python -m benchmarks.video``: what a model of moving digits knows of motion, and how well it goes on with a clip.

The clips are synthetic (see docs/modalities/video.md). One training of the recipe ``moving``, in this process, serves both questions:

(a) Linear probes of direction, speed and digit on frozen features, beside the same network untrained, optical-flow histograms, and
    principal components of the frames. Each probe's regularisation, the number of components and the time resolution of the flow are
    chosen on validation. Right and wrong are paired clip by clip on test.
(b) The squared error of filling the last 4 of 16 frames, beside copying the last frame and moving it on at constant velocity; over how
    many frames that velocity is taken is chosen on validation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.flow import flow_histograms, pooled
from benchmarks.rows import OUT, Row, publish
from benchmarks.table import ratio_of_means
from experiments.datasets import prepare
from experiments.recipe import load_recipe
from experiments.resolving import resolve
from mae_core.data.dataset import Dataset, DatasetError, open_dataset
from mae_core.evaluation.baselines import COMPONENTS, fit_components
from mae_core.evaluation.features import extract
from mae_core.evaluation.linear import LinearProbe, fit_linear
from mae_core.evaluation.statistics import over_items
from mae_core.evaluation.video_quality import motion_fill, nearest_fill
from mae_core.modalities.video import VideoModality
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import fit, start

COMMAND = "python -m benchmarks.video"
RECIPE = "moving"
LABELS = ("direction", "speed", "digit")
SPLITS = ("train", "validation", "test")
SEGMENTS = (1, 3, 5, 15)
"""Stretches of time that flow is summed over."""
GAPS = (1, 2, 3)
"""Frames over which a velocity is taken."""
TAIL = 4
"""Frames to fill."""
BATCH = 100

Features = dict[str, np.ndarray]
"""Split → (n, D)."""


def dataset_of(label: str, root: Path) -> Dataset:
    """``moving_<label>``, prepared where it is not."""
    name = f"moving_{label}"
    try:
        return open_dataset(root / "data" / name)
    except DatasetError:
        prepare(name, root)
        return open_dataset(root / "data" / name)


def best_probe(candidates: list[Features], labels: dict[str, np.ndarray]) -> tuple[LinearProbe, Features]:
    """The linear probe that is best on validation, and the features it looks at; of equal ones the first."""
    known = labels["train"], labels["validation"]
    probes = [fit_linear(one["train"], known[0], one["validation"], known[1]) for one in candidates]
    at = int(np.argmax([probe.validation for probe in probes]))
    return probes[at], candidates[at]


def features_of(
    pretrained: MaskedAutoencoder, untrained: MaskedAutoencoder, samples: dict[str, np.ndarray]
) -> dict[str, list[Features]]:
    """What each contender may look at, by name; the first is ours."""
    flows = {split: flow_histograms(some) for split, some in samples.items()}
    plain = {split: VideoModality.plain(some, {}) for split, some in samples.items()}
    components = fit_components(plain["train"])
    reduced = {split: components(x) for split, x in plain.items()}
    return {
        "pretrained": [{split: extract(pretrained, some) for split, some in samples.items()}],
        "untrained": [{split: extract(untrained, some) for split, some in samples.items()}],
        "flow_histogram": [{split: pooled(x, k) for split, x in flows.items()} for k in SEGMENTS],
        "pca": [{split: x[:, :k] for split, x in reduced.items()} for k in COMPONENTS],
    }


def probe_rows(found: dict[str, list[Features]], datasets: dict[str, Dataset]) -> list[Row]:
    """A row for each label and baseline: test accuracies, their ratio, and the paired difference with its interval over clips."""
    rows = []
    for label, dataset in datasets.items():
        labels = {split: np.asarray(dataset.split(split).labels) for split in SPLITS}
        right = {}
        for name, candidates in found.items():
            probe, features = best_probe(candidates, labels)
            right[name] = (probe.predict(features["test"]) == labels["test"]).astype(float)
        ours = right.pop("pretrained")
        rows += [_row(f"{label}_accuracy_vs_{name}", ours, theirs, 1) for name, theirs in right.items()]
    return rows


def fill_rows(model: MaskedAutoencoder, validation: np.ndarray, test: np.ndarray) -> list[Row]:
    """The squared error of the last frames of each clip of test, ours beside each trivial fill."""
    ratio = TAIL / model.modality.size[0]
    moved = {gap: lambda raw, hidden, gap=gap: motion_fill(raw, hidden, gap) for gap in GAPS}
    errors = {gap: float(_errors(model, validation, ratio, fill).mean()) for gap, fill in moved.items()}
    gap = min(errors, key=lambda gap: errors[gap])
    ours = _errors(model, test, ratio, None)
    fills = {"copy_last": nearest_fill, "constant_velocity": moved[gap], "mean_colour": model.modality.trivial}
    facts = {"constant_velocity": {"frames_apart": gap}}
    return [
        _row(f"last_{TAIL}_frames_mse_vs_{name}", ours, _errors(model, test, ratio, fill), -1, **facts.get(name, {}))
        for name, fill in fills.items()
    ]


def _errors(
    model: MaskedAutoencoder, samples: np.ndarray, ratio: float, fill: Callable[[Tensor, Tensor], Tensor] | None
) -> np.ndarray:
    """(n,): the mean squared error of hidden pixels in 0..1, of ``fill`` or of the model."""
    found = []
    for first in range(0, len(samples), BATCH):
        raw = torch.from_numpy(np.array(samples[first : first + BATCH]))
        made = model.reconstruct(raw, ratio, "tail")
        filled = made.filled if fill is None else fill(raw, made.hidden)
        found.append(model.modality.quality(filled, raw, made.hidden)["mse_hidden"])
    return np.concatenate(found)


def _row(name: str, ours: np.ndarray, theirs: np.ndarray, better: int, **facts: float) -> Row:
    """Means over clips; ``gain`` is the paired difference, positive where ours is better."""
    gain = over_items(better * (ours - theirs))
    facts |= {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high}
    return Row(name, float(ours.mean()), float(theirs.mean()), *ratio_of_means(ours, theirs), len(ours), COMMAND, facts)


def main(root: Path = Path()) -> None:
    """Trains, measures, prints, writes ``benchmarks/out/video.json`` and a picture of filled clips beside it."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the pretraining")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    given = parser.parse_args()
    datasets = {label: dataset_of(label, root) for label in LABELS}
    first = datasets["direction"]
    samples = {split: first.split(split).samples for split in SPLITS}
    resolved = resolve(load_recipe(RECIPE, root), first.info, {}, "video")
    settings = replace(resolved.settings, seed=given.seed, steps=given.steps or resolved.settings.steps)
    state, began = start(resolved.config, settings), time.process_time()
    for progress in fit(state, samples["train"], settings, report_every=500):
        print(f"step {progress.step}: loss {progress.loss:.3f}, {time.process_time() - began:.0f} s", flush=True)
    seconds = time.process_time() - began
    model = state.result().eval()
    untrained = MaskedAutoencoder.build(resolved.config, given.seed).eval()
    rows = probe_rows(features_of(model, untrained, samples), datasets)
    rows += fill_rows(model, samples["validation"], samples["test"])
    rows.append(Row("training_core_seconds", seconds, None, None, None, None, 1, COMMAND, {"steps": settings.steps}))
    raw = torch.from_numpy(np.array(samples["test"][:: len(samples["test"]) // 6]))
    made = model.reconstruct(raw, TAIL / model.modality.size[0], "tail")
    publish("video", rows, OUT)
    Image.fromarray(model.modality.picture(raw, made.masked, made.filled)).save(OUT / "video.png")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
