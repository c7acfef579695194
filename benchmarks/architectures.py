"""``python -m benchmarks.architectures``: every encoder with every decoder that can read it, on the bundled digits.

Each pair trains for the same number of steps; k-NN on its frozen features, on the validation split, stands beside the same network
untrained, and beside its seconds of one core and its FLOPs. Options of the transformer follow, one at a time. What is measured is written
at once, one file for each training, so a run that was stopped goes on where it was; after a change of the code remove
``benchmarks/out/architectures/``. The figure shows accuracy against seconds and FLOPs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.rows import OUT, Row, publish
from benchmarks.scatter import Point, draw, front
from experiments.datasets import prepare
from mae_core.atomic import replace_file, write_text
from mae_core.building import fits
from mae_core.data.dataset import Dataset, DatasetError, open_dataset
from mae_core.decoders import DECODERS
from mae_core.draws import key
from mae_core.encoders import ENCODERS
from mae_core.evaluation.features import extract
from mae_core.evaluation.knn import knn_accuracy
from mae_core.evaluation.statistics import over_seeds
from mae_core.flops import train_flops
from mae_core.modalities.image import ImageModality
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start

COMMAND = "python -m benchmarks.architectures"
DATASET, PATCH = "mnist5k", 4
ENCODER_SIZES: dict[str, dict[str, Any]] = {
    "vit": {"width": 64, "depth": 3, "heads": 4},
    "conv": {"width": 64, "depth": 3, "kernel": 5},
    "hybrid": {"width": 64, "depth": 3, "heads": 4},
}
DECODER_SIZES: dict[str, dict[str, Any]] = {
    "joint": {"width": 48, "depth": 1, "heads": 4},
    "cross": {"width": 48, "depth": 1, "heads": 4},
    "linear": {"width": 48, "heads": 4},
    "unet": {"width": 48, "depth": 1, "kernel": 5},
}
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "vit-joint, 4 registers": {"encoder": {"registers": 4}},
    "vit-joint, normalised queries": {"encoder": {"qk_norm": True}},
    "vit-joint, rotary positions": {"encoder": {"positions": "rope"}},
    "vit-joint, paths dropped": {"encoder": {"drop_path": 0.1}},
    "vit-joint, layer scale": {"encoder": {"layer_scale": 0.1}},
    "vit-joint, global token": {"encoder": {"global_pool": "token"}},
    "vit-cross, half predicted": {"decoder": {"kind": "cross", "share": 0.5}},
}
"""Name → what differs from ``vit-joint``, or from the pair that is named."""


class Case(NamedTuple):
    """One architecture and seed."""

    name: str
    config: dict[str, Any]
    seed: int
    steps: int
    batch_size: int

    @property
    def file(self) -> str:
        """Where its outcome lies: another for every change of what is trained."""
        said = json.dumps([self.config, self.seed, self.steps, self.batch_size], sort_keys=True)
        return f"{key(said):016x}.json"


class Outcome(NamedTuple):
    """What one training gave."""

    name: str
    seed: int
    first_loss: float
    last_loss: float
    """Means over the first and the last tenth of the steps."""
    untrained: float
    pretrained: float
    """Accuracy of k-NN on validation."""
    seconds: float
    """Of one core, training alone."""
    flops: float
    """Of the whole training."""
    parameters: int
    """Of the encoder."""


def cases(info: dict[str, Any], seeds: Sequence[int], steps: int, batch_size: int) -> Iterator[Case]:
    """Every pair that fits, then the options, for every seed."""
    pairs = {
        f"{encoder}-{decoder}": (
            {"kind": encoder, **ENCODER_SIZES[encoder]},
            {"kind": decoder, **DECODER_SIZES[decoder]},
        )
        for encoder in ENCODERS
        for decoder in DECODERS
        if encoder in ImageModality.encoders and fits(encoder, decoder)
    }
    for name, changes in OPTIONS.items():
        encoder, decoder = pairs[name.partition(",")[0]]
        pairs[name] = ({**encoder, **changes.get("encoder", {})}, {**decoder, **changes.get("decoder", {})})
    for seed in seeds:
        for name, (encoder, decoder) in pairs.items():
            config = {
                "modality": {"kind": "image", **ImageModality.configure(info, PATCH)},
                "encoder": encoder,
                "decoder": decoder,
                "masking": {"strategy": "random", "ratio": 0.75},
                "objective": {"reconstruction": 1.0, "target": "pixels"},
            }
            yield Case(name, config, seed, steps, batch_size)


def measure(case: Case, dataset: Dataset) -> Outcome:
    """Trains one case and probes it."""
    settings = Settings(steps=case.steps, batch_size=case.batch_size, lr=2e-3, precision="fp32", seed=case.seed)
    untrained = probe(MaskedAutoencoder.build(case.config, case.seed), dataset)
    state = start(case.config, settings)
    began, losses = time.process_time(), []
    for progress in fit(state, dataset.split("train").samples, settings, report_every=1):
        losses.append(progress.loss)
    seconds = time.process_time() - began
    some = max(case.steps // 10, 1)
    return Outcome(
        case.name,
        case.seed,
        float(np.mean(losses[:some])),
        float(np.mean(losses[-some:])),
        untrained,
        probe(state.result(), dataset),
        seconds,
        train_flops(case.config) * case.batch_size * case.steps,
        sum(parameter.numel() for parameter in state.model.encoder.parameters()),
    )


def probe(model: MaskedAutoencoder, dataset: Dataset) -> float:
    """Accuracy of k-NN on the validation split."""
    both = [dataset.split(name) for name in ("train", "validation")]
    (train_x, train_y), (x, y) = (
        (extract(model, one.samples, precision="fp32"), np.asarray(one.labels)) for one in both
    )
    return knn_accuracy(train_x, train_y, x, y)


def sweep(wanted: Sequence[Case], dataset: Dataset, folder: Path) -> list[Outcome]:
    """The outcome of every case; those that ``folder`` holds are not measured again."""
    found = []
    for case in wanted:
        path = folder / case.file
        if not path.is_file():
            write_text(path, json.dumps(measure(case, dataset)._asdict(), indent=1) + "\n")
        found.append(Outcome(**json.loads(path.read_text())))
        one = found[-1]
        print(
            f"{one.name:<30} seed {one.seed}: {one.untrained:.3f} → {one.pretrained:.3f}, {one.seconds:.1f} s",
            flush=True,
        )
    return found


def rows_of(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row for each architecture: k-NN after training beside before, its ratio over seeds where there are three or more."""
    rows = []
    best = {point.name for point in front(points(outcomes, "seconds"))}
    for name, some in by_name(outcomes).items():
        before, after = np.array([one.untrained for one in some]), np.array([one.pretrained for one in some])
        ratio, low, high = float(np.mean(after / before)), None, None
        if len(some) > 2:
            spread = over_seeds(after / before, "pretraining seeds")
            low, high = spread.low, spread.high
        facts = {
            "loss_before": float(np.mean([one.first_loss for one in some])),
            "loss_after": float(np.mean([one.last_loss for one in some])),
            "seconds": float(np.mean([one.seconds for one in some])),
            "gflop": some[0].flops / 1e9,
            "encoder_parameters": some[0].parameters,
            "nothing_is_both_faster_and_better": name in best,
        }
        title = f"{name.replace(', ', '_').replace(' ', '_')}_knn_accuracy_vs_untrained"
        rows.append(Row(title, float(after.mean()), float(before.mean()), ratio, low, high, len(some), COMMAND, facts))
    return rows


