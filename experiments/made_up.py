"""Small models that no recipe has, and samples for them, to measure a machine with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mae_core.training.loop import Settings

ENDLESS = 10**6
"""Steps."""
Sizes = tuple[int, int, int]
"""Width, depth, heads."""


class Made(NamedTuple):
    """A model, how it trains, and what on."""

    config: dict[str, Any]
    settings: Settings
    samples: np.ndarray


def network(
    modality: dict[str, Any], encoder: Sizes, decoder: Sizes, ratio: float, target: str, mask: str
) -> dict[str, Any]:
    """What ``MaskedAutoencoder.build`` takes."""
    keys = ("width", "depth", "heads")
    return {
        "modality": modality,
        "encoder": {"kind": "vit", **dict(zip(keys, encoder))},
        "decoder": {"kind": "joint", **dict(zip(keys, decoder))},
        "masking": {"strategy": mask, "ratio": ratio},
        "objective": {"reconstruction": 1.0, "target": target},
    }


def image(side: int, patch: int, channels: int = 1) -> dict[str, Any]:
    """Of an image model."""
    facts = {"channels": channels, "size": [side, side], "patch": patch}
    return {"kind": "image", **facts, "mean": [0.5] * channels, "std": [0.25] * channels}


def text(context: int, tokens: int) -> dict[str, Any]:
    """Of a text model."""
    known = "".join(chr(33 + i) for i in range(tokens))
    return {
        "kind": "text",
        "context": context,
        "tokens": {"kind": "characters", "known": known},
        "log_shares": [-4.0] * (tokens + 1),
    }


def table(numbers: int, categories: int) -> dict[str, Any]:
    """Of a table model."""
    number = {"kind": "number", "missing": 0.0, "mean": 0.0, "std": 1.0, "quantiles": [i / 8 - 2 for i in range(33)]}
    category = {"kind": "category", "missing": 0.0, "categories": list("abcdef"), "counts": [5, 3, 1, 1, 1, 1]}
    columns = [*[number] * numbers, *[category] * categories]
    return {
        "kind": "table",
        "columns": [{**column, "name": f"column {i}"} for i, column in enumerate(columns)],
        "gaps": [],
    }


def series(channels: int, length: int, patch: int) -> dict[str, Any]:
    """Of a series model."""
    facts = {"channels": channels, "length": length, "patch": patch}
    return {"kind": "series", **facts, "mean": [0.0] * channels, "std": [1.0] * channels}


def samples_of(modality: dict[str, Any], n: int) -> np.ndarray:
    """(n, …) made-up raw samples."""
    random = np.random.default_rng(0)
    if modality["kind"] == "image":
        return random.integers(0, 255, (n, modality["channels"], *modality["size"]), np.uint8)
    if modality["kind"] == "text":
        return random.integers(1, len(modality["log_shares"]), (n, modality["context"]), np.int32)
    if modality["kind"] == "table":
        kinds = [column["kind"] for column in modality["columns"]]
        columns = [random.integers(0, 6, n) if kind == "category" else random.normal(0, 1, n) for kind in kinds]
        return np.stack(columns, 1).astype(np.float32)
    return random.normal(0, 1, (n, modality["channels"], modality["length"])).astype(np.float32)


def model(
    modality: dict[str, Any], encoder: Sizes, decoder: Sizes, batch: int, ratio: float = 0.5, precision: str = "auto"
) -> Made:
    """A model to be timed."""
    target = {"image": "pixels", "text": "tokens", "table": "columns", "series": "series"}[modality["kind"]]
    mask = "span" if modality["kind"] == "series" else "random"
    settings = Settings(steps=ENDLESS, batch_size=batch, lr=1e-4, precision=precision)
    return Made(network(modality, encoder, decoder, ratio, target, mask), settings, samples_of(modality, 2 * batch))


def models() -> list[Made]:
    """The smallest first, then the one whose tensors are largest."""
    return [
        model(image(16, 4), (32, 2, 2), (32, 1, 2), 16),
        model(image(32, 2), (64, 2, 4), (32, 2, 2), 48),
        model(image(16, 4), (64, 4, 4), (32, 1, 2), 128),
        model(image(32, 4), (96, 4, 4), (64, 2, 4), 64, 0.75),
        model(image(32, 4), (384, 2, 6), (96, 1, 4), 48),
        model(image(16, 4), (256, 8, 8), (128, 1, 4), 64, 0.75),
        model(image(48, 4), (128, 3, 4), (64, 1, 4), 16),
        model(image(32, 4), (160, 2, 5), (128, 1, 4), 48, 0.75, "fp32"),
        model(text(48, 80), (96, 3, 4), (96, 1, 4), 48, 0.25),
        model(text(96, 60), (64, 2, 4), (128, 2, 4), 16),
        model(table(8, 6), (32, 2, 2), (32, 1, 2), 64),
        model(table(12, 8), (96, 2, 4), (64, 2, 4), 192),
        model(series(3, 96, 4), (48, 2, 4), (32, 1, 2), 32, 0.75),
    ]
