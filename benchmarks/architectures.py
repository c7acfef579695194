"""``python -m benchmarks.architectures``: every encoder with every decoder that can read it, at several sizes, on small pictures.

Seed 0 of each tries the same three learning rates; the one whose k-NN is best on validation trains the other seeds. (Seed 0 counts among
the seeds, so a best of three is in each mean.) With ``--options`` those of the transformer follow, one at a time, at the rate of their
plain pair. k-NN and a linear probe of frozen features, on the validation split, stand beside the same network untrained, and beside its
seconds and its FLOPs.

What is measured is written at once, one file for each training, so a run that was stopped goes on where it was, and ``--workers`` share
what is missing; what cannot be trained is a file that says so, and in no mean. On a CPU a training has one core and seconds are those of
that core. On a GPU they are the clock's, and where several workers have one GPU, trainings slow each other: look at the FLOPs.

The default is 100 trainings, about 130 minutes of one core: run it with ``--workers 2`` on two cores. The large size takes about three
times as long as the medium one. After ``--most-minutes`` it stops; the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.architecture_cases import (
    DATASETS,
    ENCODER_SIZES,
    RATES,
    Case,
    Common,
    case,
    like,
    optional,
    pairs,
)
from benchmarks.commands import again, table_name
from benchmarks.rows import OUT, Row, publish
from benchmarks.scatter import Point, draw, front
from benchmarks.spread import TimeSpent, problem_of, spread
from experiments.datasets import prepare
from mae_core.atomic import replace_file
from mae_core.data.dataset import Dataset, DatasetError, open_dataset
from mae_core.evaluation.features import extract
from mae_core.evaluation.knn import knn_accuracy
from mae_core.evaluation.linear import fit_linear
from mae_core.evaluation.statistics import over_seeds
from mae_core.flops import train_flops
from mae_core.modalities.image import ImageModality
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start

COMMAND = "python -m benchmarks.architectures"
REPEATED = ("dataset", "sizes", "seeds", "steps", "batch", "options", "only")
"""Options that decide what stands in a table."""
NAMED = ("sizes", "only")
"""Those of them that its name tells of: which architectures are in it."""
PROBES = ("knn", "linear")


class Scores(NamedTuple):
    """Accuracies on the validation split."""

    knn: float
    linear: float


class Outcome(NamedTuple):
    """What one training gave."""

    name: str
    lr: float
    seed: int
    first_loss: float
    last_loss: float
    """Means over reports of the first and of the last tenth of the steps."""
    untrained: Scores
    pretrained: Scores
    seconds: float
    """Of training alone."""
    clock: str
    """What the seconds are of: one core, or a GPU by name."""
    flops: float
    """Of the whole training."""
    parameters: int
    """Of the encoder."""
    problem: str = ""
    """Why there is nothing of all that."""

    @classmethod
    def read(cls, one: Case, text: str) -> Outcome:
        """Of a case's file."""
        if problem := problem_of(text):
            nothing = Scores(math.nan, math.nan)
            return cls(one.name, one.lr, one.seed, math.nan, math.nan, nothing, nothing, 0.0, "", 0.0, 0, problem)
        told = {name: value for name, value in json.loads(text).items() if name in cls._fields}
        return cls(**told | {when: Scores(**told[when]) for when in ("untrained", "pretrained")})

    def written(self) -> str:
        """The inverse of ``read``."""
        whole = self._asdict() | {"untrained": self.untrained._asdict(), "pretrained": self.pretrained._asdict()}
        return json.dumps(whole)


