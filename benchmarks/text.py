"""How well a model fills in hidden characters, beside n-grams that look to both sides: ``python -m benchmarks.text``.

15 % of the characters of each window of the test part are hidden, the same ones for all. Bits are of the true character, a hidden
character; the n-gram is tuned on validation, and knows the training text alone, as the model does.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.ngram import TwoSided
from benchmarks.rows import RESAMPLES, Row, publish
from mae_core.data.dataset import Split, open_dataset
from mae_core.model import MaskedAutoencoder

RATIO, SEED, BATCH = 0.15, 0, 256
SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of the model in its product with the n-gram."""


class Filled(NamedTuple):
    """What one method says of the hidden characters of each window."""

    right: np.ndarray
    """(n,) share."""
    bits: np.ndarray
    """(n,) mean."""


def hidden_of(model: MaskedAutoencoder, samples: np.ndarray) -> np.ndarray:
    """(n, L) bool: which characters of each window are hidden."""
    raw = torch.from_numpy(samples)
    plan = model.plan(raw, RATIO, "random", SEED)
    return model.modality.covers(raw, plan.hide, plan.hide_ok).numpy()


@torch.no_grad()
def log_prob_of(model: MaskedAutoencoder, samples: np.ndarray) -> np.ndarray:
    """(m, V) nats of every hidden character, in row order, under the masks of ``hidden_of``."""
    found = []
    for start in range(0, len(samples), BATCH):
        raw = torch.from_numpy(samples[start : start + BATCH])
        ids = torch.arange(start, start + len(raw))
        plan = model.plan(raw, RATIO, "random", SEED, ids)
        cells = model.modality.split(raw)
        said = model.target.distribution(model.view(cells, plan).prediction).logits.log_softmax(-1)
        in_order = plan.hide.argsort(1).unsqueeze(-1).expand_as(said)
        found.append(said.gather(1, in_order).flatten(0, 1))
    return torch.cat(found).double().numpy()


def product(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """(m, V) nats of two experts multiplied, ``share`` of the exponent being the first's."""
    logits = share * first + (1 - share) * second
    logits = logits - logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def by_log_prob(log_prob: np.ndarray, samples: np.ndarray, hidden: np.ndarray) -> Filled:
    """Of (m, V) nats for every hidden character, in row order; every window hides equally many."""
    true = samples[hidden]
    right = (log_prob.argmax(1) == true).reshape(len(samples), -1)
    bits = -log_prob[np.arange(len(true)), true].reshape(len(samples), -1) / np.log(2)
    return Filled(right.mean(1), bits.mean(1))


def text_of(split: Split) -> np.ndarray:
    """The ids that overlapping windows were cut from; a window's name ends in the place where it begins."""
    starts = [int(name[name.rindex("[") + 1 : -1]) for name in split.names]
    ids = np.zeros(starts[-1] + split.samples.shape[1], np.int64)
    for start, window in zip(starts, split.samples):
        ids[start : start + len(window)] = window
    return ids


def row(name: str, ours: np.ndarray, baseline: np.ndarray, command: str, **facts: float) -> Row:
    """Means over windows, their ratio, and its paired bootstrap interval over windows."""
    picks = np.random.default_rng(0).integers(0, len(ours), (RESAMPLES, len(ours)))
    low, high = np.quantile(ours[picks].mean(1) / baseline[picks].mean(1), [0.025, 0.975])
    means = float(ours.mean()), float(baseline.mean())
    return Row(name, *means, means[0] / means[1], float(low), float(high), len(ours), command, facts)


def measure(model_folder: Path, data: Path, command: str) -> list[Row]:
    """The rows of one model on the test part of its dataset."""
    model, dataset = MaskedAutoencoder.load(model_folder), open_dataset(data)
    train, validation, test = (dataset.split(name) for name in ("train", "validation", "test"))
    ngram = TwoSided(text_of(train), len(model.modality.log_shares))
    tuning, samples = np.array(validation.samples), np.array(test.samples)
    tuning_hidden, hidden = hidden_of(model, tuning), hidden_of(model, samples)
    weights = ngram.tuned(tuning, tuning_hidden)

    def both(ids: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return log_prob_of(model, ids), ngram.log_prob(ngram.experts(ids, where), weights)

    on_validation, on_test = both(tuning, tuning_hidden), both(samples, hidden)
    bits = {x: by_log_prob(product(*on_validation, x), tuning, tuning_hidden).bits.mean() for x in SHARES}
    share = min(bits, key=lambda x: bits[x])
    ours, two_sided = (by_log_prob(one, samples, hidden) for one in on_test)
    together = by_log_prob(product(*on_test, share), samples, hidden)
    alone = np.broadcast_to(ngram.log_shares, (int(hidden.sum()), ngram.log_shares.shape[1]))
    unigram = by_log_prob(alone, samples, hidden)
    rows = []
    for what in Filled._fields:
        mine, theirs = getattr(ours, what), getattr(two_sided, what)
        rows += [
            row(f"text_hidden_15_{what}_vs_two_sided_5gram", mine, theirs, command, **weights._asdict()),
            row(f"text_hidden_15_{what}_vs_unigram", mine, getattr(unigram, what), command),
            row(
                f"text_hidden_15_{what}_with_5gram_vs_two_sided_5gram",
                getattr(together, what),
                theirs,
                command,
                share=share,
            ),
        ]
    return rows


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=Path("models/shakespeare/seed-0"))
    parser.add_argument("data", nargs="?", type=Path, default=Path("data/tinyshakespeare"))
    given = parser.parse_args()
    publish("text", measure(given.model, given.data, f"python -m benchmarks.text {given.model} {given.data}"))


if __name__ == "__main__":
    main()
