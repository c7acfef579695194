"""Small videos, made on the spot."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

KINDS = {".mp4": ("mpeg4", "yuv420p"), ".avi": ("mpeg4", "yuv420p"), ".gif": ("gif", "rgb8"), ".mkv": ("ffv1", "bgr0")}
"""Suffix → codec and pixel format."""


def make_video(path: Path, frames: int = 12, size: tuple[int, int] = (32, 48), rate: int = 25) -> Path:
    """Frame t is grey of level 20 t, so that a decoded frame tells which one it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec, kind = KINDS[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], kind
        for t in range(frames):
            level = np.full((*size, 3), 20 * t % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, "rgb24")))
        container.mux(stream.encode())
    return path
