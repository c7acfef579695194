"""The files of a dataset, from a mirror or their own address, each known by its checksum before anybody reads it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

from mae_core.atomic import write_text
from mae_core.data.download import Download, FetchError, Unreachable, download

SCHEMA = 1
RECORD = "checksums.json"
LITTER = frozenset({"thumbs.db", "desktop.ini"})
"""What file managers leave behind, beside names that start with a dot."""
HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml version")
NAMED = 5
"""How many file names an error lists."""


class Wanted(NamedTuple):
    """One file."""

    path: str
    """Below the dataset's folder, with ``/``."""
    url: str
    sha256: str | None
    """None: nobody has published one; that of the first fetch is recorded and must stay."""


class Fetched(NamedTuple):
    """Where the files lie."""

    folder: Path
    verified: bool
    """Every byte matched a checksum that was known before."""
    notes: list[str]


def fetch(folder: str, wanted: Sequence[Wanted], downloads: Path, mirror: str | None = None) -> Fetched:
    """Every file of ``wanted`` below ``downloads/<folder>``, checked; what is there and right is not fetched again.

    A file is looked for at ``<mirror>/<folder>/<path>`` first, where ``mirror`` is a folder (its files are linked, not copied) or a
    base URL; then at its own URL. Raises FetchError naming the file, what was wrong with it and what to do.
    """
    home = _inside(downloads, folder)
    recorded = _read_record(home / RECORD)
    first = {}
    for file in wanted:
        expected = file.sha256 or recorded.get(file.path)
        found = _obtain(file, expected, home, _mirror_place(mirror, folder, file.path))
        if not file.sha256:
            first[file.path] = found
    if first and {**recorded, **first} != recorded:
        rows = {"schema": SCHEMA, "sha256": {**recorded, **first}}
        write_text(home / RECORD, json.dumps(rows, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    notes = []
    if first:
        notes.append(
            f"unverified: no checksum was known beforehand for {', '.join(sorted(first))}; that of the first fetch must stay"
        )
    return Fetched(home, not first, notes)


def fetch_tree(folder: str, manifest_sha256: str, mirror: str | None, downloads: Path) -> Fetched:
    """A folder of many files, known by the sha256 of its list of ``sha256  <folder>/<path>`` lines, sorted by path.

    It is read where it lies: ``<mirror>/<folder>``, or ``downloads/<folder>`` where it was put by hand. A mirror that is a base URL must
    hold the list as ``checksums/<folder>.sha256``; the files are then fetched one by one. Files that file managers leave behind are
    passed over with a note. Raises FetchError saying where to put the folder, or which files are too many, too few or altered.
    """
    home = _inside(downloads, folder)
    if mirror and "://" in mirror:
        return _tree_from_url(folder, manifest_sha256, mirror, downloads)
    places = [*([Path(mirror).expanduser() / folder] if mirror else []), home]
    place = next((place.resolve() for place in places if place.is_dir()), None)
    if place is None:
        raise FetchError(
            f"{folder} is a folder of many files without a single download: put it at {home}, or at $MAESTRO_MIRROR/{folder}"
        )
    paths = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    litter = [path for path in paths if _is_litter(path)]
    sums = {path: _digest(place / path) for path in paths if path not in set(litter)}
    found = hashlib.sha256(_manifest(folder, sums).encode()).hexdigest()
    if found != manifest_sha256:
        list_file = place.parent / "checksums" / f"{folder}.sha256"
        raise FetchError(_tree_problem(place, sums, found, manifest_sha256, list_file))
    notes = [f"{len(litter)} files left by file managers were passed over: {_some(litter)}"] if litter else []
    return Fetched(place, True, notes)


def _obtain(file: Wanted, expected: str | None, home: Path, mirrored: Path | str | None) -> str:
    """Makes sure of one file; returns its sha256."""
    target = _inside(home, file.path)
    if target.is_file():
        found = _digest(target)
        if found == expected or (expected is None and not _looks_html(target)):
            return found
        print(f"{target} is not what it was fetched as: it is fetched again", file=sys.stderr)
    if isinstance(mirrored, Path) and mirrored.is_file():
        found = _digest(mirrored)
        _check(file, found, expected, str(mirrored), home, html=_looks_html(mirrored))
        _link(mirrored.resolve(), target)
        return found
    problems = []
    for url in [*([mirrored] if isinstance(mirrored, str) else []), file.url]:
        try:
            return _from_url(url, file, expected, target, home)
        except Unreachable as problem:
            problems.append(str(problem))
    looked = f"{mirrored}: not there; " if isinstance(mirrored, Path) else ""
    raise FetchError(
        f"{file.path} cannot be had: {looked}{'; '.join(problems)}. Put the file at {target}, or into a folder that MAESTRO_MIRROR names, "
        f"as {home.name}/{file.path}"
    )


def _from_url(url: str, file: Wanted, expected: str | None, target: Path, home: Path) -> str:
    part = target.with_name(target.name + ".part")
    got = download(url, part, checked=expected is not None)
    if got.resumed and expected and got.sha256 != expected:
        part.unlink()  # it began with bytes of something else
        got = download(url, part, checked=True)
    try:
        _check(file, got.sha256, expected, url, home, html=_is_html(got, part))
    except FetchError:
        part.unlink()
        raise
    os.replace(part, target)
    return got.sha256


def _check(file: Wanted, found: str, expected: str | None, place: str, home: Path, html: bool) -> None:
    """Raises FetchError unless the bytes are the right ones, or, where none are known to be, could be data at all."""
    page = " (it is a web page: an error, or a login?)" if html else ""
    if expected is None and html:
        raise FetchError(
            f"{place} gave a web page under the name {file.path}: open it in a browser to see what it says"
        )
    if expected is None or found == expected:
        return
    if file.sha256:
        todo = (
            "It was cut, altered or replaced: remove it from the mirror or fetch it later; if its publisher changed it, look at it and put "
            "the new checksum into the dataset's YAML"
        )
    else:
        todo = f"That was the first fetch's, recorded in {home / RECORD}: if the publisher changed the file, delete its line there"
    raise FetchError(f"{file.path} from {place} has sha256 {found}{page}, wanted {expected}; nothing was kept. {todo}")


def _is_html(got: Download, part: Path) -> bool:
    return got.content_type in ("text/html", "application/xhtml+xml") or _looks_html(part)


def _looks_html(path: Path) -> bool:
    if path.suffix.lower() in (".html", ".htm", ".xml"):
        return False
    with open(path, "rb") as file:
        return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(HTML)


def _mirror_place(mirror: str | None, folder: str, path: str) -> Path | str | None:
    if not mirror:
        return None
    if "://" in mirror:
        return f"{mirror.rstrip('/')}/{quote(folder)}/{quote(path)}"
    base = Path(mirror).expanduser()
    if not base.is_dir():
        raise FetchError(
            f"MAESTRO_MIRROR is {mirror}, which is no folder here: correct it, or unset it to fetch from the web"
        )
    return base / folder / path


def _link(source: Path, target: Path) -> None:
    """``target`` becomes a link to a mirror's file: big files are not copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(source)
    os.replace(beside, target)


def _inside(base: Path, name: str) -> Path:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or not place.parts or "\\" in name:
        raise FetchError(f"{name!r} is no path below {base}: use a relative one without ..")
    return base / place


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_record(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        if said["schema"] != SCHEMA:
            raise ValueError(f"schema {said['schema']!r}")
        return dict(said["sha256"])
    except (ValueError, KeyError, TypeError) as problem:
        raise FetchError(
            f"{path} cannot be read ({problem}): mend it, or delete it to trust the next fetch anew"
        ) from None


def _is_litter(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/")) or path.rpartition("/")[2].lower() in LITTER


def _manifest(folder: str, sums: dict[str, str]) -> str:
    return "".join(f"{sums[path]}  {folder}/{path}\n" for path in sorted(sums))


def _parse_manifest(text: str, folder: str) -> dict[str, str]:
    rows = (line.split("  ", 1) for line in text.splitlines())
    return {path.removeprefix(f"{folder}/"): sha256 for sha256, path in rows}


def _tree_problem(place: Path, sums: dict[str, str], found: str, wanted: str, list_file: Path) -> str:
    """What is wrong with a tree: file by file where its list lies beside it, else as far as can be told."""
    head = f"{place}: {len(sums)} files with list checksum {found}, wanted {wanted}"
    if list_file.is_file() and _digest(list_file) == wanted:
        right = _parse_manifest(list_file.read_text(), place.name)
        told = {
            "too many": sorted(sums.keys() - right.keys()),
            "missing": sorted(right.keys() - sums.keys()),
            "altered": sorted(path for path in sums.keys() & right.keys() if sums[path] != right[path]),
        }
        lines = [f"{len(paths)} {what}: {_some(paths)}" for what, paths in told.items() if paths]
        return f"{head}. {'; '.join(lines)}. Remove what is too many and fetch the others again"
    suffixes = Counter(Path(path).suffix for path in sums)
    usual = suffixes.most_common(1)[0][0] if suffixes else ""
    odd = sorted(path for path in sums if Path(path).suffix != usual)
    others = f" Unlike the others: {_some(odd)}." if odd else ""
    return (
        f"{head}. Files are missing, altered or too many.{others} Get the folder again, or compare it with its source"
    )


def _tree_from_url(folder: str, manifest_sha256: str, mirror: str, downloads: Path) -> Fetched:
    base = mirror.rstrip("/")
    rows = Wanted(f"{folder}.sha256", f"{base}/checksums/{quote(folder)}.sha256", manifest_sha256)
    lists = fetch("checksums", [rows], downloads)
    sums = _parse_manifest((lists.folder / rows.path).read_text(), folder)
    files = [Wanted(path, f"{base}/{quote(folder)}/{quote(path)}", sha256) for path, sha256 in sums.items()]
    print(f"fetch {folder}: {len(files)} files from {base}", file=sys.stderr)
    return fetch(folder, files, downloads)


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:NAMED]) + (f" and {len(paths) - NAMED} more" if len(paths) > NAMED else "")