def measure(one: Case) -> Outcome:
    """Trains one case and probes it before and after."""
    common, device = one.common, torch.device(one.common.device)
    dataset = open_dataset(common.data)
    settings = Settings(common.steps, common.batch_size, one.lr, precision="fp32", seed=one.seed)
    untrained = probe(MaskedAutoencoder.build(one.config, one.seed).to(device), dataset)
    state = start(one.config, settings, device)
    began, losses = clock(device), []
    for progress in fit(state, dataset.split("train").samples, settings, report_every=max(common.steps // 100, 1)):
        losses.append(progress.loss)
    seconds, some = clock(device) - began, max(len(losses) // 10, 1)
    return Outcome(
        one.name,
        one.lr,
        one.seed,
        float(np.mean(losses[:some])),
        float(np.mean(losses[-some:])),
        untrained,
        probe(state.result(), dataset),
        seconds,
        torch.cuda.get_device_name(device) if device.type == "cuda" else "one core",
        train_flops(one.config, common.batch_size) * common.batch_size * common.steps,
        sum(parameter.numel() for parameter in state.model.encoder.parameters()),
    )


def clock(device: torch.device) -> float:
    """Seconds: of this process on a CPU, of the clock where a GPU has done what it was given."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def probe(model: MaskedAutoencoder, dataset: Dataset) -> Scores:
    """Of features of labelled samples."""
    x, y = {}, {}
    for name in ("train", "validation"):
        split = dataset.split(name)
        known = np.flatnonzero(split.labels >= 0)
        x[name], y[name] = extract(model, split.samples[known], precision="fp32"), np.asarray(split.labels)[known]
    return Scores(
        knn_accuracy(x["train"], y["train"], x["validation"], y["validation"]),
        fit_linear(x["train"], y["train"], x["validation"], y["validation"]).validation,
    )


def written(one: Case) -> str:
    """The text of a case's file."""
    return measure(one).written()


def sweep(
    sizes: Sequence[str],
    seeds: int,
    common: Common,
    run: Callable[[list[Case]], list[Outcome]],
    options: bool,
    only: Sequence[str] = (),
) -> list[Outcome]:
    """The outcome of every architecture and seed at its chosen rate, in the order of the tables; failed ones are among them.

    ``run`` measures cases; ``only`` leaves out what is not named. Of an architecture that could be trained at no rate every try is given.
    """
    networks = {name: network for name, network in pairs(sizes).items() if not only or name in only}
    tried = run([case(name, network, lr, 0, common) for name, network in networks.items() for lr in RATES])
    rates = chosen(tried)
    extra = {name: network for name, network in optional(sizes[0]).items() if options and like(name, sizes[0]) in rates}
    seeds_of = {**dict.fromkeys(rates, range(1, seeds)), **dict.fromkeys(extra, range(seeds))}
    networks |= extra
    rates |= {name: rates[like(name, sizes[0])] for name in extra}
    rest = run(
        [case(name, networks[name], rates[name], seed, common) for name, some in seeds_of.items() for seed in some]
    )
    kept = [one for one in tried if one.lr == rates.get(one.name, one.lr)]
    order = list(networks)
    return sorted(kept + rest, key=lambda one: (order.index(one.name), one.seed))


def chosen(tried: Sequence[Outcome]) -> dict[str, float]:
    """Name → the rate of the best k-NN on validation; of equal ones the lowest. Without the names of which nothing could be trained."""
    best: dict[str, Outcome] = {}
    for one in sorted((one for one in tried if not one.problem), key=lambda one: one.lr):
        if one.name not in best or one.pretrained.knn > best[one.name].pretrained.knn:
            best[one.name] = one
    return {name: one.lr for name, one in best.items()}


def here(folder: Path, processes: int, cases: list[Case], until: float = math.inf) -> list[Outcome]:
    """Measures what ``folder`` does not hold, says each as it ends, and gives them in the order asked for.

    Raises TimeSpent where some would begin after ``until`` (of ``time.time()``).
    """
    found = {}
    # so that no long one runs alone in the end
    dearest_first = sorted(cases, key=lambda one: -train_flops(one.config, one.common.batch_size))
    for one, text in spread(dearest_first, folder, written, processes, until):
        found[one.file] = outcome = Outcome.read(one, text)
        told = (
            f"k-NN {outcome.untrained.knn:.3f} → {outcome.pretrained.knn:.3f}, "
            f"linear {outcome.untrained.linear:.3f} → {outcome.pretrained.linear:.3f}, {outcome.seconds:.1f} s"
        )
        if outcome.problem:
            told = f"{outcome.problem}; remove {folder / one.file} to have it tried again"
        print(f"{one.name:<36} rate {one.lr:g} seed {one.seed}: {told}", flush=True)
    if len(found) < len({one.file for one in cases}):
        raise TimeSpent(len(found), len({one.file for one in cases}), folder)
    return [found[one.file] for one in cases]


def rows_of(outcomes: Sequence[Outcome], command: str) -> list[Row]:
    """Two rows for each architecture: a probe after training beside before, its ratio over seeds where there are three or more.

    What could not be trained is in no mean, and named in all of them. Raises RuntimeError where nothing could.
    """
    failed = [f"{one.name} rate {one.lr:g} seed {one.seed}" for one in outcomes if one.problem]
    outcomes = [one for one in outcomes if not one.problem]
    if not outcomes:
        raise RuntimeError(f"none could be trained: {', '.join(failed)}; see above why")
    note = {"stopped": f"failed: {', '.join(failed)}"} if failed else {}
    rows = []
    for what in PROBES:
        best = {point.name for point in front(points(outcomes, "flops", what))}
        for name, some in by_name(outcomes).items():
            before, after = (
                np.array([getattr(getattr(one, when), what) for one in some]) for when in ("untrained", "pretrained")
            )
            ratio, low, high = float(np.mean(after / before)), None, None
            if len(some) > 2:
                spread_of = over_seeds(after / before, "pretraining seeds")
                low, high = spread_of.low, spread_of.high
            facts = {
                "lr": some[0].lr,
                "loss_before": float(np.mean([one.first_loss for one in some])),
                "loss_after": float(np.mean([one.last_loss for one in some])),
                "seconds": float(np.mean([one.seconds for one in some])),
                "seconds_of": some[0].clock,
                "gflop": some[0].flops / 1e9,
                "encoder_parameters": some[0].parameters,
                "nothing_is_both_cheaper_and_better": name in best,
                "split": "validation",
                **note,
            }
            title = f"{name.replace(', ', '_').replace(' ', '_')}_{what}_accuracy_vs_untrained"
            rows.append(
                Row(title, float(after.mean()), float(before.mean()), ratio, low, high, len(some), command, facts)
            )
    return rows


def by_name(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes of each architecture, in the order of their first."""
    found: dict[str, list[Outcome]] = {}
    for one in outcomes:
        found.setdefault(one.name, []).append(one)
    return found


def points(outcomes: Iterable[Outcome], cost: str, what: str) -> list[Point]:
    """Means over seeds: ``cost`` (``seconds`` or ``flops``) and the accuracy of the probe ``what``."""
    return [
        Point(
            name,
            float(np.mean([getattr(one, cost) for one in some])),
            float(np.mean([getattr(one.pretrained, what) for one in some])),
        )
        for name, some in by_name(outcomes).items()
    ]


def picture(outcomes: Sequence[Outcome], path: Path) -> None:
    """Writes four plots, one above the other, as a PNG: each probe against seconds and against FLOPs."""
    from PIL import Image

    said = {"knn": "k-NN accuracy on validation", "linear": "linear probe on validation"}
    across = {"seconds": f"seconds of {outcomes[0].clock}, training", "flops": "FLOPs of training"}
    plots = [draw(points(outcomes, cost, what), across[cost], said[what]) for what in PROBES for cost in across]
    with replace_file(path) as staging:
        Image.fromarray(np.concatenate(plots)).save(staging, "PNG")


def prepared(name: str, root: Path) -> Dataset:
    """The dataset below ``root``, prepared where it is not yet there."""
    try:
        return open_dataset(root / "data" / name)
    except DatasetError:
        prepare(name, root)
        return open_dataset(root / "data" / name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, writes benchmarks/out/architectures-<dataset>.json and .png, of some alone under a longer name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=list(DATASETS), default="mnist5k")
    parser.add_argument("--sizes", nargs="+", choices=list(ENCODER_SIZES), default=["small", "medium"])
    parser.add_argument("--seeds", type=int, default=3, help="pretraining seeds")
    parser.add_argument("--steps", type=int, default=2000, help="of each training")
    parser.add_argument("--batch", type=int, default=32, help="samples of a step")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: cuda where there is one"
    )
    parser.add_argument("--workers", type=int, default=1, help="trainings at once; on a CPU as many as cores")
    parser.add_argument("--most-minutes", type=float, default=90.0, help="begin no training after so long")
    parser.add_argument(
        "--only", nargs="*", default=[], help="architectures, such as 'conv-unet small'; all by default"
    )
    parser.add_argument("--options", action="store_true", help="those of the transformer, too, at the first size")
    parser.add_argument("--root", type=Path, default=Path(), help="of the project: holds data/")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    known = pairs(given.sizes)
    if unknown := [one for one in given.only if one not in known]:
        parser.error(f"--only {', '.join(unknown)}: the architectures of these sizes are {', '.join(known)}")
    dataset = prepared(given.dataset, given.root)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device
    modality = {"kind": "image", **ImageModality.configure(dataset.info, DATASETS[given.dataset])}
    common = Common(modality, given.steps, given.batch, device, dataset.folder.absolute(), dataset.fingerprint)
    until = time.time() + 60 * given.most_minutes
    run = partial(here, given.out / "architectures", given.workers, until=until)
    try:
        outcomes = sweep(given.sizes, given.seeds, common, run, given.options, given.only)
    except TimeSpent as spent:
        raise SystemExit(str(spent)) from None
    name = table_name(f"architectures-{given.dataset}", parser, given, NAMED)
    publish(name, rows_of(outcomes, again(COMMAND, given, REPEATED)), given.out)
    picture([one for one in outcomes if not one.problem], given.out / f"{name}.png")
    print(given.out / f"{name}.png")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
