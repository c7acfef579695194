"""JPEG files as training samples: random crops decoded at load, a batch at a time, so that large photographs keep their detail.

Of a crop that is larger than asked for, the JPEG's own scaled transform decodes a half, a quarter or an eighth of the pixels (libjpeg's DCT
scaling), and the rest of the way goes by antialiased bicubic resizing. ``simplejpeg`` decodes where it is installed, Pillow elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.data.images import MAX_PIXELS, ImageProblem, check_size
from mae_core.draws import Draws

ASPECT = (3 / 4, 4 / 3)
"""Width over height of a crop, over that of the picture as it is wanted: torchvision's range, which the MAE paper's code uses."""
TRIES = 10
"""Crops drawn of each picture; the first that fits is taken, and the largest crop in the middle where none does."""
SCALES = (8, 4, 2)
"""Fractions of the size that a decoder gives without decoding the rest."""
TURNED = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
"""EXIF orientation → whether rows and columns change places, then what is up and down, then left and right."""


class Photo(NamedTuple):
    """What the head of a file says."""

    path: Path
    height: int
    """As stored, before it is turned upright."""
    width: int
    orientation: int
    """EXIF: 1 is upright."""
    plain: bool
    """Whether it is grey or YCbCr, which ``simplejpeg`` decodes; others go through Pillow."""
    data: Any = None
    """All bytes of the file, where they are at hand already."""

    def read(self) -> Any:
        """All bytes of the file. Raises OSError."""
        return self.path.read_bytes() if self.data is None else self.data


class JpegFiles:
    """(n, 3, H, W) uint8 samples that are decoded as they are read; ``fit`` asks for random crops of them.

    Args:
        paths: JPEG files; each one's head is read at once, its pixels at every use.
        size: (H, W) of a sample.
        area: the smallest share of a picture's area that a crop has.
        flip: mirror half of the crops left to right.

    Raises ImageProblem, naming the file, for what is no JPEG or not worth decoding.
    """

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], area: float = 0.2, flip: bool = True) -> None:
        if not 0 < area <= 1:
            raise ValueError(f"area {area} is outside (0, 1]: it is the smallest share of a picture that a crop has")
        self.photos = [head(Path(path)) for path in paths]
        self.size, self.area, self.flip = size, area, flip
        self.shape = (len(self.photos), 3, *size)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Whole pictures, cropped in the middle to the aspect of ``size``."""
        return whole([self.photos[row] for row in np.atleast_1d(np.arange(len(self))[rows])], self.size).numpy()

    def crops(self, draws: Draws) -> Tensor:
        """A random crop of each sample of ``draws.ids``: (B, 3, H, W) uint8."""
        return random_crops([self.photos[row] for row in draws.ids.tolist()], self.size, draws, self.area, self.flip)

    def digests(self) -> np.ndarray:
        """(n, 16) uint8: a hash of each file's bytes."""
        rows = [hashlib.blake2b(photo.read(), digest_size=16).digest() for photo in self.photos]
        return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 16)

    def encoding(self) -> tuple[str, dict[str, Any]]:
        """How they are put into shards: their files as they are."""
        return "jpeg", {"area": self.area, "flip": self.flip}


def whole(photos: Sequence[Photo], size: tuple[int, int], pool: Executor | None = None) -> Tensor:
    """Each picture, cropped in the middle to the aspect of ``size``: (B, 3, H, W) uint8. ``pool`` decodes several at once."""
    return _cut(photos, middle(_upright(photos), size), None, size, pool)


def random_crops(
    photos: Sequence[Photo], size: tuple[int, int], draws: Draws, area: float, flip: bool, pool: Executor | None = None
) -> Tensor:
    """The same of a random crop of each, which ``draws`` decide."""
    boxes = random_boxes(_upright(photos), size, draws, area)
    return _cut(photos, boxes, draws.uniform("flip") < 0.5 if flip else None, size, pool)


def _upright(photos: Sequence[Photo]) -> Tensor:
    """(B, 2) long: height and width as they are seen."""
    sizes = [(one.width, one.height) if one.orientation >= 5 else (one.height, one.width) for one in photos]
    return torch.tensor(sizes, dtype=torch.long).view(-1, 2)


def _cut(
    photos: Sequence[Photo], boxes: Tensor, mirrored: Tensor | None, size: tuple[int, int], pool: Executor | None
) -> Tensor:
    as_decoded = torch.channels_last
    out = torch.empty(len(photos), 3, *size, dtype=torch.uint8, memory_format=as_decoded)
    flips = [False] * len(photos) if mirrored is None else mirrored.tolist()
    go = map if pool is None else pool.map
    for row, piece in enumerate(go(cut, photos, boxes.tolist(), [size] * len(photos), flips)):
        out[row] = piece
    return out


