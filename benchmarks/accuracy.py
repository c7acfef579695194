"""Features against time: how soon a pretraining reaches a k-NN accuracy, ours beside other people's code. Can be stopped and gone on with.

``python -m benchmarks.accuracy`` writes benchmarks/out/accuracy.json. Every contestant trains the default architecture on one thread for
the same CPU seconds, with the same images, optimiser and warm-up, in its own best precision that needs no change of its code; each is
given as many trials of peak rate, batch and patch. A first seed chooses: of each other the trial that ends best, of ours the one that is
first as good as the best of these. They are compared on further seeds.
Ours has no global token and, in most of its trials, what the others do not have (``WAYS``); ``ours_plain`` has the network and the trials
of the others.
The rate stays at its peak after the warm-up, so that every point of a curve could have been the end. What is asked is how soon ours is as
good as the other is in the end. k-NN accuracy is that of the validation split; measuring it is not counted.

Curves that were measured are kept in benchmarks/out/curves/accuracy.json, one a contestant, dataset, trial
and seed, and not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from itertools import product
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.peers import Peer, ours, vit_pytorch, vitmae
from benchmarks.rows import OUT, Row, compare, publish
from benchmarks.training import recipe_with
from experiments.recipe import Recipe
from experiments.resolving import Resolved, resolve
from mae_core.atomic import write_text
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.data.loader import Batches
from mae_core.evaluation.knn import knn_accuracy
from mae_core.model import MaskedAutoencoder
from mae_core.training.optim import adamw, param_groups, set_lr
from mae_core.training.precision import Precision, choose_precision
from mae_core.training.world import World

CURVES = OUT / "curves" / "accuracy.json"
WARM_UP, WEIGHT_DECAY, BETAS, CLIP = 100, 0.05, (0.9, 0.95), 1.0
CONTESTANTS = ("ours", "ours_plain", "vitmae_fp32", "vitmae_bf16", "vit_pytorch_bf16")
POINTS = 8
"""Of a curve, evenly spread over the budget."""
MOST = 5_000
"""Training samples whose features vote, and validation samples that are asked, at most."""


class Trial(NamedTuple):
    """One way to train."""

    rate: float
    """At the peak."""
    batch: int
    patch: int | None
    """None: the dataset's default."""
    ways: tuple[str, ...] = ()
    """Of ``WAYS``; ours alone has them."""


WAYS: dict[str, dict[str, Any]] = {
    "local": {"model.encoder.local_start": True, "model.decoder.local_start": True},
    "half_grid": {"masking.strategy": "grid", "masking.ratio": 0.5},
    "spread": {"objective.variance": 0.3, "objective.covariance": 0.03},
    "apart": {"objective.covariance": 0.3},
    "contrast": {"objective.mask_contrastive": 0.3},
    "averaged": {"pretrain.ema": 0.99},
}
"""Name → what a recipe says for it; of two that say it the later has it."""
TRIALS = (
    Trial(1e-3, 128, None),
    Trial(2e-3, 128, None),
    Trial(1e-3, 64, None),
    Trial(1e-3, 128, 4),
    Trial(2e-3, 128, 4),
    Trial(1e-3, 64, 4),
)
"""What everybody may choose from."""
OURS = (
    Trial(1e-3, 64, None),
    Trial(1e-3, 64, None, ("local", "half_grid", "spread")),
    Trial(2e-3, 64, None, ("local", "half_grid", "spread")),
    Trial(1e-3, 64, None, ("local", "half_grid", "spread", "contrast")),
    Trial(2e-3, 64, None, ("local", "half_grid", "spread", "apart", "averaged")),
    Trial(1e-3, 64, 4, ("local", "spread")),
)
"""As many, of which ours chooses."""


class Key(NamedTuple):
    """Which curve."""

    dataset: str
    contestant: str
    trial: Trial
    seed: int
    budget: float
    """CPU seconds."""

    def name(self) -> str:
        """One word."""
        rate, batch, patch, ways = self.trial
        how = "-".join([f"{rate:g}", f"{batch}", f"{patch or 'default'}", *ways])
        return f"{self.dataset}/{self.contestant}/{how}/{self.seed}/{self.budget:g}"


class Curve(NamedTuple):
    """A training as it went."""

    seconds: list[float]
    """CPU seconds of training up to each point."""
    accuracy: list[float]
    """k-NN, of validation."""
    steps: int

    def reached(self, accuracy: float) -> float | None:
        """CPU seconds until the curve first reached ``accuracy``, on the straight line between two points; None where it did not."""
        for number, found in enumerate(self.accuracy):
            if found < accuracy:
                continue
            if not number:
                return self.seconds[0]
            before, since = self.accuracy[number - 1], self.seconds[number - 1]
            return since + (self.seconds[number] - since) * (accuracy - before) / (found - before)
        return None


