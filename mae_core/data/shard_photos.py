"""Photographs in shards: their JPEG files as they are, decoded and cropped when a batch is made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mae_core.data.jpeg import JpegFiles, Photo, random_crops, whole
from mae_core.data.shard_files import parquet
from mae_core.draws import Draws

FACTS = ("height", "width", "orientation", "plain")
"""Of ``Photo``, a column each, so that a crop is drawn before anything is decoded."""


class Jpeg:
    """Columns ``jpeg``, a file's bytes, and ``FACTS``.

    Args:
        shape: of a decoded sample, (3, H, W).
        area, flip: as of ``JpegFiles``, of the random crops that training sees.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, area: float, flip: bool) -> None:
        self.size, self.dtype, self.area, self.flip = (shape[1], shape[2]), dtype, area, flip

    @cached_property
    def decoders(self) -> ThreadPoolExecutor:
        """Threads that decode side by side, one a core."""
        return ThreadPoolExecutor(len(os.sched_getaffinity(0)), "decoders")

    def rows(self, samples: JpegFiles, indices: np.ndarray, size: float) -> int:
        """How many photographs make a shard of about ``size`` bytes."""
        mean = np.mean([samples.photos[row].path.stat().st_size for row in indices])
        return max(round(size / float(mean)), 1)

    def taken(self, samples: JpegFiles, indices: np.ndarray) -> list[Photo]:
        """What ``encode`` makes a shard of."""
        return [photo._replace(data=photo.read()) for photo in (samples.photos[row] for row in indices)]

    def encode(self, photos: Sequence[Photo]) -> tuple[bytes, str]:
        """The bytes of a file, and the checksum of what it holds."""
        import pyarrow as pa

        columns = {name: [getattr(photo, name) for photo in photos] for name in FACTS}
        table = pa.table({"jpeg": pa.array([photo.data for photo in photos], pa.large_binary()), **columns})
        return parquet(table), self.digest(photos)

    def content(self, table: Any) -> list[Photo]:
        """The photographs of a file. Raises ValueError or KeyError where it holds something else."""
        files = table.column("jpeg").combine_chunks()
        facts = table.select(FACTS).to_pylist()
        return [Photo(Path(f"row {row}"), data=files[row].as_py(), **one) for row, one in enumerate(facts)]

    def digest(self, photos: Sequence[Photo]) -> str:
        """sha256 of the files and of what is known of them."""
        found = hashlib.sha256()
        for photo in photos:
            found.update(json.dumps([len(photo.data), *(getattr(photo, name) for name in FACTS)]).encode())
            found.update(photo.data)
        return found.hexdigest()

    def samples(self, photos: Sequence[Photo], rows: np.ndarray) -> np.ndarray:
        """(b, 3, H, W): whole pictures, cropped in the middle."""
        return whole([photos[row] for row in rows], self.size, self.decoders).numpy()

    def batch(self, contents: Sequence[Sequence[Photo]], of: np.ndarray, rows: np.ndarray, draws: Draws) -> Tensor:
        """(b, 3, H, W): a random crop of photograph ``rows[i]`` of ``contents[of[i]]``, for every i."""
        photos = [contents[one][row] for one, row in zip(of, rows)]
        return random_crops(photos, self.size, draws, self.area, self.flip, self.decoders)
