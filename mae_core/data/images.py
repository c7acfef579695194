"""Decoding pictures that nobody vouches for: checked by content and declared size before a pixel is decoded."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING

import numpy as np

from mae_core.data.quarantine import ItemProblem

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 24_000_000
"""Declared width × height above which a picture is refused unread."""
MIN_SIDE = 2
"""Pixels; a shorter side cannot be resized into anything that means something."""
MAX_ASPECT = 100
BACKGROUND = 255
"""Transparent pixels are composited on white, as picture viewers show them."""


class ImageProblem(ItemProblem):
    """A picture that is not used."""


def open_image(data: bytes) -> Image.Image:
    """The first frame as an upright grey (``L``) or ``RGB`` picture; ImageProblem names what is wrong.

    16-bit grey is scaled to 8 bits over its whole range, CMYK and palettes become RGB, alpha is composited on white.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise ImageProblem("empty file")
    try:
        with warnings.catch_warnings():
            # the declared size is checked below, before any pixel is decoded
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageProblem("not a picture", f"starts with {data[:12]!r}") from None
    except Image.DecompressionBombError:
        raise ImageProblem("too many pixels", f"more than {MAX_PIXELS:,} declared") from None
    except (OSError, SyntaxError, ValueError, EOFError) as problem:
        raise ImageProblem("damaged header", str(problem)) from None
    check_size(*image.size, ImageProblem)
    if image.format == "PNG":
        _check_png(data)
    try:
        image.load()
        return plain(ImageOps.exif_transpose(image))
    except ImageProblem:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as problem:
        raise ImageProblem("damaged pixels", str(problem)) from None


def check_size(width: int, height: int, problem: type[ItemProblem]) -> None:
    """Raises ``problem`` for a declared size that is not worth decoding."""
    if width * height > MAX_PIXELS:
        raise problem("too many pixels", f"{width}x{height} declared, the limit is {MAX_PIXELS:,}")
    if min(width, height) < MIN_SIDE:
        raise problem("too small", f"{width}x{height}, the shorter side must have {MIN_SIDE} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise problem("too thin", f"{width}x{height}, the limit is {MAX_ASPECT} to 1")


def is_grey(image: Image.Image) -> bool:
    """Whether a picture from ``open_image`` has no colour channels."""
    return image.mode == "L"


def frames(data: bytes) -> int:
    """How many frames a picture file holds; only the first is used."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return int(getattr(image, "n_frames", 1))


def fit(image: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
    """A picture cropped at its centre to the aspect of ``size`` (H, W), resized with antialiasing → (C, H, W) uint8."""
    from PIL import Image, ImageOps

    if channels not in (1, 3):
        raise ValueError(f"{channels} channels asked for: pictures become 1 (grey) or 3 (RGB)")
    image = image.convert("L" if channels == 1 else "RGB")
    height, width = size
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def decode_image(data: bytes, size: tuple[int, int], channels: int) -> np.ndarray:
    """Picture bytes → (C, H, W) uint8; ImageProblem where they are not usable."""
    return fit(open_image(data), size, channels)


def plain(image: Image.Image) -> Image.Image:
    """Any mode as grey (``L``) or ``RGB``, as ``open_image`` says. Raises ImageProblem for values out of range."""
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(image).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise ImageProblem("values out of range", "integer pixels beyond 16 bits")
        if isinstance(clear := image.info.get("transparency"), int):
            values[values == clear] = BACKGROUND * 257
        return Image.fromarray((values / 257).round().astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise ImageProblem("pixels are not finite", "a float picture holds NaN or infinity")
        if values.min() < 0 or values.max() > 1:
            raise ImageProblem("values out of range", "float pixels must lie in 0..1")
        return Image.fromarray((values * 255).round().astype(np.uint8))
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("L")
    if image.mode in ("1", "L", "LA", "La"):
        return _on_background(image, "L")
    if image.mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info:
        return _on_background(image, "RGB")
    return image.convert("RGB")


def _on_background(image: Image.Image, mode: str) -> Image.Image:
    from PIL import Image

    base = Image.new("RGBA", image.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    base.alpha_composite(image.convert("RGBA"))
    return base.convert(mode)


def _check_png(data: bytes) -> None:
    """Every chunk's length and CRC: Pillow overlooks some damage that leaves grey stripes."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 12 + length
        if end > len(data):
            raise ImageProblem("truncated", f"PNG chunk {kind.decode('latin-1')} reaches past the end of the file")
        if zlib.crc32(data[at + 4 : end - 4]) != struct.unpack(">I", data[end - 4 : end])[0]:
            raise ImageProblem("checksum", f"PNG chunk {kind.decode('latin-1')} does not match its CRC")
        if kind == b"IEND":
            return
        at = end
    raise ImageProblem("truncated", "the PNG has no end chunk")
