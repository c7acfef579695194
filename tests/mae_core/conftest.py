"""Small models and pictures for the core's tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor

os.environ.setdefault("HF_HUB_OFFLINE", "1")
settings.register_profile("same-every-time", deadline=None, derandomize=True, max_examples=60, database=None)
settings.load_profile("same-every-time")


@pytest.fixture(scope="session")
def make_config() -> Callable[..., dict[str, Any]]:
    """A model config of milliseconds; sections are merged into the defaults."""

    def make(**sections: dict[str, Any]) -> dict[str, Any]:
        config: dict[str, Any] = {
            "modality": {"kind": "image", "channels": 3, "size": [8, 8], "patch": 2},
            "encoder": {"kind": "vit", "width": 16, "depth": 2, "heads": 2},
            "decoder": {"kind": "joint", "width": 8, "depth": 2, "heads": 2},
            "masking": {"strategy": "random", "ratio": 0.75},
            "objective": {"reconstruction": 1.0, "target": "pixels"},
        }
        for name, section in sections.items():
            config[name] = {**config[name], **section}
        return config

    return make


@pytest.fixture(scope="session")
def make_raw() -> Callable[..., Tensor]:
    """(n, C, H, W) uint8 noise."""

    def make(n: int, config: dict[str, Any], seed: int = 0) -> Tensor:
        shape = (n, config["modality"]["channels"], *config["modality"]["size"])
        return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)

    return make
