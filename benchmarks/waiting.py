"""How long a step waits for its samples, as a share of its time: ``python -m benchmarks.waiting`` writes benchmarks/out/waiting.json.

Models of ``benchmarks.step`` train at full speed, in bf16 on one thread: the small one on an array that is mapped from disk, the large one
on JPEG photographs (busy ones, whose bits take longest), as files and out of shards. These are decoded ahead on a thread beside, so that a
second core is needed: on one alone a step is as much longer as decoding takes. The limit is 3 %.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data import CROP, SIZES, WRITERS
from benchmarks.rows import Row, compare, publish
from benchmarks.step import LR, SHAPES, Shape, images
from mae_core.data.jpeg import JpegFiles
from mae_core.data.sharding import ShardRules, write_shards
from mae_core.data.shards import Shards
from mae_core.training.allocator import keep_pages
from mae_core.training.loop import Settings, fit, start

WAITING = {"a_waiting_for_array": "a", "b_waiting_for_photographs": "b", "b_waiting_for_shards_of_photographs": "b"}
"""Who waits for what → its shape."""
LIMIT = 0.03
WARM = 2
"""First steps that do not count: threads start, pages are mapped."""
PHOTOS = SIZES["375x500"]


def mapped(folder: Path, shape: Shape, n: int) -> np.ndarray:
    """Pictures in a file, as prepared datasets hold them."""
    np.save(folder / "samples.npy", images(shape, n).numpy())
    return np.load(folder / "samples.npy", mmap_mode="r", allow_pickle=False)


def sources(folder: Path, n: int) -> dict[str, Any]:
    """The samples of each of ``WAITING``."""
    photos = JpegFiles(WRITERS["busy"](folder, n, PHOTOS), CROP)
    write_shards(folder, "train", photos, np.arange(n), ShardRules(), "synthetic", lambda digest: None)
    array = mapped(folder, SHAPES["a"], 16 * SHAPES["a"].batch)
    return dict(zip(WAITING, (array, photos, Shards(folder / "train-shards.json"))))


def waits(shape: Shape, samples: Any, steps: int) -> list[float]:
    """The share of each step's time that it waited for data."""
    settings = Settings(steps + WARM, shape.batch, LR, precision="bf16")
    training = fit(start(shape.config(), settings), samples, settings, report_every=1)
    return [progress.data_wait for progress in training][WARM:]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_pages()
    command = f"python -m benchmarks.waiting --photos {given.photos} --steps {given.steps}"
    with tempfile.TemporaryDirectory() as folder:
        rows: list[Row] = []
        for name, samples in sources(Path(folder), given.photos).items():
            found = waits(SHAPES[WAITING[name]], samples, given.steps)
            rows.append(compare(f"{name}_vs_limit", found, [LIMIT] * len(found), command))
    publish("waiting", rows)


if __name__ == "__main__":
    main()
