"""A model small enough to run in milliseconds, and data whose classes can be told apart."""

import numpy as np
import pytest

from mae_core.model import MaskedAutoencoder

CONFIG = {
    "modality": {"kind": "image", "channels": 1, "size": [8, 8], "patch": 4},
    "encoder": {"kind": "vit", "width": 16, "depth": 2, "heads": 2},
    "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.5},
    "objective": {"reconstruction": 1.0, "target": "pixels"},
}


@pytest.fixture
def config() -> dict:
    return CONFIG


@pytest.fixture
def model() -> MaskedAutoencoder:
    return MaskedAutoencoder.build(CONFIG, seed=0)


@pytest.fixture
def images():
    """Makes (n, 1, 8, 8) uint8 images of 3 classes, bright in another third each, and their labels."""

    def make(n: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 3
        x = rng.integers(0, 120, (n, 1, 8, 8))
        for i, label in enumerate(labels):
            x[i, 0, label * 2 : label * 2 + 3] += 90
        return x.astype(np.uint8), labels.astype(np.int64)

    return make
