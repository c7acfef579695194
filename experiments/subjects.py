"""Whose features are probed: pretrained encoders, the same networks untrained, controls, and raw pixels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from mae_core.atomic import replace_file
from mae_core.data.dataset import Dataset
from mae_core.evaluation.classifier import Classifier
from mae_core.evaluation.features import extract
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder, read_config
from mae_core.registry import resolve

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey (ITU-R BT.601), as Pillow has it."""


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


def _numbered(folder: Path, prefix: str) -> list[Path]:
    """``<prefix>-<k>`` below a folder, by k."""
    return sorted(
        (path for path in folder.glob(f"{prefix}-*") if path.name.rpartition("-")[2].isdecimal()),
        key=lambda path: int(path.name.rpartition("-")[2]),
    )


class Shelf(NamedTuple):
    """Features of every subject, extracted once, kept as files that processes map."""

    folder: Path

    def fill(self, subject: Subject, dataset: Dataset, split: str) -> np.ndarray:
        """(n, D) float32 of all samples of a split, read-only."""
        path = self.folder / f"{subject.name}-{split}.npy"
        if not path.exists():
            samples = dataset.split(split).samples
            if subject.folder is None:
                made = resolve(MODALITIES, dataset.modality, "modality").plain(samples)
            else:
                network = subject.load()
                made = extract(network, fitting(samples, network.modality.channels, network.modality.size))
            with replace_file(path) as staging, open(staging, "wb") as file:
                np.save(file, made)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def clear(self) -> None:
        """Throws the files away."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Fitting:
    """Samples of one shape, read as another, block by block: stretched with antialiasing, grey repeated, colour to grey."""

    def __init__(self, samples: np.ndarray, channels: int, size: tuple[int, int]) -> None:
        self.samples, self.channels, self.size = samples, channels, size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: slice) -> np.ndarray:
        x = torch.from_numpy(np.array(self.samples[rows])).float()
        if x.shape[1] == 1:
            x = x.expand(-1, self.channels, -1, -1)
        elif self.channels == 1:
            x = (x * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        if tuple(x.shape[-2:]) != self.size:
            x = F.interpolate(x, size=self.size, mode="bilinear", antialias=True, align_corners=False)
        return x.round().clamp(0, 255).to(torch.uint8).numpy()


def fitting(samples: np.ndarray, channels: int, size: tuple[int, int]) -> np.ndarray | Fitting:
    """``samples`` (n, C, H, W) as a model of that shape takes them; themselves where they fit already.

    Raises ValueError for channels that nothing sensible leads to: only grey and red-green-blue are turned into each other.
    """
    if samples.shape[1:] == (channels, *size):
        return samples
    if samples.shape[1] != channels and {samples.shape[1], channels} != {1, 3}:
        raise ValueError(
            f"samples have {samples.shape[1]} channels, the model takes {channels}: only 1 and 3 are turned into each other"
        )
    return Fitting(samples, channels, size)