def resolved_for(dataset: Dataset, trial: Trial) -> Resolved:
    """The default architecture for a dataset, predicting plain pixels, as every contestant can, with the trial's ways of our own."""
    changes: dict[str, Any] = {"objective.target": "pixels"}
    if trial.patch is not None:
        changes["model.patch"] = trial.patch
    for way in trial.ways:
        changes |= WAYS[way]
    return resolve(recipe_with(Recipe(), changes), dataset.info, {}, dataset.modality)


def contestant(name: str, config: dict[str, Any], seed: int) -> tuple[Peer, Precision]:
    """A freshly initialised network and the precision it trains in."""
    who, _, precision = name.rpartition("_")
    if name.startswith("ours"):
        config = {**config, "encoder": {**config["encoder"], "global_token": name == "ours_plain"}}
        return ours(config, seed), choose_precision("auto", torch.device("cpu"))
    model = MaskedAutoencoder.build(config, seed)
    torch.manual_seed(seed)
    peer = vitmae(model, "eager") if who == "vitmae" else vit_pytorch(model)
    return peer, Precision(precision, "asked for")


def train(peer: Peer, precision: Precision, dataset: Dataset, key: Key, decay: float) -> Curve:
    """Trains for the budget and asks k-NN at ``POINTS`` times: of weights averaged with ``decay``, where that is not zero."""
    batches = Batches(dataset.split("train").samples, key.trial.batch, key.seed, World(), torch.device("cpu"))
    optimizer = adamw(param_groups(peer.module, WEIGHT_DECAY), BETAS)
    weights = [parameter.detach() for parameter in peer.module.parameters()]
    averaged = [weight.clone() for weight in weights] if decay else weights
    seconds: list[float] = []
    accuracy: list[float] = []
    spent, step = 0.0, 0
    while len(seconds) < POINTS:
        begun = time.process_time()
        set_lr(optimizer, key.trial.rate * min((step + 1) / WARM_UP, 1))
        with precision.autocast(torch.device("cpu")):
            loss = peer.loss(batches(step).raw, step)
        loss.backward()
        nn.utils.clip_grad_norm_(peer.module.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if decay:
            torch._foreach_lerp_(averaged, weights, 1 - min(decay, (1 + step) / (10 + step)))
        spent, step = spent + time.process_time() - begun, step + 1
        if spent >= key.budget * (len(seconds) + 1) / POINTS:
            seconds.append(spent)
            now = [weight.clone() for weight in weights]
            torch._foreach_copy_(weights, averaged)
            accuracy.append(neighbours(peer, dataset))
            torch._foreach_copy_(weights, now)
    return Curve(seconds, accuracy, step)


@torch.no_grad()
def neighbours(peer: Peer, dataset: Dataset) -> float:
    """k-NN accuracy of validation, at most ``MOST`` samples of either split."""
    peer.module.eval()
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for name in ("train", "validation"):
        split = dataset.split(name)
        rows = np.flatnonzero(np.asarray(split.labels[:MOST]) >= 0)
        blocks = np.array_split(rows, max(len(rows) // 500, 1))
        features = [peer.features(torch.from_numpy(split.samples[block])).float().numpy() for block in blocks]
        found.append((np.concatenate(features), np.asarray(split.labels)[rows]))
    peer.module.train()
    (bank, known), (queries, right) = found
    return knn_accuracy(bank, known, queries, right)


def read_curves(path: Path) -> dict[str, Curve]:
    """The curves measured so far."""
    return {name: Curve(*one) for name, one in json.loads(path.read_text()).items()} if path.is_file() else {}


def measured(keys: list[Key], root: Path, path: Path, until: float) -> Iterator[tuple[Key, Curve]]:
    """Every curve, in turn; what is in ``path`` is read, the rest is measured and written there. Stops where the time is up."""
    known = read_curves(path)
    for key in keys:
        if key.name() not in known:
            if time.perf_counter() > until:
                print(f"not measured, time is up: {key.name()}")
                continue
            dataset = open_dataset(root / "data" / key.dataset)
            resolved = resolved_for(dataset, key.trial)
            peer, precision = contestant(key.contestant, resolved.config, key.seed)
            known[key.name()] = train(peer, precision, dataset, key, resolved.settings.ema)
            write_text(path, json.dumps({name: list(curve) for name, curve in known.items()}, indent=1) + "\n")
            print(key.name(), " ".join(f"{100 * one:.1f}" for one in known[key.name()].accuracy), flush=True)
        yield key, known[key.name()]


def rows_of(curves: list[tuple[Key, Curve]], command: str) -> Iterator[Row]:
    """By dataset: CPU seconds until ours is as good as each other in the end, beside what the other took, each at its best trial.

    Medians over seeds, and the mean ratio of pairs; where ours never was in some pair, means of all it took and of theirs, and no ratio.
    """
    for dataset in dict.fromkeys(key.dataset for key, _ in curves):
        best = {
            name: {key.seed: (key, curve) for key, curve in curves if key[:3] == (dataset, name, trial)}
            for name, trial in chosen(curves, dataset).items()
        }
        mine = best.get("ours", {})
        for name in CONTESTANTS[1:]:
            theirs = best.get(name, {})
            both = [seed for seed in mine if seed in theirs]
            pairs = [(mine[seed], theirs[seed]) for seed in both if seed or both == [0]]
            if not pairs:
                continue
            ends = [other[1].accuracy[-1] for _, other in pairs]
            first = [own[1].reached(end) for (own, _), end in zip(pairs, ends)]
            second = [other[1].reached(end) for (_, other), end in zip(pairs, ends)]
            facts = {
                "accuracy_asked": float(np.mean(ends)),
                "ours_last_accuracy": float(np.mean([own[1].accuracy[-1] for own, _ in pairs])),
                "ours_trial": str(tuple(pairs[0][0][0].trial)),
                "baseline_trial": str(tuple(pairs[0][1][0].trial)),
                "ours_steps": pairs[0][0][1].steps,
                "baseline_steps": pairs[0][1][1].steps,
                "trials": len({k.trial for k, _ in curves if (k.dataset, k.contestant) == (dataset, name)}),
                "not_reached": first.count(None),
            }
            label = f"{dataset}_ours_vs_{name}_cpu_s_to_its_last_accuracy"
            reached, took = [x for x in first if x is not None], [x for x in second if x is not None]
            if len(reached) < len(pairs):
                spent = float(np.mean([own[1].seconds[-1] for own, _ in pairs]))
                yield Row(label, spent, float(np.mean(took)), None, None, None, len(pairs), command, facts)
            else:
                yield compare(label, reached, took, command, **facts)


def chosen(curves: list[tuple[Key, Curve]], dataset: str) -> dict[str, Trial]:
    """By contestant, what its first seed chooses: of ours how soon it is as good as the best of the others, of these the last accuracy."""
    first: dict[str, dict[Trial, Curve]] = {}
    for key, curve in curves:
        if (key.dataset, key.seed) == (dataset, 0):
            first.setdefault(key.contestant, {})[key.trial] = curve
    best = {
        name: max(some, key=lambda trial: some[trial].accuracy[-1]) for name, some in first.items() if name != "ours"
    }
    asked = max((first[name][trial].accuracy[-1] for name, trial in best.items()), default=1.0)
    some = first.get("ours", {})
    if some:
        best["ours"] = min(some, key=lambda trial: (some[trial].reached(asked) or inf, -some[trial].accuracy[-1]))
    return best


def main() -> None:
    """Measures what is missing, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["mnist", "cifar10_subset"], help="prepared ones")
    parser.add_argument(
        "--contestants", nargs="+", choices=CONTESTANTS, default=["ours", "vitmae_bf16", "vit_pytorch_bf16"]
    )
    parser.add_argument("--budget", type=float, default=120, help="CPU seconds of every training")
    parser.add_argument(
        "--seeds", type=int, default=1, help="of everybody's best trial; the first of several only chooses it"
    )
    parser.add_argument("--most-seconds", type=float, default=float("inf"), help="begin no training after so long")
    parser.add_argument("--root", type=Path, default=Path())
    given = parser.parse_args()
    torch.set_num_threads(1)
    command = f"python -m benchmarks.accuracy --datasets {' '.join(given.datasets)} --budget {given.budget:g} --seeds {given.seeds}"
    until = time.perf_counter() + given.most_seconds
    keys = [
        Key(dataset, name, trial, 0, given.budget)
        for dataset, name in product(given.datasets, given.contestants)
        for trial in (OURS if name == "ours" else TRIALS)
    ]
    found = list(measured(keys, given.root, CURVES, until))
    for dataset, seed in product(given.datasets, range(1, given.seeds)):
        for name, trial in chosen(found, dataset).items():
            found += measured([Key(dataset, name, trial, seed, given.budget)], given.root, CURVES, until)
    publish("accuracy", list(rows_of(found, command)))


if __name__ == "__main__":
    main()
