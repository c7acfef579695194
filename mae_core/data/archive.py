"""Unpacking archives that nobody vouches for: regular files and folders alone, every name inside the target, within stated limits."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import lzma
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from mae_core.atomic import replace_folder

SCHEMA = 1
RECORD = ".archive.json"
MAX_MEMBERS = 200_000
"""ImageNet's validation part has 50,000."""
MAX_BYTES = 50_000_000_000
"""Unpacked; more than any data set that fits one machine's disk beside its packed copy."""
MAX_RATIO = 200
"""Unpacked bytes over the archive's: pictures have about 1, text 10, a bomb 1,000."""
RATIO_FROM = 10_000_000
"""Unpacked bytes below which the ratio does not matter."""
MAX_NAME = 1000
"""Bytes of a whole name, below what file systems take for a path (4,096, often less inside a deep folder)."""
MAX_PART = 255
"""Bytes of a file's own name: what file systems take."""
CHUNK = 1 << 20
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, NotImplementedError,
)  # fmt: skip


class ArchiveError(ValueError):
    """An archive that is not unpacked: says which, what is wrong and which entry."""


class Member(NamedTuple):
    """One entry, before anything of it is written."""

    name: str
    folder: bool
    size: int
    """Bytes, as declared."""
    odd: str
    """What it is if neither file nor folder, '' otherwise."""


def extract(archive: Path, target: Path) -> None:
    """Unpacks a .zip, .tar, .tar.gz or .tgz into ``target``, which appears whole or not at all.

    A target that holds the same archive's files already is left as it is. Raises ArchiveError for anything but plain files and folders
    with distinct names inside ``target`` that match their checksums.
    """
    if not archive.is_file():
        raise ArchiveError(f"{archive} is missing")
    reader = next((READERS[suffix] for suffix in READERS if archive.name.lower().endswith(suffix)), None)
    if reader is None:
        raise ArchiveError(f"{archive.name} is no archive that is read here: there are {', '.join(READERS)}")
    with open(archive, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if _unpacked(target) == sha256:
        return
    with replace_folder(target) as staging:
        names = _Names(archive.name)
        written = files = 0
        at = ""
        try:
            for member, data in reader(archive):
                at = member.name
                place = names.place(member)
                if member.folder:
                    (staging / place).mkdir(parents=True, exist_ok=True)
                    continue
                written += member.size
                _limits(archive, written)
                (staging / place).parent.mkdir(parents=True, exist_ok=True)
                _write(archive, member, data, staging / place)
                files += 1
        except DAMAGED as problem:
            last = f" in or after entry {at[:200]!r}" if at else ""
            raise ArchiveError(f"{archive.name} is damaged{last} ({problem}): fetch it again") from None
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ArchiveError(
                f"{archive.name}: the disk of {target} is full after {written:,} bytes: make room"
            ) from None
        if not files:
            raise ArchiveError(f"{archive.name} is empty: it holds no files")
        record = {"schema": SCHEMA, "sha256": sha256, "files": files, "bytes": written}
        (staging / RECORD).write_text(json.dumps(record) + "\n")


def _unpacked(target: Path) -> str | None:
    """The checksum of the archive that ``target`` was unpacked from, where all its files are still there."""
    try:
        said: dict[str, Any] = json.loads((target / RECORD).read_text())
        sizes = [path.stat().st_size for path in target.rglob("*") if path.is_file() and path != target / RECORD]
        whole = (SCHEMA, len(sizes), sum(sizes)) == (said["schema"], said["files"], said["bytes"])
        return said["sha256"] if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _Names:
    """Which names have been used: no two may become one file, on any file system."""

    def __init__(self, archive: str) -> None:
        self.archive = archive
        self.spelling: dict[str, str] = {}
        self.files = {RECORD}
        self.count = 0

    def place(self, member: Member) -> str:
        """The entry's relative path. Raises ArchiveError naming the entry."""
        self.count += 1
        if self.count > MAX_MEMBERS:
            raise ArchiveError(f"{self.archive} holds more than {MAX_MEMBERS:,} entries")
        if member.odd:
            raise self._refused(member, f"is {member.odd}: files and folders alone are unpacked")
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if member.name.startswith("/") or ".." in parts or (parts and parts[0][1:2] == ":"):
            raise self._refused(member, "leads out of the target folder")
        if "\\" in member.name or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in member.name):
            raise self._refused(member, "holds a backslash or a control character")
        if len(member.name.encode()) > MAX_NAME or any(len(part.encode()) > MAX_PART for part in parts):
            raise self._refused(member, f"is longer than {MAX_NAME} bytes, or {MAX_PART} in one part")
        if not parts and not member.folder:
            raise self._refused(member, "has no name of its own")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            key = unicodedata.normalize("NFC", path).casefold()
            new_file = depth == len(parts) and not member.folder
            if self.spelling.get(key, path) != path:
                raise self._refused(member, f"is the same as {self.spelling[key]!r} where case does not count")
            if key in self.files or (new_file and key in self.spelling):
                raise self._refused(member, "occurs twice, or as a file and as a folder")
            self.spelling[key] = path
            if new_file:
                self.files.add(key)
        return "/".join(parts)

    def _refused(self, member: Member, why: str) -> ArchiveError:
        return ArchiveError(f"{self.archive}: entry {member.name[:200]!r} {why}: nothing was unpacked")


