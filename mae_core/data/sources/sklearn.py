"""Small tables that scikit-learn carries: no network needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mae_core.data.sources import Part, Source, SourceError

TABLES = ("breast_cancer", "diabetes", "digits", "iris", "wine")


def read(folder: Path, name: str) -> Source:
    """A table by its name in ``sklearn.datasets``, as ``all``.

    What diabetes predicts is no class but a number: it joins the columns as ``progression``, and no row has a label.
    """
    if name not in TABLES:
        raise SourceError(f"scikit-learn carries no table {name!r}: there are {', '.join(TABLES)}")
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    samples, truth = found.data.astype(np.float32), found.target
    names = [str(column) for column in found.feature_names]
    classes = [str(c) for c in getattr(found, "target_names", ())]
    if name == "diabetes":
        samples, names = np.column_stack([samples, truth.astype(np.float32)]), [*names, "progression"]
        truth = np.full(len(samples), -1)
    part = Part("all", samples, truth.astype(np.int64), [f"{name}[{i}]" for i in range(len(samples))])
    return Source([part], classes, [], 0, [], {"columns": [{"name": column, "kind": "number"} for column in names]})
