"""Reading a prepared dataset: packed samples opened by memory map, facts from ``dataset.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SCHEMA = 1
SPLITS = ("train", "validation", "test")


class DatasetError(ValueError):
    """A dataset that cannot be read: says which file, what is wrong and what to do."""


class Split(NamedTuple):
    """One split, memory-mapped, or in shards."""

    name: str
    samples: Any
    """(n, …): raw samples of the modality, (n, C, H, W) uint8 for images: an array, or ``Shards``."""
    labels: np.ndarray
    """(n,) int64, −1 where there is no label."""
    names: list[str]


class Dataset:
    """A prepared dataset."""

    def __init__(self, folder: Path, info: dict[str, Any]) -> None:
        self.folder, self.info = folder, info
        self.name: str = info["name"]
        self.modality: str = info["modality"]
        self.shape: tuple[int, ...] = tuple(info["sample"]["shape"])
        self.classes: list[str] = info["classes"]
        self.fingerprint: str = info["fingerprint"]

    @property
    def labelled(self) -> bool:
        """Whether train holds labels of at least two classes."""
        labels = self.split("train").labels
        return len(np.unique(labels[labels >= 0])) >= 2

    def split(self, name: str) -> Split:
        """A split by name. Raises DatasetError naming the splits there are."""
        if name not in self.info["splits"]:
            raise DatasetError(f"{self.folder} has no split {name!r}: there are {', '.join(self.info['splits'])}")
        samples = self._array(samples_file(self.folder, name))
        labels = self._array(self.folder / f"{name}-labels.npy")
        n = self.info["splits"][name]["samples"]
        if len(samples) != n or len(labels) != n or samples.shape[1:] != self.shape:
            raise DatasetError(
                f"{self.folder}: split {name} should hold {n} samples of {self.shape}, found {samples.shape} and "
                f"{len(labels)} labels: run `dvc repro -f prepare@{self.name}`"
            )
        return Split(name, samples, labels, _json(self.folder / f"{name}-names.json", self.name))

    def _array(self, path: Path) -> Any:
        try:
            return open_samples(path)
        except DatasetError:
            raise
        except (OSError, ValueError) as problem:
            raise DatasetError(f"{path} cannot be read ({problem}): run `dvc repro -f prepare@{self.name}`") from None


def manifest_file(folder: Path, split: str) -> Path:
    """Where the manifest of a split in shards lies."""
    return folder / f"{split}-shards.json"


def samples_file(folder: Path, split: str) -> Path:
    """The file to open for the samples of a split."""
    manifest = manifest_file(folder, split)
    return manifest if manifest.is_file() else folder / f"{split}-samples.npy"


def open_samples(path: str | Path) -> Any:
    """An array, memory-mapped, or ``Shards`` where ``path`` is a manifest. Raises OSError or ValueError."""
    path = Path(path)
    if path.suffix == ".json":
        from mae_core.data.shards import Shards

        return Shards(path)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def open_dataset(folder: str | Path) -> Dataset:
    """The prepared dataset in ``folder``. Raises DatasetError where there is none, or one of another schema."""
    folder = Path(folder)
    path = folder / "dataset.json"
    if not path.is_file():
        raise DatasetError(f"{folder} holds no prepared dataset: run `dvc repro prepare@{folder.name}`")
    info = _json(path, folder.name)
    schema = info.get("schema") if isinstance(info, dict) else type(info).__name__
    if schema != SCHEMA:
        raise DatasetError(f"{path} has schema {schema!r}, this version reads {SCHEMA}: prepare it again")
    return Dataset(folder, info)


def _json(path: Path, dataset: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DatasetError(f"{path} cannot be read ({problem}): run `dvc repro -f prepare@{dataset}`") from None
