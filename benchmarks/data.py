"""Loading photographs: JPEG decoding, random resized crop and flip, ours beside the usual way with Pillow, visited in turn.

``python -m benchmarks.data`` writes benchmarks/out/data.json. The usual way is that of torchvision's transforms on Pillow pictures: decode
all pixels, crop, bicubic resize, mirror. Both cut the same boxes out of the same files, on one thread, timed by process CPU time. Pictures
are made of noise whose detail falls with frequency, as that of photographs does: soft ones and busy ones. ``real`` are squares out of the
two photographs that scikit-learn brings.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import Row, compare, publish
from mae_core.data.jpeg import JpegFiles, Photo, random_boxes
from mae_core.draws import Draws

SIZES = {"224x224": (224, 224), "375x500": (375, 500), "768x1024": (768, 1024)}
FALLS = {"soft": 1.5, "busy": 1.0}
"""How steeply detail falls with frequency: files of the first are small, those of the second large: their bits take most of the time."""
REAL = ("china.jpg", "flower.jpg")
CROP = (224, 224)
QUALITY = 90
LIGHT, COLOUR = 45.0, 12.0
"""Standard deviations of what all channels share, and of what each adds."""


def write_photos(folder: Path, n: int, size: tuple[int, int], fall: float) -> list[Path]:
    """``n`` JPEG files of noise of amplitude 1/f to the power of ``fall``, mostly in lightness."""
    from PIL import Image

    rng = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
    falls = np.maximum(np.hypot(rows, columns), 1 / max(size)) ** -fall
    found = []
    for number in range(n):
        waves = rng.normal(size=(4, *falls.shape)) + 1j * rng.normal(size=(4, *falls.shape))
        maps = np.fft.irfft2(waves * falls, size)
        maps /= maps.std(axis=(1, 2), keepdims=True)
        pixels = 128 + LIGHT * maps[:1] + COLOUR * maps[1:]
        found.append(folder / f"{number}.jpg")
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0).copy())
        picture.save(found[-1], quality=QUALITY)
    return found


def write_cuttings(folder: Path, n: int, size: tuple[int, int]) -> list[Path]:
    """``n`` JPEG files: squares out of scikit-learn's two photographs, resized to ``size``."""
    import sklearn.datasets
    from PIL import Image

    rng, found = np.random.default_rng(0), []
    for number in range(n):
        with Image.open(Path(sklearn.datasets.__file__).parent / "images" / REAL[number % 2]) as photo:
            least = min(photo.size)
            cut = int(rng.integers(int(0.7 * least), least + 1))
            left, top = (int(rng.integers(0, length - cut + 1)) for length in photo.size)
            piece = photo.convert("RGB").crop((left, top, left + cut, top + cut))
        found.append(folder / f"{number}.jpg")
        piece.resize(size[::-1], Image.Resampling.BICUBIC).save(found[-1], quality=QUALITY)
    return found


WRITERS: dict[str, Callable[[Path, int, tuple[int, int]], list[Path]]] = {
    **{kind: partial(write_photos, fall=fall) for kind, fall in FALLS.items()},
    "real": write_cuttings,
}
"""Kinds of photographs."""


def usual(photos: list[Photo], boxes: Tensor, mirrored: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 by Pillow alone."""
    from PIL import Image

    out = torch.empty(len(photos), 3, *CROP, dtype=torch.uint8)
    for row, (photo, (top, left, tall, wide), flip) in enumerate(zip(photos, boxes.tolist(), mirrored.tolist())):
        with Image.open(photo.path) as image:
            piece = image.convert("RGB").crop((left, top, left + wide, top + tall))
        piece = piece.resize((CROP[1], CROP[0]), Image.Resampling.BICUBIC)
        if flip:
            piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        out[row] = torch.from_numpy(np.array(piece)).permute(2, 0, 1)
    return out


def measure(kind: str, name: str, n: int, rounds: int, command: str) -> Row:
    """The row of one kind and size of photograph."""
    size = SIZES[name]
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        files = JpegFiles(WRITERS[kind](Path(folder), n, size), CROP)
        size_of_files = sum(photo.path.stat().st_size for photo in files.photos) / n / 1000
        for number in range(rounds + 1):
            draws = Draws(0, number, torch.arange(n))
            boxes = random_boxes(torch.tensor([size]).expand(n, 2), CROP, draws, files.area)
            begun = time.process_time()
            expected = usual(files.photos, boxes, draws.uniform("flip") < 0.5)
            between = time.process_time()
            found = files.crops(draws)
            ended = time.process_time()
            if number:
                theirs.append(1000 * (between - begun) / n)
                ours.append(1000 * (ended - between) / n)
    off = (found.float() - expected.float()).abs().mean().item()
    row = compare(f"{kind}_{name}_decode_crop_flip_vs_pillow_ms_per_image", ours, theirs, command)
    assert row.ratio is not None
    facts = {"times_as_fast": 1 / row.ratio, "mean_difference_of_256": off, "kilobytes_per_file": size_of_files}
    return row._replace(facts=facts)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    command = f"python -m benchmarks.data --images {given.images} --rounds {given.rounds}"
    asked = [*((kind, name) for kind in FALLS for name in SIZES), ("real", "224x224")]
    publish("data", [measure(kind, name, given.images, given.rounds, command) for kind, name in asked])


if __name__ == "__main__":
    main()