Entries = Iterator[tuple[Member, IO[bytes] | None]]
"""Entries with their bytes, None for those without."""


def _zip(path: Path) -> Entries:
    with open(path, "rb") as file:
        if file.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
            raise ArchiveError(f"{path.name} is not a zip, though its name says so (a saved error page?)")
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as problem:
        raise ArchiveError(f"{path.name} is not a whole zip ({problem}): fetch it again") from None
    with archive:
        for info in archive.infolist():
            member = Member(info.orig_filename, info.is_dir(), info.file_size, _odd_zip(info))
            if member.folder or member.odd:
                yield member, None
                continue
            with archive.open(info) as data:
                yield member, data


def _odd_zip(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(kind):
        return "a link"
    return "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "a device"


def _tar(path: Path, zipped: bool) -> Entries:
    with open(path, "rb") as raw:
        if zipped and raw.read(2) != b"\x1f\x8b":
            raise ArchiveError(f"{path.name} is not gzip, though its name says so (a saved error page?)")
        raw.seek(0)
        stream = _Metered(gzip.GzipFile(fileobj=raw) if zipped else raw, path)
        # tarfile asks for no more than read, seek and tell of a file
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as tar:
            for info in tar:
                member = Member(info.name, info.isdir(), info.size, _odd_tar(info))
                yield member, None if member.folder or member.odd else tar.extractfile(info)
        if stream.last != b"\0" * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("a header is damaged, or the end mark is missing")
        while stream.read(CHUNK):
            pass  # gzip's checksum stands at the very end


def _odd_tar(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return f"a link to {info.linkname[:200]!r}"
    if info.isdir() or (info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not info.issparse()):
        return ""
    return "a sparse file, a device or something else"


class _Metered:
    """A stream that may be read by tarfile, though not without end: headers can declare gigabytes, and gzip can give them."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, path: Path) -> None:
        self.stream, self.path = stream, path
        self.last = b""
        """What the last read gave."""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self.last = self.stream.read(size)
        _limits(self.path, self.stream.tell(), MAX_MEMBERS * 2 * tarfile.BLOCKSIZE)
        return self.last

    def seek(self, offset: int) -> int:
        _limits(self.path, offset, MAX_MEMBERS * 2 * tarfile.BLOCKSIZE)
        return self.stream.seek(offset)

    def tell(self) -> int:
        return self.stream.tell()


def _limits(archive: Path, unpacked: int, headers: int = 0) -> None:
    """Raises ArchiveError where so many unpacked bytes are too many, or too many for the archive's size."""
    packed = archive.stat().st_size
    most = min(MAX_BYTES, max(RATIO_FROM, MAX_RATIO * packed)) + headers
    if unpacked > most:
        raise ArchiveError(
            f"{archive.name} unpacks to {unpacked:,} bytes or more from {packed:,}: the limits are {MAX_BYTES:,}, and {MAX_RATIO} times "
            f"its size beyond {RATIO_FROM:,}"
        )


def _write(archive: Path, member: Member, data: IO[bytes] | None, place: Path) -> None:
    size = 0
    with open(place, "xb") as file:
        while data and (block := data.read(CHUNK)):
            size += len(block)
            file.write(block)
    if size != member.size:
        raise ArchiveError(f"{archive.name}: entry {member.name[:200]!r} declares {member.size:,} bytes, {size:,} came")


READERS: dict[str, Callable[[Path], Entries]] = {
    ".zip": _zip,
    ".tar": partial(_tar, zipped=False),
    ".tar.gz": partial(_tar, zipped=True),
    ".tgz": partial(_tar, zipped=True),
}
"""What each ending of a name promises."""
