"""Decoding videos that nobody vouches for: mp4, avi, gif and what else is listed, frame by frame, cut into clips of one shape."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mae_core.data.images import MAX_PIXELS, check_size, fit, plain
from mae_core.data.quarantine import ItemProblem

if TYPE_CHECKING:
    import av

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".gif", ".mkv", ".webm"})
CONTAINERS = ("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "avi", "gif", "matroska", "webm")
"""FFmpeg's names; others, such as playlists that name addresses to fetch, are not opened."""
LACKING = 0.02
"""Share of the declared frames that may be absent: edit lists hide a few, a cut file lacks many."""


class VideoProblem(ItemProblem):
    """A video that is not used."""


class Look(NamedTuple):
    """How videos become clips."""

    frames: int
    """T, of a clip."""
    size: tuple[int, int]
    """(H, W); frames are cropped at their centre to this aspect and resized."""
    channels: int
    stride: int = 1
    """Every how many frames of the file one is taken."""
    hop: int | None = None
    """Frames of the file from the start of a clip to the start of the next; the length of a clip by default."""
    most: int | None = None
    """Clips of a file; nothing behind the last is decoded."""

    @property
    def span(self) -> int:
        """Frames of the file that a clip reaches over."""
        return (self.frames - 1) * self.stride + 1


class Clip(NamedTuple):
    """One clip of a file."""

    pixels: np.ndarray
    """(C, T, H, W) uint8."""
    start: int
    """Its first frame in the file."""


def read_clips(file: Path | bytes, look: Look) -> Iterator[Clip]:
    """The clips of a video in order of time; no more frames are in memory than the clips that reach over one moment have.

    Raises VideoProblem at whatever is wrong, which may show only after some clips: a caller that wants whole files waits for the end.
    """
    hop = look.hop or look.frames * look.stride
    open_clips: list[tuple[int, list[np.ndarray]]] = []
    begun = given = seen = 0
    with _opened(file) as container:
        stream = container.streams.video[0]
        declared = stream.frames
        for seen, frame in enumerate(_decoded(container, stream), 1):
            at = seen - 1
            if at % hop == 0 and (look.most is None or begun < look.most):
                open_clips.append((at, []))
                begun += 1
            wanted = [frames for start, frames in open_clips if (at - start) % look.stride == 0]
            if wanted:
                picture = fit(_upright(frame), look.size, look.channels)
                for frames in wanted:
                    frames.append(picture)
            if open_clips and len(open_clips[0][1]) == look.frames:
                start, frames = open_clips.pop(0)
                yield Clip(np.stack(frames, 1), start)
                given += 1
                if given == look.most:
                    return
    if seen < declared * (1 - LACKING):
        raise VideoProblem("truncated", f"{declared} frames declared, {seen} are there")
    if not given:
        raise VideoProblem("too short", f"{seen} frames, a clip reaches over {look.span}")


@contextmanager
def _opened(file: Path | bytes) -> Iterator[av.container.InputContainer]:
    """A container whose first video stream is worth decoding."""
    import av

    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as stream:
        head = stream.read(12)
        if not head:
            raise VideoProblem("empty file")
        stream.seek(0)
        options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
        try:
            container = av.open(stream, "r", options=options, metadata_errors="ignore")
        except av.error.FFmpegError as problem:
            known = head[4:8] == b"ftyp" or head[:4] in (b"RIFF", b"GIF8", b"\x1aE\xdf\xa3")
            said = f"{problem.strerror}; starts with {head!r}"
            raise VideoProblem("damaged video" if known else "not a video", said) from None
        with container:
            if not container.streams.video:
                raise VideoProblem("no video", "there are no pictures in this container")
            context = container.streams.video[0].codec_context
            if not context.width or not context.height:
                raise VideoProblem("damaged video", "the size of its pictures cannot be told")
            check_size(context.width, context.height, VideoProblem)
            # what is damaged is an error and no grey patch; no frame may be larger than the header said it could be
            context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
            yield container


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    import av

    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise VideoProblem("damaged video", f"frame at {frame.time} s is corrupt")
            yield frame
    except av.error.FFmpegError as problem:
        raise VideoProblem("damaged video", str(problem.strerror)) from None


def _upright(frame: av.VideoFrame):
    """A frame as a grey or RGB picture, the way up that its file asks for, transparency on white."""
    from PIL import Image

    alpha = any(component.is_alpha for component in frame.format.components)
    picture = Image.fromarray(frame.to_ndarray(format="rgba" if alpha else "rgb24"))
    return plain(picture.rotate(frame.rotation, expand=True) if frame.rotation else picture)
