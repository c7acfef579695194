"""What a shard holds: how samples become a Parquet file, and a file samples again; the one table of encodings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae_core.draws import Draws

ENCODINGS = {
    "raw": "mae_core.data.shard_files:Raw",
    "jpeg": "mae_core.data.shard_photos:Jpeg",
}
COMPRESSION = "zstd"


class Raw:
    """Samples as they are: one column ``sample`` of bytes of equal length."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype

    def rows(self, samples: Any, indices: np.ndarray, size: float) -> int:
        """How many samples make a shard of about ``size`` bytes."""
        return max(round(size / (int(np.prod(self.shape)) * self.dtype.itemsize)), 1)

    def taken(self, samples: Any, indices: np.ndarray) -> np.ndarray:
        """What ``encode`` makes a shard of."""
        return np.asarray(samples[indices])

    def encode(self, samples: np.ndarray) -> tuple[bytes, str]:
        """(m, …) → the bytes of a file, and the checksum of what it holds."""
        import pyarrow as pa

        samples = np.ascontiguousarray(samples, self.dtype)
        width = int(np.prod(self.shape)) * self.dtype.itemsize
        rows = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(samples), [None, pa.py_buffer(samples)])
        return parquet(pa.table({"sample": rows})), self.digest(samples)

    def content(self, table: Any) -> np.ndarray:
        """The samples of a file, (m, …). Raises ValueError or KeyError where it holds something else."""
        column = table.column("sample").combine_chunks()
        width = column.type.byte_width
        flat = np.frombuffer(column.buffers()[1], np.uint8, len(column) * width, column.offset * width)
        return flat.view(self.dtype).reshape(len(column), *self.shape)

    def digest(self, content: np.ndarray) -> str:
        """sha256 of the samples."""
        return hashlib.sha256(np.ascontiguousarray(content).view(np.uint8).data).hexdigest()

    def samples(self, content: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(b, …): some samples of a shard."""
        return content[rows]

    def batch(self, contents: Sequence[np.ndarray], of: np.ndarray, rows: np.ndarray, draws: Draws) -> Tensor:
        """(b, …): what training sees of row ``rows[i]`` of ``contents[of[i]]``, for every i."""
        out = np.empty((len(rows), *self.shape), self.dtype)
        for number, content in enumerate(contents):
            where = np.flatnonzero(of == number)
            out[where] = content[rows[where]]
        return torch.from_numpy(out)


def parquet(table: Any) -> bytes:
    """A file of one row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = pa.BufferOutputStream()
    pq.write_table(
        table, out, row_group_size=len(table), compression=COMPRESSION, use_dictionary=False, write_statistics=False
    )
    data: bytes = out.getvalue().to_pybytes()
    return data


def table_of(data: bytes) -> Any:
    """What ``parquet`` wrote. Raises ValueError or OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(data), use_threads=False)
