"""Analytic cost: multiply-adds count two, attention included, normalisation and activations left out (under 2 %)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mae_core.masking.plan import count_kept, ratio_buckets
from mae_core.modalities import MODALITIES
from mae_core.modalities.base import Geometry
from mae_core.objectives.cost import extra_looks, teacher_looks
from mae_core.registry import resolve


def forward_flops(config: Mapping[str, Any]) -> float:
    """FLOPs of one masked forward pass of one sample, from a model's config; the mean over the mask ratios that training draws."""
    masking = config["masking"]
    ratios = ratio_buckets(masking["ratio"], masking.get("ratio_spread", 0.0))
    return sum(_at_ratio(config, ratio) for ratio in ratios) / len(ratios)


def _at_ratio(config: Mapping[str, Any], ratio: float) -> float:
    encoder, decoder = config["encoder"], config["decoder"]
    cells, _, outputs = geometry(config)
    kept = count_kept(cells, ratio)
    hidden = cells if ratio == 0 else cells - kept
    d, e = encoder["width"], decoder["width"]
    seen, queried = kept + 1, 1 + kept + hidden
    total = _encode(config, kept)
    total += sum(_encode(config, look) for look in extra_looks(config, kept, hidden))
    total += 2.0 * seen * d * e + 2.0 * hidden * e * outputs
    total += max(decoder["depth"] - 1, 0) * _block(e, queried, queried)
    return total + (_block(e, hidden, queried) if decoder["depth"] else 0.0)


def train_flops(config: Mapping[str, Any]) -> float:
    """FLOPs of one training step for one sample: backward costs twice the forward pass; a teacher has none."""
    return 3 * forward_flops(config) + _taught(config)


def _taught(config: Mapping[str, Any]) -> float:
    """FLOPs of what teachers say of one sample."""
    looks = teacher_looks(config)
    cells, decoder = geometry(config).cells, config["decoder"]
    total = looks.encoders * _encode(config, cells)
    if looks.decoder:
        e, asked = decoder["width"], 1 + 2 * cells
        total += 2.0 * (cells + 1) * config["encoder"]["width"] * e + max(decoder["depth"] - 1, 0) * _block(
            e, asked, asked
        )
        total += _block(e, cells, asked) if decoder["depth"] else 0.0
    return total


def encode_flops(config: Mapping[str, Any]) -> float:
    """FLOPs of encoding one whole sample."""
    return _encode(config, geometry(config).cells)


def _encode(config: Mapping[str, Any], seen: int) -> float:
    """FLOPs of encoding so many cells of one sample."""
    encoder = config["encoder"]
    blocks = encoder["depth"] * _block(encoder["width"], seen + 1, seen + 1)
    return 2.0 * seen * geometry(config).inputs * encoder["width"] + blocks


def geometry(config: Mapping[str, Any]) -> Geometry:
    """Counts of cells and values, from a model's config."""
    modality = dict(config["modality"])
    return resolve(MODALITIES, modality.pop("kind"), "modality").geometry(modality)


def _block(width: int, queries: int, keys: int, mlp_ratio: float = 4.0) -> float:
    projections = 2.0 * width * width * (2 * queries + 2 * keys)
    attention = 4.0 * queries * keys * width
    return projections + attention + 4.0 * queries * width * width * mlp_ratio


PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12}
"""Dense bf16 FLOP/s of the makers' data sheets, by a word of the device's name; the first that occurs counts."""


def utilisation(config: Mapping[str, Any], samples_per_s: float, device_name: str, devices: int = 1) -> float | None:
    """MFU, 0..1: analytic training FLOPs, the mask counted, over the peak of ``devices`` GPUs; None where that is not known."""
    peak = next((value for word, value in PEAK.items() if word in device_name), None)
    return None if peak is None else train_flops(config) * samples_per_s / (peak * devices)
