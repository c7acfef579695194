"""Tables in NumPy's .npz as ADBench has them: an array X of rows, an array y of labels."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mae_core.data.quarantine import Refused
from mae_core.data.sources import Part, Source, SourceError


def read(
    folder: Path,
    parts: Mapping[str, str],
    classes: Sequence[str] = (),
    samples: str = "X",
    labels: str | None = "y",
    names: Sequence[str] = (),
) -> Source:
    """``parts`` maps a split's name to a file below ``folder``. NaN is a missing value; rows with an infinite one are set aside.

    Args:
        classes: names of the labels from 0; their numbers by default.
        samples, labels: names of the arrays; ``labels: null`` where there are none.
        names: of the columns; their numbers from 1 by default.

    Nothing is ever unpickled. Raises SourceError naming the arrays that a file has.
    """
    found, refused = [], []
    for name, file in parts.items():
        rows, truth = _arrays(folder / file, samples, labels)
        good = ~np.isinf(rows).any(1)
        for i in np.flatnonzero(~good):
            at = int(np.flatnonzero(np.isinf(rows[i]))[0])
            refused.append(Refused(f"{file}[{i}]", "infinite value", f"row {i}, column {at + 1}: {rows[i, at]}"))
        kept = np.flatnonzero(good)
        found.append(Part(name, rows[kept], truth[kept], [f"{file}[{i}]" for i in kept]))
    widths = {part.samples.shape[1] for part in found}
    if len(widths) > 1:
        raise SourceError(
            f"the parts of {folder} have different numbers of columns: {', '.join(map(str, sorted(widths)))}"
        )
    wide = widths.pop()
    if names and len(names) != wide:
        raise SourceError(f"{len(names)} names for {wide} columns")
    most = max((int(part.labels.max(initial=-1)) for part in found), default=-1)
    known = list(classes) or [str(i) for i in range(most + 1)]
    if most >= len(known):
        raise SourceError(f"label {most}, there are {len(known)} classes (0 to {len(known) - 1})")
    columns = [{"name": str(names[i]) if names else f"column {i + 1}", "kind": "number"} for i in range(wide)]
    return Source(found, known, refused, 0, [], {"columns": columns})


def _arrays(path: Path, samples: str, labels: str | None) -> tuple[np.ndarray, np.ndarray]:
    """(n, F) float32 and (n,) int64, −1 where labels were not asked for."""
    if not path.is_file():
        raise SourceError(f"{path} is missing")
    if not zipfile.is_zipfile(path):
        raise SourceError(f"{path} is no whole .npz (no directory of a zip archive at its end): fetch it again")
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = [samples, *([labels] if labels else [])]
            gone = [name for name in wanted if name not in file]
            if gone:
                hint = ", or set `labels: null`" if gone == [labels] else ""
                raise SourceError(f"{path} has no array {', '.join(gone)}: it has {', '.join(file)}{hint}")
            arrays = [file[name] for name in wanted]
    except (ValueError, OSError, zipfile.BadZipFile) as problem:
        if isinstance(problem, SourceError):
            raise
        raise SourceError(f"{path} cannot be read without running what is in it, or is damaged: {problem}") from None
    rows = arrays[0]
    truth = arrays[1] if labels else np.full(len(rows), -1)
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.number) or np.iscomplexobj(rows):
        raise SourceError(
            f"{path}: {samples} is {rows.dtype} {rows.shape}, a table is a two-dimensional array of numbers"
        )
    if truth.shape != (len(rows),):
        raise SourceError(f"{path}: {samples} has {len(rows)} rows, {labels} has {len(truth)} labels: they do not pair")
    whole = truth.astype(np.int64)
    if (whole != truth).any() or whole.min(initial=0) < -1:
        raise SourceError(f"{path}: {labels} holds labels that are no class numbers from 0 (−1: none)")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return rows.astype(np.float32), whole
