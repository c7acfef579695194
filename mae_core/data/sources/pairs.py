"""Prepared datasets joined by class: a sample of one with a sample of the same class of the others. The pairing is synthetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from mae_core.data.dataset import SPLITS, Dataset, DatasetError, Split, open_dataset
from mae_core.data.joining import GENERAL, described, joined
from mae_core.data.sources import Part, Source, SourceError
from mae_core.draws import Draws, permutation


def read(
    folder: Path, parts: Mapping[str, str], partners: Mapping[str, int], missing: Mapping[str, float] | None = None
) -> Source:
    """Joint samples of prepared datasets below ``folder``, split by split, so that no sample crosses splits.

    Args:
        parts: name of a part → dataset. They have the same classes, in any order; every labelled sample of the first is used.
        partners: split → how many joint samples each sample of the first part is in, 1 where not named. Its partners are drawn from their
            class in a fixed order, all once before any comes again.
        missing: part → the share of training samples that lack it; validation and test lack nothing.
    """
    datasets = _open(folder, parts)
    absent = dict(missing or {})
    if set(absent) - set(parts) or not all(share >= 0 for share in absent.values()) or sum(absent.values()) >= 1:
        raise SourceError(f"missing {absent}: give shares, less than 1 together, of {', '.join(parts)}")
    if set(partners) - set(SPLITS) or not all(count >= 1 for count in partners.values()):
        raise SourceError(f"partners {dict(partners)}: give 1 or more for {', '.join(SPLITS)}")
    first = next(iter(datasets.values()))
    notes = ["the pairing is synthetic: samples of different datasets that have nothing in common but their class"]
    made = []
    for name in SPLITS:
        splits = {part: _numbered(dataset, name, first.classes) for part, dataset in datasets.items()}
        made.append(_part(name, splits, first.classes, partners.get(name, 1), absent if name == "train" else {}, notes))
    known = []
    for name, dataset in datasets.items():
        own = {key: value for key, value in dataset.info.items() if key not in GENERAL | {"sample"}}
        known.append(described(name, dataset.modality, dataset.split("test").samples, **own, dataset=dataset.name))
    return Source(made, first.classes, [], 0, notes, {"parts": known})


def _open(folder: Path, parts: Mapping[str, str]) -> dict[str, Dataset]:
    if len(parts) < 2:
        raise SourceError(f"parts {dict(parts)}: name two or more prepared datasets")
    try:
        found = {name: open_dataset(folder / dataset) for name, dataset in parts.items()}
    except DatasetError as problem:
        raise SourceError(f"{problem}; the parts have to be prepared first") from None
    first, *others = found.values()
    for other in others:
        if sorted(other.classes) != sorted(first.classes) or not first.classes:
            raise SourceError(
                f"{first.name} and {other.name} cannot be joined by class: {', '.join(first.classes) or 'none'} "
                f"against {', '.join(other.classes) or 'none'}"
            )
    return found


def _numbered(dataset: Dataset, name: str, classes: list[str]) -> Split:
    """A split whose labels are places in ``classes``, in whatever order the dataset has the same names."""
    split = dataset.split(name)
    places = np.array([*(classes.index(one) for one in dataset.classes), -1])  # the last is that of -1, no label
    return split._replace(labels=places[np.asarray(split.labels)])


def _part(
    name: str,
    splits: Mapping[str, Split],
    classes: list[str],
    partners: int,
    absent: Mapping[str, float],
    notes: list[str],
) -> Part:
    """The joint samples of a split, the first part's samples in their order, once for each round of partners."""
    (_, lead), *others = splits.items()
    rows = np.tile(np.flatnonzero(lead.labels >= 0), partners)
    labels = lead.labels[rows]
    picked = {part: _partners(part, name, split, labels, classes) for part, split in others}
    columns = {next(iter(splits)): rows, **picked}
    samples = joined([splits[part].samples[own] for part, own in columns.items()])
    if absent:
        _leave_out(samples, splits, absent, notes)
    if left := int((lead.labels < 0).sum()):
        notes.append(f"{left} samples of {name} have no label and no partner: they are left out")
    origins = [" + ".join(splits[part].names[own[i]] for part, own in columns.items()) for i in range(len(rows))]
    return Part(name, samples, labels.astype(np.int64), origins)


def _partners(part: str, name: str, split: Split, labels: np.ndarray, classes: list[str]) -> np.ndarray:
    """(n,) rows of ``split``: for the k-th sample of a class the k-th of a shuffle of that class."""
    found = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(split.labels == label)
        if not len(own):
            raise SourceError(f"{part} has no {name} sample of the class {classes[label]!r}")
        shuffled = own[permutation(len(own), "pairs", name, part, int(label)).numpy()]
        asked = np.flatnonzero(labels == label)
        found[asked] = shuffled[np.arange(len(asked)) % len(own)]
    return found


def _leave_out(samples: np.ndarray, splits: Mapping[str, Split], absent: Mapping[str, float], notes: list[str]) -> None:
    """Sets parts of some samples to NaN, in place; no sample lacks more than one."""
    drawn = Draws(0, 0, torch.arange(len(samples))).uniform("missing").numpy()
    start, low = 0, 0.0
    for part, split in splits.items():
        stop = start + int(np.prod(split.samples.shape[1:]))
        share = absent.get(part, 0.0)
        out = (drawn >= low) & (drawn < low + share)
        samples[out, start:stop] = np.nan
        if share:
            notes.append(
                f"{part} was taken from {int(out.sum())} of {len(samples)} training samples, as the description asks"
            )
        start, low = stop, low + share
