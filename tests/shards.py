"""Small datasets in shards, and a server that speaks S3 on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mae_core.data.dataset import open_samples, samples_file
from mae_core.data.pack import Rules, pack
from mae_core.data.sharding import ShardRules, write_shards
from mae_core.data.sources import Part, Source

BUCKET = "pictures"
SMALL = ShardRules(megabytes=0.001, lanes=3, window=2)
"""Some 16 pictures of 64 bytes a shard."""


def pictures(n: int = 150, seed: int = 0) -> np.ndarray:
    """(n, 1, 8, 8) uint8: synthetic slopes, each another."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:8, :8] / 7
    angles = random.uniform(0, 2 * np.pi, (n, 1, 1))
    return (127 + 100 * (np.cos(angles) * (x - 0.5) + np.sin(angles) * (y - 0.5)))[:, None].astype(np.uint8)


def write(folder: Path, shards: ShardRules | None = SMALL, samples: Any = None) -> dict[str, Any]:
    """Packs pictures into ``folder``; each is named after its place in the source."""
    samples = pictures() if samples is None else samples
    n = len(samples)
    part = Part("all", samples, np.arange(n) % 2, [str(i) for i in range(n)])
    rules = Rules(folder.name, "image", "CC0", "made by the tests (synthetic)", True, {"validation": 0.1, "test": 0.1})
    return pack(Source([part], ["a", "b"], [], 0, []), rules._replace(shards=shards), folder)


def sharded(folder: Path, samples: np.ndarray) -> Any:
    """The same samples, in the same order, in shards."""
    folder.mkdir()
    write_shards(folder, "train", samples, np.arange(len(samples)), SMALL, folder.name, lambda checksum: None)
    return open_samples(samples_file(folder, "train"))


@contextmanager
def loopback_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """moto's server with one bucket; the usual environment variables point at it. Gives boto3's client."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name, value in {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client
    finally:
        server.stop()