def head(path: Path) -> Photo:
    """Size and orientation of a file, without its pixels. Raises ImageProblem for what is no JPEG, or too large or small."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("JPEG",)) as image:
            width, height = image.size
            check_size(width, height, ImageProblem)
            turned = image.getexif().get(0x0112)
            orientation = turned if isinstance(turned, int) and turned in TURNED else 1  # anything may stand there
            return Photo(path, height, width, orientation, image.mode in ("L", "RGB"))
    except UnidentifiedImageError:
        raise ImageProblem("not a JPEG", str(path)) from None
    except Image.DecompressionBombError:
        raise ImageProblem("too many pixels", f"{path}: more than {MAX_PIXELS:,} declared") from None
    except ImageProblem as problem:
        raise ImageProblem(problem.reason, f"{path}: {problem.detail}") from None


def random_boxes(sizes: Tensor, wanted: tuple[int, int], draws: Draws, area: float) -> Tensor:
    """Where to crop: (B, 4) long of top, left, height, width, inside pictures of ``sizes`` (B, 2).

    Area uniform between its share and all, aspect log-uniform around that of ``wanted`` (Szegedy et al. 2015, §6, as torchvision has it).
    """
    height, width = sizes[:, :1].double(), sizes[:, 1:].double()
    u = draws.uniform("crop", 4, TRIES).double()
    share = area + (1 - area) * u[:, 0]
    low, high = (math.log(end * wanted[1] / wanted[0]) for end in ASPECT)
    aspect = (low + (high - low) * u[:, 1]).exp()
    tall = (share * height * width / aspect).sqrt().round().clamp_min(1)
    wide = (share * height * width * aspect).sqrt().round().clamp_min(1)
    fits = (tall <= height) & (wide <= width)
    top, left = (u[:, 2] * (height - tall + 1)).floor(), (u[:, 3] * (width - wide + 1)).floor()
    first = fits.double().argmax(1, keepdim=True)
    found = torch.cat([one.gather(1, first) for one in (top, left, tall, wide)], 1).long()
    return torch.where(fits.any(1, keepdim=True), found, middle(sizes, wanted))


def middle(sizes: Tensor, wanted: tuple[int, int]) -> Tensor:
    """The largest box in the middle with the aspect of ``wanted``: (B, 4) long of top, left, height, width."""
    height, width = sizes[:, 0].double(), sizes[:, 1].double()
    aspect = wanted[1] / wanted[0]
    tall = torch.minimum(height, (width / aspect).round()).clamp_min(1)
    wide = torch.minimum(width, (height * aspect).round()).clamp_min(1)
    return torch.stack([((height - tall) / 2).floor(), ((width - wide) / 2).floor(), tall, wide], 1).long()


def cut(photo: Photo, box: Sequence[int], size: tuple[int, int], mirrored: bool = False) -> Tensor:
    """The box (top, left, height, width) of the upright picture, resized to ``size``: (3, H, W) uint8, channels last in memory."""
    data = photo.read()
    fewest = min(box[2] / size[0], box[3] / size[1])
    scale = next((scale for scale in SCALES if scale <= fewest), 1)
    try:
        pixels = decode(data, photo, scale)
    except (OSError, ValueError) as problem:
        raise ImageProblem("damaged pixels", f"{photo.path}: {problem}") from None
    upright = turn(pixels, photo.orientation)
    seen = (photo.width, photo.height) if photo.orientation >= 5 else (photo.height, photo.width)
    down, across = upright.shape[0] / seen[0], upright.shape[1] / seen[1]
    top, left = round(box[0] * down), round(box[1] * across)
    bottom, right = max(round((box[0] + box[2]) * down), top + 1), max(round((box[1] + box[3]) * across), left + 1)
    piece = torch.from_numpy(np.ascontiguousarray(upright[top:bottom, left:right]))
    batch = piece[None].permute(0, 3, 1, 2)  # has the strides of channels-last, in which torch resizes bytes fastest
    if mirrored:
        batch = batch.flip(-1)
    return F.interpolate(batch, size=size, mode="bicubic", antialias=True, align_corners=False)[0]


def decode(data: Any, photo: Photo, scale: int) -> np.ndarray:
    """(H, W, 3) uint8 of a file's bytes, as stored, at one ``scale``-th of its size."""
    least = (-(-photo.height // scale), -(-photo.width // scale))
    fast = _simplejpeg() if photo.plain else None
    if fast is not None:
        return np.asarray(fast.decode_jpeg(data, "RGB", min_height=least[0], min_width=least[1], min_factor=scale))
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.draft("RGB", (photo.width // scale, photo.height // scale))
        return np.array(image.convert("RGB"))


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, C) as stored → upright, by its EXIF orientation."""
    transposed, upside_down, mirrored = TURNED.get(orientation, (False, False, False))
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    pixels = pixels[::-1] if upside_down else pixels
    return pixels[:, ::-1] if mirrored else pixels


def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg
