"""What the header of a safetensors file says, without reading its tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path

LENGTH = 8
"""Bytes before the header, which hold its length, the lowest first."""
LONGEST = 100_000_000
"""Bytes of a header, at most, as in the format's own description."""


def count_values(path: Path) -> int:
    """Numbers in all tensors of a file.

    Raises ValueError for one that is cut off or no safetensors file, OSError for one that cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        if not 2 <= length <= min(size - LENGTH, LONGEST):
            raise ValueError("cut off, or no safetensors file")
        header = file.read(length)
    try:
        tensors = [one for name, one in json.loads(header).items() if name != "__metadata__"]
        ends = [one["data_offsets"][1] for one in tensors]
        values = sum(math.prod(one["shape"]) for one in tensors)
    except (ValueError, AttributeError, TypeError, LookupError):
        raise ValueError("no safetensors file: its header is damaged") from None
    whole = LENGTH + length + max(ends, default=0)
    if size != whole:
        raise ValueError(f"of {size} bytes where its header tells of {whole}")
    return values
