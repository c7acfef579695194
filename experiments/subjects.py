"""Whose features are probed: pretrained encoders, the same networks untrained, controls, and raw pixels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mae_core.atomic import replace_file
from mae_core.data.dataset import Dataset
from mae_core.evaluation.classifier import Classifier
from mae_core.evaluation.features import extract
from mae_core.masking.making import make_masker
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder, read_config
from mae_core.registry import resolve


class Subject(NamedTuple):
    """One row of the comparison. ``folder`` is a model folder, None for raw pixels."""

    model: str
    """As in scores.csv; ``pixels`` stands for all baselines made of them."""
    seed: int | None
    folder: Path | None

    @property
    def name(self) -> str:
        """For files and lines of progress."""
        return self.model if self.seed is None else f"{self.model}-{self.seed}"

    def load(self) -> MaskedAutoencoder | Classifier:
        """The network, on the GPU where there is one."""
        if self.folder is None:
            raise ValueError(f"{self.name} has no network")
        if self.model == "supervised":
            return Classifier.load(self.folder).to(device())
        if self.model == "untrained":
            return MaskedAutoencoder.build(read_config(self.folder), self.seed or 0).eval().to(device())
        return MaskedAutoencoder.load(self.folder).to(device())


PIXELS = Subject("pixels", None, None)


def device() -> torch.device:
    """Where networks run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def spread(n: int, most: int) -> np.ndarray:
    """At most ``most`` of n positions, evenly spread: splits may be sorted by class."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def subjects(recipe: str, root: Path) -> list[Subject]:
    """Everyone that a recipe's models are compared with. Raises FileNotFoundError where the recipe has no model."""
    found = []
    for folder in _numbered(root / "models" / recipe, "seed"):
        seed = int(folder.name.rpartition("-")[2])
        found += [Subject("pretrained", seed, folder), Subject("untrained", seed, folder)]
    if not found:
        raise FileNotFoundError(f"no models below {root / 'models' / recipe}: run `dvc repro pretrain@{recipe}`")
    for model in ("autoencoder", "supervised"):
        for folder in _numbered(root / "controls" / recipe, model):
            found.append(Subject(model, int(folder.name.rpartition("-")[2]), folder))
    return [PIXELS, *found]


def target_of(everyone: list[Subject]) -> str:
    """What the pretrained models predict, all the same."""
    return str(_config_of(everyone)["objective"]["target"])


def masked_by_labels(everyone: list[Subject]) -> bool:
    """Whether the pretrained models learned their masks from the labels of train."""
    masking = _config_of(everyone)["masking"]
    return bool(masking["ratio"]) and getattr(make_masker(masking), "needs_labels", False)


def _config_of(everyone: list[Subject]) -> dict[str, Any]:
    folder = next(one.folder for one in everyone if one.model == "pretrained")
    assert folder is not None
    return read_config(folder)


def _numbered(folder: Path, prefix: str) -> list[Path]:
    """``<prefix>-<k>`` below a folder, by k."""
    named = [(path.name.removeprefix(f"{prefix}-"), path) for path in folder.glob(f"{prefix}-*")]
    return [path for number, path in sorted((int(rest), path) for rest, path in named if rest.isdecimal())]


class Shelf(NamedTuple):
    """Features of every subject, extracted once, kept as files that processes map."""

    folder: Path

    def fill(self, subject: Subject, dataset: Dataset, split: str) -> np.ndarray:
        """(n, D) float32 of all samples of a split, read-only."""
        path = self.folder / f"{subject.name}-{split}.npy"
        if not path.exists():
            samples = dataset.split(split).samples
            if subject.folder is None:
                made = resolve(MODALITIES, dataset.modality, "modality").plain(samples, dataset.info)
            else:
                network = subject.load()
                made = extract(network, network.modality.fitted(samples))
            with replace_file(path) as staging, open(staging, "wb") as file:
                np.save(file, made)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def clear(self) -> None:
        """Throws the files away."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unlike(network: MaskedAutoencoder | Classifier, dataset: Dataset) -> str:
    """Why samples of a dataset mean nothing to a network, '' where they do."""
    kind = network.config["modality"]["kind"]
    if kind != dataset.modality:
        return f"the model takes samples of modality {kind}, {dataset.name} holds {dataset.modality}"
    return network.modality.differs(dataset.info)
