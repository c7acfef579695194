"""Reading files that may be absent, half written, corrupt or hostile, without ever raising for one of them."""

from __future__ import annotations

import configparser
import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.yaml_files import load_yaml

SCHEMAS = (1,)
WORDS = {"recipe", "dataset", "split", "model", "task", "metric", "fingerprint", "file", "reason", "detail", "proxy"}
EMPTY_CELLS = ["", "None", "nan", "NaN"]
LARGEST_TEXT = 32 * 2**20


class Problem(NamedTuple):
    """A file that could not be used: where, what is wrong, and the command that makes it anew."""

    path: str  # relative to the root
    what: str
    command: str
    kind: str  # missing | corrupt


class Corrupt(Exception):
    """What is wrong with a file that was found; becomes a Problem."""


@lru_cache(maxsize=1024)
def _parse(kind: str, path: str, mtime_ns: int, size: int) -> Any:
    """Read one file; cached until its time or size changes. Raises Corrupt with a reason a person can read."""
    try:
        if kind == "parquet":
            return pd.read_parquet(path)
        if kind == "csv":
            return _numbers(pd.read_csv(path, dtype=str, keep_default_na=False))
        if size > LARGEST_TEXT:
            raise Corrupt(f"{size} bytes is more than a {kind} file here ever holds")
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text) if kind == "json" else load_yaml(text) if kind == "yaml" else text
    except Corrupt:
        raise
    except Exception as error:  # any parser's own error types: the file is bad, whatever they call it
        reason = " ".join(str(error).split()).replace(path, Path(path).name) or type(error).__name__
        raise Corrupt(f"not readable as {kind}: {reason[:200]}") from error


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn every column that is not words into numbers; an empty cell is missing, any other text is Corrupt."""
    columns = {}
    for name in frame.columns:
        column = frame[name]
        if name in WORDS or not (pd.api.types.is_string_dtype(column) or column.dtype == object):
            columns[name] = column
            continue
        filled = column.astype(str).str.strip()
        number = pd.to_numeric(filled.mask(filled.isin(EMPTY_CELLS)), errors="coerce")
        bad = number.isna() & ~filled.isin(EMPTY_CELLS)
        if bad.any():
            raise Corrupt(
                f"column {name}, row {int(np.argmax(bad.to_numpy())) + 2}: {filled[bad].iloc[0]!r:.60} is no number"
            )
        columns[name] = number
    return pd.DataFrame(columns)


def number(value: Any) -> float:
    """A value of a JSON file as a number; NaN where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


class Reader:
    """Files below one root. A reader returns an empty value for a bad file, and `problems` gains a record of it."""

    def __init__(self, root: Path | str):
        self.root = Path(root).resolve()
        self.problems: list[Problem] = []
        self._bases = [self.root, *self._cache()]

    def _cache(self) -> list[Path]:
        """Where DVC was told to keep its cache: outs may be links into it."""
        settings = configparser.ConfigParser(interpolation=None, strict=False)
        dvc = self.root / ".dvc"
        try:
            settings.read([dvc / "config", dvc / "config.local"], encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            return []
        cache = settings.get("cache", "dir", fallback="")
        return [(dvc / cache).resolve()] if cache else []

    def path(self, *parts: str) -> Path | None:
        """`root/parts…`, or None (and a Problem) where a part is no plain name or a link leads out of the project."""
        shown = "/".join(parts)
        plain = all(p and p not in (".", "..") and not set(p) & {"/", "\\", "\0"} for p in parts)
        try:
            full = self.root.joinpath(*parts).resolve() if plain else None
        except OSError:
            full = None
        if full is None or not any(full.is_relative_to(base) for base in self._bases):
            self.problem(shown, "the name leads outside the project, so it is not read", "rename it", "corrupt")
            return None
        return self.root.joinpath(*parts)

    def problem(self, path: str, what: str, command: str, kind: str) -> None:
        """Remember one problem, once."""
        found = Problem(path, what, command, kind)
        if found not in self.problems:
            self.problems.append(found)

    def not_read(self) -> list[str]:
        """A line for each damaged file so far, with what makes it anew."""
        return [f"not read: {p.path}: {p.what}; run `{p.command}`" for p in self.problems if p.kind == "corrupt"]

    def read(self, kind: str, parts: tuple[str, ...], command: str, needed: bool = True) -> Any:
        """The parsed file (kind csv, parquet, json, yaml or text), or None. Shared between callers: never change it."""
        full = self.path(*parts)
        if full is None:
            return None
        shown = "/".join(parts)
        try:
            stat = full.stat()
        except OSError:
            if needed:
                self.problem(shown, "not there yet", command, "missing")
            return None
        try:
            return _parse(kind, str(full), stat.st_mtime_ns, stat.st_size)
        except Corrupt as error:
            self.problem(shown, str(error), command, "corrupt")
            return None

    def table(
        self, parts: tuple[str, ...], columns: list[str], command: str, kind: str = "csv", needed: bool = True
    ) -> pd.DataFrame:
        """A table that holds `columns` at least, or an empty one of just these."""
        frame = self.read(kind, parts, command, needed)
        if frame is None:
            return pd.DataFrame(columns=columns)
        lacking = [c for c in columns if c not in frame.columns]
        if lacking:
            what = f"lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}"
            self.problem("/".join(parts), what, command, "corrupt")
            return pd.DataFrame(columns=columns)
        return frame.copy(deep=False)

    def document(
        self,
        parts: tuple[str, ...],
        command: str,
        needed: bool = True,
        schema: bool = True,
        known: tuple[int, ...] = SCHEMAS,
    ) -> dict[str, Any]:
        """A JSON object, or {}. `schema=False` forgives an absent schema number, never one that is not `known`."""
        found = self.read("json", parts, command, needed)
        if found is None:
            return {}
        shown = "/".join(parts)
        if not isinstance(found, dict):
            self.problem(shown, "is no JSON object", command, "corrupt")
            return {}
        if found.get("schema", None if schema else known[0]) not in known:
            what = f"schema {found.get('schema')!r:.20} is not one this version reads ({', '.join(map(str, known))})"
            self.problem(shown, what, command, "corrupt")
            return {}
        return found

    def folders(self, *parts: str) -> list[str]:
        """Names of the folders inside one folder, sorted, hidden ones left out."""
        full = self.path(*parts)
        if full is None or not full.is_dir():
            return []
        return sorted(p.name for p in full.iterdir() if p.is_dir() and not p.name.startswith("."))
