"""Analytic cost: multiply-adds count two, attention included, normalisation and activations left out (under 2 %)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mae_core.masking.making import looks_of
from mae_core.masking.plan import count_kept
from mae_core.masking.ratio import ratios_of
from mae_core.modalities import MODALITIES
from mae_core.modalities.base import Geometry
from mae_core.registry import resolve


def forward_flops(config: Mapping[str, Any]) -> float:
    """FLOPs of one masked forward pass of one sample, from a model's config; the mean over the mask ratios that training draws."""
    return sum(share * _at_ratio(config, ratio) for share, ratio in ratios_of(config["masking"]).shares())


def _at_ratio(config: Mapping[str, Any], ratio: float) -> float:
    encoder, decoder = config["encoder"], config["decoder"]
    cells, inputs, outputs = geometry(config)
    kept = count_kept(cells, ratio)
    hidden = cells if ratio == 0 else cells - kept
    d, e = encoder["width"], decoder["width"]
    seen, queried = kept + 1, 1 + kept + hidden
    total = 2.0 * kept * inputs * d + encoder["depth"] * _block(d, seen, seen)
    total += 2.0 * seen * d * e + 2.0 * hidden * e * outputs
    total += max(decoder["depth"] - 1, 0) * _block(e, queried, queried)
    return total + (_block(e, hidden, queried) if decoder["depth"] else 0.0)


def train_flops(config: Mapping[str, Any]) -> float:
    """FLOPs of one training step for one sample: backward costs twice the forward pass, and each mask that is tried counts."""
    return 3 * forward_flops(config) * looks_of(config["masking"])


def encode_flops(config: Mapping[str, Any]) -> float:
    """FLOPs of encoding one whole sample."""
    encoder = config["encoder"]
    cells, inputs, _ = geometry(config)
    blocks = encoder["depth"] * _block(encoder["width"], cells + 1, cells + 1)
    return 2.0 * cells * inputs * encoder["width"] + blocks


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
