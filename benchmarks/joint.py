"""What one part of a joint sample tells a model of another: ``python -m benchmarks.joint``.

Of emoji: which name belongs to which picture, beside canonical correlations of hand-made features tuned on validation, and how much
better hidden tokens of a name are filled when the picture is shown. Of digits: pictures drawn from speech alone, read by a classifier that
knows real training digits alone. Everything is of the test part; the untrained model stands beside.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cca import search
from benchmarks.rows import Row, publish
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.parts import encode_part, fill_part, plan_to_fill, ranks, recall
from mae_core.evaluation.statistics import paired_over_items
from mae_core.model import MaskedAutoencoder, read_config

KS = (1, 5, 10)
HIDDEN = (0.5, 1.0)
"""Shares of a name's tokens that are hidden."""
DRAWN_SIDE = 20
"""Digits of a row and a column of the picture that is written."""


def row(name: str, ours: np.ndarray, baseline: np.ndarray, command: str, **facts: Any) -> Row:
    """Means over test items; ``gain`` is their paired difference with its 95 % bootstrap interval."""
    gain = paired_over_items(ours, baseline)
    means = float(ours.mean()), float(baseline.mean())
    ratio = means[0] / means[1] if means[1] > 0 else None
    facts = {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high, **facts}
    return Row(name, *means, ratio, None, None, len(ours), command, facts)


def retrieval(model: MaskedAutoencoder, untrained: MaskedAutoencoder, dataset: Dataset, command: str) -> list[Row]:
    """Rows of recall both ways, beside canonical correlations and the untrained model."""
    splits = [np.array(dataset.split(name).samples) for name in ("train", "validation", "test")]
    modality = model.modality
    picture, words = modality.names.index("picture"), modality.names.index("words")
    raws = [torch.from_numpy(samples) for samples in splits]
    pixels = [modality.pull(raw, picture).numpy() for raw in raws]
    texts = [modality.parts[words].words(modality.pull(raw, words)) for raw in raws]
    linear = search(pixels, texts)
    by_model = [_both_ways(one, splits[2]) for one in (model, untrained)]
    rows = []
    for way, (what, theirs) in enumerate(
        (("words_by_picture", linear.words_by_picture), ("picture_by_words", linear.picture_by_words))
    ):
        for k in KS:
            facts = {"chance": k / len(splits[2]), "settings tried for cca": float(linear.tried)}
            ours = recall(by_model[0][way], k)
            rows.append(row(f"emoji_{what}_recall_{k}_vs_cca", ours, recall(theirs, k), command, **facts))
            beside = recall(by_model[1][way], k)
            rows.append(row(f"emoji_{what}_recall_{k}_vs_untrained", ours, beside, command))
    return rows


