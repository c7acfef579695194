"""Writing a split as shards: the samples in a shuffled order, some megabytes a file, the manifest last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_core.atomic import write_text
from mae_core.data.dataset import DatasetError, manifest_file
from mae_core.data.shard_files import ENCODINGS
from mae_core.data.shards import Manifest, Shard
from mae_core.data.stores import advice, open_store
from mae_core.draws import permutation
from mae_core.registry import resolve

LANES, WINDOW, MEGABYTES = 8, 2, 8.0


class ShardRules(NamedTuple):
    """How the train split is cut into shards."""

    to: str = ""
    """``s3://bucket/prefix`` or ``gs://bucket/prefix``; '' is beside ``dataset.json``."""
    megabytes: float = MEGABYTES
    """Of samples in a shard."""
    lanes: int = LANES
    """Shards that are walked through side by side."""
    window: int = WINDOW
    """Shards of each lane whose samples are mixed."""


def shuffled(indices: np.ndarray) -> np.ndarray:
    """The same indices in an order in which neighbours have nothing in common, whatever order the source had."""
    return indices[permutation(len(indices), "shards").numpy()]


def write_shards(
    folder: Path,
    split: str,
    samples: Any,
    indices: np.ndarray,
    rules: ShardRules,
    name: str,
    saw: Callable[[bytes], None],
) -> Manifest:
    """Writes ``samples[indices]`` and, when all shards are there, ``<split>-shards.json`` in ``folder``.

    A shard's file is called after what it holds, so one that is being read elsewhere is never changed.

    Args:
        samples: (n, …), taken a shard at a time; of photographs their files are kept.
        name: of the dataset: the folder in a bucket.
        saw: is given the checksum of each shard.
    """
    kind, options = encoding_of(samples)
    shape, dtype = tuple(samples.shape[1:]), np.dtype(samples.dtype)
    encoding = resolve(ENCODINGS, kind, "encoding")(shape, dtype, **options)
    place = f"{rules.to.rstrip('/')}/{name}" if rules.to else f"{split}-shards"
    store = open_store(place if rules.to else folder / place)
    rows = encoding.rows(samples, indices, rules.megabytes * 1e6)
    found = []
    for number, start in enumerate(range(0, len(indices), rows)):
        chosen = indices[start : start + rows]
        data, digest = encoding.encode(encoding.taken(samples, chosen))
        file = f"{split}-{number:05d}-{digest[:12]}.parquet"
        try:
            store.write(file, data)
        except OSError as problem:
            why = " ".join(str(problem).split())
            raise DatasetError(
                f"{name}: shard {store.place}/{file} cannot be written ({why}): {advice(store.place)}"
            ) from None
        saw(digest.encode())
        found.append(Shard(file, len(chosen), len(data), digest))
    manifest = Manifest(place, kind, shape, str(dtype), rules.lanes, rules.window, tuple(found), options)
    write_text(manifest_file(folder, split), manifest.text())
    return manifest


def encoding_of(samples: Any) -> tuple[str, Mapping[str, Any]]:
    """How such samples are put into shards, and what that takes."""
    kept = getattr(samples, "encoding", None)
    return ("raw", {}) if kept is None else kept()
