"""Where shards lie: a folder, or a bucket of S3 or Google Cloud Storage, seen through pyarrow's file systems.

Keys are read from where the vendors' own tools look for them: ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY`` or a profile, and
``GOOGLE_APPLICATION_CREDENTIALS``. ``AWS_ENDPOINT_URL`` names a server other than Amazon's that speaks S3.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mae_core.data.dataset import DatasetError

REMOTE = ("s3", "gs")
PATIENCE = 10.0
"""Seconds until a server that does not answer is given up, at each try."""
TRIES = 3


class Store(NamedTuple):
    """A folder somewhere."""

    place: str
    """As it was named."""
    files: Any
    """pyarrow.fs.FileSystem."""
    folder: str
    """Within ``files``."""

    def path(self, name: str) -> str:
        """Of a file, as ``files`` takes it."""
        return f"{self.folder}/{name}"

    def read(self, name: str) -> bytes:
        """All bytes of a file. Raises OSError."""
        with self.files.open_input_file(self.path(name)) as file:
            data: bytes = file.read()
            return data

    def write(self, name: str, data: bytes) -> None:
        """Puts a file there in one step: an object is seen when all of it has arrived, a file when it is renamed. Raises OSError."""
        if is_remote(self.place):
            with self.files.open_output_stream(self.path(name)) as file:
                file.write(data)
            return
        self.files.create_dir(self.folder)
        staging = f".{name}.{os.getpid()}"
        with self.files.open_output_stream(self.path(staging)) as file:
            file.write(data)
        self.files.move(self.path(staging), self.path(name))


def is_remote(place: str) -> bool:
    """Whether ``place`` names a bucket."""
    return urlsplit(place).scheme in REMOTE


def open_store(place: str | Path) -> Store:
    """The folder or ``s3://bucket/prefix``, ``gs://bucket/prefix``. Raises DatasetError for any other kind of address."""
    from pyarrow import fs

    place = str(place).rstrip("/")
    parts = urlsplit(place)
    if parts.scheme == "s3":
        return Store(place, _s3(fs), f"{parts.netloc}{parts.path}")
    if parts.scheme == "gs":
        files, folder = fs.FileSystem.from_uri(place)
        return Store(place, files, folder)
    if "://" in place:
        raise DatasetError(f"{place}: shards lie in a folder, or at s3://bucket/prefix or gs://bucket/prefix")
    return Store(place, fs.LocalFileSystem(), str(Path(place).resolve()))


def advice(place: str) -> str:
    """What to look at when ``place`` cannot be reached."""
    if place.startswith("s3://"):
        server = os.environ.get("AWS_ENDPOINT_URL")
        return (
            f"is {server or 'Amazon S3'} reachable from here (AWS_ENDPOINT_URL names another server, AWS_REGION the region), and are "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, set for this bucket?"
        )
    if place.startswith("gs://"):
        return "is it reachable from here, and does GOOGLE_APPLICATION_CREDENTIALS name a key file for this bucket?"
    return "is the disk there, and may it be read and written?"


def _s3(fs: Any) -> Any:
    server = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    return fs.S3FileSystem(
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        endpoint_override=server.netloc or None,
        scheme=server.scheme or "https",
        connect_timeout=PATIENCE,
        request_timeout=PATIENCE * 6,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
        allow_delayed_open=True,  # what is small is put in one request
    )
