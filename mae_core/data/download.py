"""One URL into one file: resumed where it was cut, tried again where that may help, never trusted (``fetch`` checks the bytes)."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

SCHEMA = 1
CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without a byte."""
TRIES = 4
"""In a row without a byte more than before."""
BACKOFF = 0.5
"""Seconds before the second try, doubled before each further one."""
AGAIN = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
"""Answers that may be different next time (416: our part is longer than the file, and is started anew)."""
FINAL = (ssl.SSLCertVerificationError, FileNotFoundError, IsADirectoryError, PermissionError, str)
"""Reasons that will be the same next time (a str: no such scheme, no host)."""
WORTH_A_LINE = 1_000_000
"""Bytes; smaller files come without a line of their own where stderr is no terminal."""


class FetchError(RuntimeError):
    """A file that cannot be had, or that is not what it should be: says which, why and what to do."""


class Unreachable(FetchError):
    """An address that does not give the file; another one may."""


class Download(NamedTuple):
    """A whole file, as the server gave it."""

    sha256: str
    content_type: str
    resumed: bool
    """Whether its beginning came with an earlier answer."""


def download(url: str, part: Path, checked: bool) -> Download:
    """Fetches ``url`` (http, https or file) into ``part``; a beginning that is there already is kept where the server agrees.

    Args:
        checked: the caller knows the checksum, so a beginning may be kept even if the server gives no ETag or date to ask by.

    Raises Unreachable where the address does not answer or has no such file, FetchError where the disk is full; what has arrived
    stays in ``part`` for the next call.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    most, tries = 0, 0
    while True:
        try:
            return _once(url, part, checked)
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            TimeoutError,
            ConnectionError,
            ssl.SSLError,
        ) as problem:
            if isinstance(problem, urllib.error.HTTPError) and problem.code == 416:
                part.unlink(missing_ok=True)
            size = part.stat().st_size if part.exists() else 0
            tries = 1 if size > most else tries + 1
            most = max(size, most)
            if tries >= TRIES or _final(problem):
                kept = f"; {size / 1e6:.1f} MB are kept in {part} and resumed next time" if size else ""
                raise Unreachable(f"{url}: {_words(problem)}{kept}") from None
            time.sleep(BACKOFF * 2 ** (tries - 1))


class _Cut(http.client.HTTPException):
    """Fewer bytes than announced."""


def _once(url: str, part: Path, checked: bool) -> Download:
    note = part.with_name(part.name + ".json")
    validator = _validator(note, url)
    start = part.stat().st_size if part.exists() and (validator or (checked and note.exists())) else 0
    headers = {"User-Agent": "maestro-mae", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if validator:
            headers["If-Range"] = validator
    with _opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        if not (answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
            start = 0  # the whole file: the server does not know ranges, or the file is another one by now
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        note.write_text(json.dumps({"schema": SCHEMA, "url": url, "validator": _given(answer.headers)}) + "\n")
        digest = hashlib.sha256()
        with open(part, "rb" if start else "wb") as file:
            while start and (block := file.read(CHUNK)):
                digest.update(block)
        try:
            _room(part, total, start)
            with open(part, "ab") as file:
                for block in _shown(_blocks(answer), url.rpartition("/")[2], start, total):
                    file.write(block)
                    digest.update(block)
        except OSError as problem:
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise FetchError(_full(part, total)) from None
        size = part.stat().st_size
        if total is not None and size != total:
            raise _Cut(f"the connection ended after {size:,} of {total:,} bytes")
    note.unlink()
    return Download(digest.hexdigest(), answer.headers.get_content_type(), start > 0)


@cache
def _opener() -> urllib.request.OpenerDirector:
    """http, https and file alone, with the proxies of the environment; made once, since certificates take a while to load."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler, urllib.request.FileHandler,
        urllib.request.HTTPRedirectHandler, urllib.request.HTTPErrorProcessor, urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _validator(note: Path, url: str) -> str | None:
    """What the server called the version that the part is of, if it was fetched from this address."""
    try:
        said: dict[str, Any] = json.loads(note.read_text())
        return said["validator"] if said["schema"] == SCHEMA and said["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _given(headers: Any) -> str | None:
    """A strong ETag, else the date: what RFC 9110 (13.1.5) lets If-Range ask by."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _blocks(answer: IO[bytes]) -> Iterator[bytes]:
    while block := answer.read(CHUNK):
        yield block


def _room(part: Path, total: int | None, start: int) -> None:
    if total is not None and shutil.disk_usage(part.parent).free < total - start:
        raise OSError(errno.ENOSPC, "the rest does not fit")


def _full(part: Path, total: int | None) -> str:
    have = part.stat().st_size if part.exists() else 0
    need = f"{total - have:,} bytes more are needed" if total is not None else "how many bytes are needed is not known"
    free = shutil.disk_usage(part.parent).free
    return f"{part}: the disk is full: {need}, {free:,} are free; {have:,} bytes are kept and resumed next time"


def _final(problem: Exception) -> bool:
    """Whether trying again cannot help."""
    if isinstance(problem, urllib.error.HTTPError):
        return problem.code not in AGAIN
    reason = getattr(problem, "reason", problem)
    return isinstance(reason, FINAL)


def _words(problem: Exception) -> str:
    if isinstance(problem, urllib.error.HTTPError):
        return f"the server answers {problem.code} {problem.reason}"
    return str(getattr(problem, "reason", problem)) or type(problem).__name__


def _shown(blocks: Iterator[bytes], name: str, start: int, total: int | None) -> Iterator[bytes]:
    """The same blocks; on stderr what has come of how much, and how fast: a moving line on a terminal, one line at the end elsewhere."""
    began = last = time.monotonic()
    have, moving = start, sys.stderr.isatty()
    for block in blocks:
        yield block
        have += len(block)
        now = time.monotonic()
        if moving and now - last > 0.2:
            last = now
            print(f"\r{_line(name, have, start, total, now - began)}", end="", file=sys.stderr, flush=True)
    if moving or have >= WORTH_A_LINE:
        line = _line(name, have, start, total, time.monotonic() - began)
        print(f"\r{line}" if moving else line, file=sys.stderr, flush=True)


def _line(name: str, have: int, start: int, total: int | None, seconds: float) -> str:
    share = f" of {total / 1e6:.1f} MB ({have / total:.0%})" if total else " MB"
    return f"fetch {name}: {have / 1e6:.1f}{share}, {(have - start) / 1e6 / max(seconds, 1e-6):.1f} MB/s"
