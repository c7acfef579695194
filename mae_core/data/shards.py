"""A split in shards: Parquet files of some megabytes in a folder or a bucket, and a manifest that names them with their checksums.

The order in which training walks through them belongs to the split, so that how they are read changes nothing that is computed.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mae_core.data.dataset import DatasetError
from mae_core.data.order import Lanes
from mae_core.data.shard_files import ENCODINGS, table_of
from mae_core.data.stores import Store, advice, open_store
from mae_core.registry import resolve

SCHEMA = 1
OPEN = 3
"""Shards that are kept for those who read samples by their number."""


class Shard(NamedTuple):
    """One file of a split."""

    file: str
    samples: int
    bytes: int
    sha256: str
    """Of the samples in it, however they are packed."""


class Manifest(NamedTuple):
    """What ``<split>-shards.json`` says."""

    place: str
    """A bucket, or a folder beside the manifest."""
    encoding: str
    """How samples lie in a shard: a row of ``ENCODINGS``."""
    shape: tuple[int, ...]
    """Of a sample."""
    dtype: str
    lanes: int
    window: int
    """Shards that a lane mixes."""
    shards: tuple[Shard, ...]
    options: Mapping[str, Any]
    """What the encoding takes."""

    def text(self) -> str:
        """As JSON, a line for each shard."""
        facts = {key: value for key, value in self._asdict().items() if key != "shards"}
        head = json.dumps({"schema": SCHEMA, **facts}, ensure_ascii=False)
        rows = ",\n".join(f"  {json.dumps(shard._asdict())}" for shard in self.shards)
        return f'{head[:-1]}, "shards": [\n{rows}\n]}}\n'


def read_manifest(path: Path) -> Manifest:
    """Raises DatasetError where there is none that this version reads."""
    try:
        facts = json.loads(path.read_text())
        if facts.pop("schema") != SCHEMA:
            raise ValueError(f"another schema than {SCHEMA}")
        shards = tuple(Shard(**shard) for shard in facts.pop("shards"))
        return Manifest(**{**facts, "shape": tuple(facts["shape"]), "shards": shards})
    except (OSError, ValueError, TypeError, KeyError) as problem:
        raise DatasetError(f"{path} cannot be read ({problem}): prepare the dataset again") from None


class Shards:
    """(n, …) samples that are read when they are asked for. Raises DatasetError, naming the shard, where one is not as it was written."""

    def __init__(self, path: Path) -> None:
        self.path, self.manifest = path, read_manifest(path)
        place = self.manifest.place
        self.store: Store = open_store(place if "://" in place else path.parent / place)
        self.encoding = resolve(ENCODINGS, self.manifest.encoding, "encoding")(
            self.manifest.shape, np.dtype(self.manifest.dtype), **self.manifest.options
        )
        self.dtype = np.dtype(self.manifest.dtype)
        self.sizes = [shard.samples for shard in self.manifest.shards]
        self.ends = np.cumsum(self.sizes)
        self.shape = (sum(self.sizes), *self.manifest.shape)
        self.ndim = len(self.shape)
        self.feed: Callable[[Shards, Iterator[list[int]]], Generator[Any]] | None = None
        """Who reads them for training; None: threads of the process that trains."""
        self._right: set[int] = set()
        self._open: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Samples by number, slice or array of numbers, as of an array."""
        chosen = np.arange(len(self))[rows]
        ids = np.atleast_1d(chosen)
        out = np.empty((len(ids), *self.shape[1:]), self.dtype)
        numbers = self.numbers(ids)
        for number in np.unique(numbers):
            where = numbers == number
            out[where] = self.encoding.samples(self._kept(int(number)), ids[where] - self.start(number))
        return out if np.ndim(chosen) else out[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All samples, in memory."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def order(self, batch_size: int, seed: int) -> Lanes:
        """The walk that training takes."""
        return Lanes(self.sizes, batch_size, seed, self.manifest.lanes, self.manifest.window)

    def start(self, number: int) -> int:
        """The first sample of a shard."""
        return int(self.ends[number]) - self.sizes[number]

    def numbers(self, ids: np.ndarray) -> np.ndarray:
        """Which shard each sample lies in."""
        return np.searchsorted(self.ends, ids, side="right")

    def name(self, number: int) -> str:
        """A shard as errors name it."""
        return f"{self.store.place}/{self.manifest.shards[number].file}"

    def read(self, number: int) -> Any:
        """The content of a shard, as its encoding holds it."""
        return self.checked(number, self.table(number))

    def table(self, number: int) -> Any:
        """A shard as an Arrow table, whose checksum nobody has looked at yet."""
        shard = self.manifest.shards[number]
        try:
            data = self.store.read(shard.file)
        except FileNotFoundError:
            raise DatasetError(f"shard {self.name(number)} is not there: {self._again()}") from None
        except OSError as problem:
            why = " ".join(str(problem).split())
            raise DatasetError(
                f"shard {self.name(number)} cannot be read ({why}): {advice(self.store.place)}"
            ) from None
        if len(data) != shard.bytes:
            raise DatasetError(
                f"shard {self.name(number)} has {len(data):,} bytes, {shard.bytes:,} were written: {self._again()}"
            )
        try:
            return table_of(data)
        except (ValueError, OSError) as problem:
            raise DatasetError(f"shard {self.name(number)} is damaged ({problem}): {self._again()}") from None

    def checked(self, number: int, table: Any, always: bool = False) -> Any:
        """The content of a table, if it is that of shard ``number``; looks once in a process, or ``always``."""
        try:
            content = self.encoding.content(table)
            known = number in self._right and not always
            right = known or self.encoding.digest(content) == self.manifest.shards[number].sha256
        except (ValueError, KeyError) as problem:
            raise DatasetError(f"shard {self.name(number)} is damaged ({problem}): {self._again()}") from None
        if not right:
            raise DatasetError(f"shard {self.name(number)} holds other samples than were written: {self._again()}")
        self._right.add(number)
        return content

    def _again(self) -> str:
        return f"run `dvc repro -f prepare@{self.path.parent.name}`, which writes it anew"

    def _kept(self, number: int) -> Any:
        with self._lock:
            content = self._open.pop(number, None)
        content = self.read(number) if content is None else content
        with self._lock:
            self._open[number] = content
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        return content


class InMemory:
    """The samples of shards, read once into one array, and walked through in the same order."""

    def __init__(self, shards: Shards) -> None:
        if shards.manifest.encoding != "raw":
            raise DatasetError(
                f"{shards.path} holds photographs, which are decoded as they are read: set resources.reading to stream"
            )
        self.samples, self.order = np.asarray(shards), shards.order
        self.shape, self.dtype = shards.shape, shards.dtype

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.samples[rows]
