"""What ``benchmarks.architectures`` trains: sizes of encoders and decoders, options of the transformer, rates and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.spread import file_of
from mae_core.building import fits
from mae_core.decoders import DECODERS
from mae_core.encoders import ENCODERS
from mae_core.modalities.image import ImageModality

DATASETS = {"mnist5k": 4, "cifar10_subset": 4}
"""Name → side of a cell in pixels: one that stages of a convolutional encoder can share out."""
ENCODER_SIZES: dict[str, dict[str, Any]] = {
    "small": {"width": 64, "depth": 3},
    "medium": {"width": 96, "depth": 4},
    "large": {"width": 128, "depth": 6},
}
DECODER_SIZES: dict[str, dict[str, Any]] = {
    "small": {"width": 48, "depth": 1},
    "medium": {"width": 64, "depth": 1},
    "large": {"width": 64, "depth": 1},
}
BESIDE: dict[str, dict[str, Any]] = {
    "vit": {"heads": 4},
    "hybrid": {"heads": 4},
    "conv": {"kernel": 5, "positions": "sincos"},
    "joint": {"heads": 4},
    "cross": {"heads": 4},
    "linear": {"heads": 4},
    "unet": {"kernel": 5},
}
"""Kind of network → what it is given beside its size."""
WITHOUT_DEPTH = ("linear",)
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "vit-joint, 4 registers": {"encoder": {"registers": 4}},
    "vit-joint, normalised queries": {"encoder": {"qk_norm": True}},
    "vit-joint, rotary positions": {"encoder": {"positions": "rope"}},
    "vit-joint, paths dropped": {"encoder": {"drop_path": 0.1}},
    "vit-joint, layer scale": {"encoder": {"layer_scale": 0.1}},
    "vit-joint, global token": {"encoder": {"global_pool": "token"}},
    "vit-cross, half predicted": {"decoder": {"share": 0.5}},
}
"""Name → what differs from the pair that is named first, at its smallest size and its rate."""
RATES = (1e-3, 2e-3, 4e-3)
"""Learning rates that every architecture is tried with."""


class Common(NamedTuple):
    """What all trainings of a sweep have in common."""

    modality: dict[str, Any]
    steps: int
    batch_size: int
    device: str
    data: Path
    """Folder of the dataset."""
    fingerprint: str
    """Of its samples and labels."""


class Case(NamedTuple):
    """One training."""

    name: str
    config: dict[str, Any]
    lr: float
    seed: int
    common: Common

    @property
    def file(self) -> str:
        """Where its outcome lies: another for every change of what is trained, and for another kind of device, whose seconds are others."""
        _, steps, batch_size, device, _, fingerprint = self.common
        return file_of(self.config, self.lr, self.seed, steps, batch_size, device, fingerprint)


def case(name: str, network: Mapping[str, Any], lr: float, seed: int, common: Common) -> Case:
    """The training of an encoder and a decoder: pixels of three quarters of the cells, hidden at random."""
    config = {
        "modality": common.modality,
        **network,
        "masking": {"strategy": "random", "ratio": 0.75},
        "objective": {"reconstruction": 1.0, "target": "pixels"},
    }
    return Case(name, config, lr, seed, common)


def pairs(sizes: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Every encoder with every decoder that can read it, at every size: name → encoder and decoder."""
    return {
        f"{encoder}-{decoder} {size}": {
            "encoder": {"kind": encoder, **ENCODER_SIZES[size], **BESIDE[encoder]},
            "decoder": {"kind": decoder, **_sized(decoder, size), **BESIDE[decoder]},
        }
        for size in sizes
        for encoder in ENCODERS
        for decoder in DECODERS
        if encoder in ImageModality.encoders and fits(encoder, decoder)
    }


def optional(size: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The options at one size, likewise."""
    found, plain = {}, pairs([size])
    for name, changes in OPTIONS.items():
        base = plain[like(name, size)]
        found[name] = {what: {**base[what], **changes.get(what, {})} for what in base}
    return found


def like(option: str, size: str) -> str:
    """The pair whose rate an option takes."""
    return f"{option.partition(',')[0]} {size}"


def _sized(decoder: str, size: str) -> dict[str, Any]:
    return {
        name: value for name, value in DECODER_SIZES[size].items() if name != "depth" or decoder not in WITHOUT_DEPTH
    }