def by_name(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes of each architecture, in the order of their first."""
    found: dict[str, list[Outcome]] = {}
    for one in outcomes:
        found.setdefault(one.name, []).append(one)
    return found


def points(outcomes: Sequence[Outcome], cost: str) -> list[Point]:
    """Means over seeds: ``cost`` (``seconds`` or ``flops``) and accuracy."""
    return [
        Point(
            name, float(np.mean([getattr(one, cost) for one in some])), float(np.mean([one.pretrained for one in some]))
        )
        for name, some in by_name(outcomes).items()
    ]


def picture(outcomes: Sequence[Outcome], path: Path) -> None:
    """Writes the two plots, one above the other, as a PNG."""
    from PIL import Image

    plots = [
        draw(points(outcomes, cost), across, "k-NN accuracy on validation")
        for cost, across in (("seconds", "seconds of one core, training"), ("flops", "FLOPs of training"))
    ]
    with replace_file(path) as staging:
        Image.fromarray(np.concatenate(plots)).save(staging, "PNG")


def main() -> None:
    """Measures, prints, writes benchmarks/out/architectures.json and .png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="pretraining seeds")
    parser.add_argument("--steps", type=int, default=800, help="of each training")
    parser.add_argument("--batch", type=int, default=32, help="samples of a step")
    parser.add_argument("--only", nargs="*", default=[], help="architectures, such as conv-unet; all by default")
    given = parser.parse_args()
    try:
        dataset = open_dataset(Path("data") / DATASET)
    except DatasetError:
        prepare(DATASET, Path())
        dataset = open_dataset(Path("data") / DATASET)
    wanted = [
        case
        for case in cases(dataset.info, range(given.seeds), given.steps, given.batch)
        if not given.only or case.name in given.only
    ]
    outcomes = sweep(wanted, dataset, OUT / "architectures")
    publish("architectures", rows_of(outcomes))
    picture(outcomes, OUT / "architectures.png")
    print(OUT / "architectures.png")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
