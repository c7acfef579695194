"""From what a source gave to a prepared dataset on disk: split, checked for copies, described, written in one step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_core.atomic import replace_folder
from mae_core.data.dataset import SCHEMA, SPLITS, DatasetError
from mae_core.data.quarantine import check_share, write_quarantine
from mae_core.data.sharding import ShardRules, shuffled, write_shards
from mae_core.data.sources import Part, Source
from mae_core.data.split import digests, stratified
from mae_core.modalities import MODALITIES
from mae_core.registry import resolve


class Rules(NamedTuple):
    """How a dataset is put together."""

    name: str
    modality: str
    licence: str
    source: str
    verified: bool
    splits: Mapping[str, float | int]
    """Share or number of each split that is cut from train (or from ``all``)."""
    overlaps: Sequence[str] = ()
    max_bad: float = 0.05
    drop_leaks: bool = False
    """Remove training samples whose bytes also occur in validation or test."""
    notes: Sequence[str] = ()
    shards: ShardRules | None = None
    """How train is cut into shards; None: it is one array."""


def pack(source: Source, rules: Rules, folder: Path) -> dict[str, Any]:
    """Writes the dataset to ``folder`` and returns its ``dataset.json``. The same source gives the same bytes."""
    used = sum(len(part.samples) for part in source.parts)
    check_share(source.refused, used, rules.max_bad, rules.name, source.items)
    _check_names(source, rules.name)
    hashes = {part.name: digests(part.samples) for part in source.parts}
    splits = _split(source.parts, hashes, rules)
    within, across, leaks = _duplicates(splits, hashes, {part.name: part for part in source.parts})
    notes = [*rules.notes, *source.notes]
    if leaks.size and rules.drop_leaks:
        part, indices = splits["train"]
        splits["train"] = (part, np.setdiff1d(indices, leaks))
        notes.append(f"{len(leaks)} training samples were left out: the same bytes are in validation or test")
    for name, (_, indices) in splits.items():
        if not len(indices):
            raise DatasetError(
                f"{rules.name}: split {name} is empty; give more samples, or another share under `splits`"
            )
    if rules.shards is not None:
        part, indices = splits["train"]
        splits["train"] = (part, shuffled(indices))
    labels = {name: part.labels[indices] for name, (part, indices) in splits.items()}
    notes += _label_notes(labels["train"], source.classes)
    part, indices = splits["train"]
    kind = resolve(MODALITIES, rules.modality, "modality")
    facts = kind.facts(part.samples, indices, source.described)
    notes += facts.notes
    info = {
        "schema": SCHEMA,
        "name": rules.name,
        "modality": rules.modality,
        "sample": {"shape": list(source.parts[0].samples.shape[1:]), "dtype": str(part.samples.dtype)},
        "axes": list(kind.axes),
        "splits": {n: {"samples": len(v), "labelled": int((v >= 0).sum())} for n, v in labels.items()},
        "classes": source.classes,
        **source.described,
        **facts.entries,
        "licence": rules.licence,
        "source": rules.source,
        "verified": rules.verified,
        "overlaps": list(rules.overlaps),
        "duplicates": {"within": within, "across_splits": across},
        "quarantined": len(source.refused),
        "ignored": source.ignored,
        "notes": notes,
    }
    with replace_folder(folder) as staging:
        info["fingerprint"] = _write(staging, splits, labels, source.classes, rules)
        write_quarantine(staging / "quarantine.csv", source.refused)
        (staging / "dataset.json").write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n")
    return info


def _check_names(source: Source, name: str) -> None:
    """Raises DatasetError for the name of a sample or a class that is no Unicode, such as that of a file in another encoding."""
    refused = (text for item in source.refused for text in item)
    for text in chain(source.classes, refused, *(part.names for part in source.parts)):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DatasetError(f"{name}: {text!r} is no whole text: rename the file or the class") from None


Splits = dict[str, tuple[Part, np.ndarray]]
"""Name → the part its samples come from, and which of them."""


def _split(parts: list[Part], hashes: dict[str, np.ndarray], rules: Rules) -> Splits:
    """Official parts are kept; what is missing is cut from ``train``, or from ``all``, by hash."""
    by_name = {part.name: part for part in parts}
    main = by_name.get("train") or by_name.get("all")
    if main is None:
        raise DatasetError(f"{rules.name}: the source gave {', '.join(by_name)}, but neither train nor all")
    wanted = {name: rules.splits[name] for name in SPLITS[1:] if name not in by_name and name in rules.splits}
    missing = [name for name in SPLITS[1:] if name not in by_name and name not in wanted]
    if missing:
        raise DatasetError(f"{rules.name}: no {' or '.join(missing)} split: give a share of train under `splits`")
    cut = stratified(hashes[main.name], main.labels, wanted, "train")
    splits: Splits = {name: (main, indices) for name, indices in cut.items()}
    for name in SPLITS[1:]:
        if name in by_name:
            splits[name] = (by_name[name], np.arange(len(by_name[name].labels)))
    return {name: splits[name] for name in SPLITS}


def _duplicates(splits: Splits, hashes: dict[str, np.ndarray], parts: dict[str, Part]) -> tuple[int, int, np.ndarray]:
    """Copies within splits, copies across splits, and the training samples that also stand in validation or test."""
    rows = {name: [row.tobytes() for row in hashes[part.name][indices]] for name, (part, indices) in splits.items()}
    within = sum(len(found) - len(set(found)) for found in rows.values())
    sets = {name: set(found) for name, found in rows.items()}
    held_out = sets["validation"] | sets["test"]
    across = len(sets["train"] & held_out) + len(sets["validation"] & sets["test"])
    leaking = np.array([row in held_out for row in rows["train"]], dtype=bool)
    return within, across, splits["train"][1][leaking]


def _label_notes(labels: np.ndarray, classes: list[str]) -> list[str]:
    present = np.unique(labels[labels >= 0])
    notes = []
    if not len(present):
        return ["no labels: probes are skipped"]
    if len(present) == 1:
        notes.append(f"one class only ({classes[present[0]]}): probes are skipped")
    if (labels < 0).any():
        notes.append(
            f"{(labels < 0).sum()} of {len(labels)} training samples have no label: they pretrain, but no probe sees them"
        )
    gone = [classes[c] for c in range(len(classes)) if c not in present]
    if gone:
        notes.append(f"classes without a training sample: {', '.join(gone)}")
    return notes


def _write(folder: Path, splits: Splits, labels: dict[str, np.ndarray], classes: list[str], rules: Rules) -> str:
    """Writes the arrays of every split, or its shards; returns the content fingerprint."""
    digest = hashlib.sha256(json.dumps(classes).encode())
    for name, (part, indices) in splits.items():
        shape = (len(indices), *part.samples.shape[1:])
        digest.update(f"{name}{shape}".encode())
        if name == "train" and rules.shards is not None:
            write_shards(folder, name, part.samples, indices, rules.shards, rules.name, digest.update)
        else:
            _write_array(folder / f"{name}-samples.npy", part.samples, indices, digest.update)
        np.save(folder / f"{name}-labels.npy", labels[name])
        digest.update(labels[name].tobytes())
        origins = [part.names[i] for i in indices]
        (folder / f"{name}-names.json").write_text(json.dumps(origins, ensure_ascii=False) + "\n")
    return digest.hexdigest()


def _write_array(path: Path, samples: np.ndarray, indices: np.ndarray, saw: Callable[[bytes], None]) -> None:
    packed = np.lib.format.open_memmap(path, "w+", samples.dtype, (len(indices), *samples.shape[1:]))
    for start in range(0, len(indices), 1024):
        block = samples[indices[start : start + 1024]]
        packed[start : start + len(block)] = block
        saw(block.tobytes())
    packed.flush()