def _both_ways(model: MaskedAutoencoder, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the right words by picture, and of the right picture by words."""
    pictures, words = (encode_part(model, samples, name) for name in ("picture", "words"))
    return ranks(pictures, words), ranks(words, pictures)


def hidden_tokens(known: Tensor, share: float) -> Tensor:
    """(n, L) bool: a share of each text's tokens, at least one, the same ones whenever it is asked for."""
    noise = torch.rand(known.shape, generator=torch.Generator().manual_seed(0)).masked_fill(~known, 2.0)
    count = (known.sum(1, keepdim=True) * share).ceil()
    return (noise.argsort(1).argsort(1) < count) & known


def filling(model: MaskedAutoencoder, samples: np.ndarray, command: str) -> list[Row]:
    """Rows of the share of a name's hidden tokens that are right: with the picture and without, and the most frequent token."""
    modality, raw = model.modality, torch.from_numpy(samples)
    words = modality.names.index("words")
    true = modality.pull(raw, words)
    rows = []
    for share in HIDDEN:
        hidden = hidden_tokens(true >= 0, share)
        seen, alone = (_right(model, given, hidden, true) for given in (raw, modality.only(raw, "words")))
        often = modality.parts[words].trivial(true, hidden)
        trivial = (((often == true) & hidden).sum(1) / hidden.sum(1)).numpy()
        name = f"emoji_name_{share:.0%}_hidden_right".replace("%", "")
        rows.append(row(f"{name}_with_picture_vs_without", seen, alone, command))
        rows.append(row(f"{name}_with_picture_vs_most_frequent", seen, trivial, command))
    return rows


@torch.no_grad()
def _right(model: MaskedAutoencoder, raw: Tensor, hidden: Tensor, true: Tensor) -> np.ndarray:
    """(n,) share of each name's hidden tokens."""
    filled = model.reconstruct(raw, plan=plan_to_fill(model, raw, "words", hidden)).filled
    said = model.modality.pull(filled, model.modality.names.index("words"))
    return (((said == true) & hidden).sum(1) / hidden.sum(1)).numpy()


def drawing(
    model: MaskedAutoencoder, untrained: MaskedAutoencoder, dataset: Dataset, digits: Dataset, command: str, out: Path
) -> list[Row]:
    """Rows of digits drawn from speech alone that are read as what was said; the first are written as a picture below ``out``."""
    test = dataset.split("test")
    samples, labels = np.array(test.samples), np.asarray(test.labels)
    speech = model.modality.only(torch.from_numpy(samples), "speech").numpy()
    classifier = reader(digits)
    drawn = [fill_part(one, speech, "picture") for one in (model, untrained)]
    right = [(classifier.predict(_flat(pictures)) == labels).astype(float) for pictures in drawn]
    real = model.modality.pull(torch.from_numpy(samples), model.modality.names.index("picture")).numpy()
    facts = {"read of real test digits": float((classifier.predict(_flat(real)) == labels).mean())}
    chance = np.full(len(labels), 1 / len(dataset.classes))
    _write(drawn[0], labels, out / "joint_drawn.png")
    return [
        row("digit_drawn_from_speech_read_right_vs_chance", right[0], chance, command, **facts),
        row("digit_drawn_from_speech_read_right_vs_untrained", right[0], right[1], command),
    ]


def reader(digits: Dataset, most: int = 10000) -> Any:
    """A support vector machine on the pixels of ``most`` real training digits."""
    from sklearn.svm import SVC

    train = digits.split("train")
    rows = np.sort(np.random.default_rng(0).permutation(len(train.labels))[:most])
    return SVC(C=5).fit(_flat(np.array(train.samples[rows])), np.asarray(train.labels)[rows])


def _flat(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), -1) / 255


def _write(pictures: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """A picture of drawn digits, a row a class."""
    from PIL import Image

    rows = []
    for label in np.unique(labels):
        some = pictures[labels == label][:DRAWN_SIDE, 0]
        rows.append(np.concatenate([*some, *[np.zeros_like(some[0])] * (DRAWN_SIDE - len(some))], 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


def untrained_of(folder: Path) -> MaskedAutoencoder:
    """The model of a folder as it was before training."""
    return MaskedAutoencoder.build(read_config(folder)).eval()


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emoji", type=Path, default=Path("models/emoji/seed-0"), help="a model folder")
    parser.add_argument("--digits", type=Path, default=Path("models/spoken_mnist/seed-0"), help="a model folder")
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds emoji, spoken_mnist and mnist")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    given = parser.parse_args()
    command = f"python -m benchmarks.joint --emoji {given.emoji} --digits {given.digits} --data {given.data}"
    emoji, model = open_dataset(given.data / "emoji"), MaskedAutoencoder.load(given.emoji)
    rows = retrieval(model, untrained_of(given.emoji), emoji, command)
    rows += filling(model, np.array(emoji.split("test").samples), command)
    spoken, digits = open_dataset(given.data / "spoken_mnist"), open_dataset(given.data / "mnist")
    model = MaskedAutoencoder.load(given.digits)
    rows += drawing(model, untrained_of(given.digits), spoken, digits, command, given.out)
    publish("joint", rows, given.out)


if __name__ == "__main__":
    main()
