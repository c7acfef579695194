"""Analytic cost: multiply-adds count two, attention included, normalisation and activations left out (under 2 %).

What each encoder and decoder costs they say themselves (``cost``); here it is added up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mae_core.building import check_pair
from mae_core.costs import Cost, Look
from mae_core.decoders import DECODERS
from mae_core.encoders import ENCODERS
from mae_core.masking.cost import BATCH, learning
from mae_core.masking.making import looks_of
from mae_core.masking.plan import count_kept
from mae_core.masking.ratio import ratios_of
from mae_core.masking.share import count_shared
from mae_core.modalities import MODALITIES
from mae_core.modalities.base import Geometry
from mae_core.objectives.cost import extra_looks, pairs_kept, summaries, teacher_looks
from mae_core.registry import resolve


class Costs(NamedTuple):
    """Of one masked sample."""

    encoder: Cost
    decoder: Cost
    head: Cost
    projector: Cost = Cost(0.0, 0.0)
    """Of all views that go through it."""
    beside: tuple[Cost, ...] = ()
    """Of the encoder, for each view that objectives see beside the masked one."""

    @property
    def each(self) -> tuple[Cost, ...]:
        """All of them."""
        return self.encoder, self.decoder, self.head, self.projector, *self.beside

    @property
    def total(self) -> float:
        """FLOPs of everything."""
        return sum(part.total for part in self.each)


def costs(config: Mapping[str, Any], ratio: float, plain: bool = False) -> Costs:
    """What the parts of a model cost at one mask ratio; ``plain`` where attention keeps its weights.

    Raises ValueError where the decoder cannot read what the encoder makes.
    """
    decoder = config["decoder"]
    check_pair(config["encoder"]["kind"], decoder["kind"])
    cells, inputs, outputs = geometry(config)
    kept = count_kept(cells, ratio)
    hidden = cells if ratio == 0 else cells - kept
    look = _look(config, kept, hidden, plain)
    read = _encoder(config, look)
    width = config["encoder"]["width"]
    written = resolve(DECODERS, decoder["kind"], "decoder").cost(decoder, look, width, read)
    asked = count_shared(hidden, decoder.get("share", 1.0))
    # in float32 and as they are compared: the prediction, the target and their difference
    saved = asked * (decoder["width"] + 3.0 * outputs) + cells * inputs + pairs_kept(config, asked)
    head = Cost(2.0 * asked * decoder["width"] * outputs, saved)
    beside = tuple(_encoder(config, _look(config, seen, 0, plain)) for seen in extra_looks(config, kept, hidden))
    return Costs(read, written, head, _projector(config), beside)


def _projector(config: Mapping[str, Any]) -> Cost:
    size, views = config["objective"].get("projector", 0), summaries(config)
    # before and after GELU, and what comes out
    return Cost(views * 2.0 * size * (config["encoder"]["width"] + size), views * 3.0 * size)


def forward_flops(config: Mapping[str, Any]) -> float:
    """FLOPs of one masked forward pass of one sample, from a model's config; the mean over the mask ratios that training draws."""
    return sum(share * found.total for share, found in _at_ratios(config))


def _at_ratios(config: Mapping[str, Any]) -> list[tuple[float, Costs]]:
    """(share of the batches, what the parts cost there) of every mask ratio that training draws."""
    return [(share, costs(config, ratio)) for share, ratio in ratios_of(config["masking"]).shares()]


def train_flops(config: Mapping[str, Any], batch: int = BATCH) -> float:
    """FLOPs of one training step for one sample: backward costs twice the forward pass, and each mask that is tried counts.

    A teacher has no backward pass, nor has what a learned mask is rewarded for; what is done for that once a step is shared out among its
    ``batch`` samples.
    """
    return 3 * forward_flops(config) * looks_of(config["masking"]) + _taught(config) + _learned(config, batch)


def _taught(config: Mapping[str, Any]) -> float:
    """FLOPs of what teachers say of one sample."""
    looks, cells = teacher_looks(config), geometry(config).cells
    look = _look(config, cells, cells)
    read = _encoder(config, look)
    total = looks.encoders * read.total
    if looks.decoder:
        decoder = {**config["decoder"], "share": 1.0}
        written = resolve(DECODERS, decoder["kind"], "decoder").cost(decoder, look, config["encoder"]["width"], read)
        total += written.total
    return total


def _learned(config: Mapping[str, Any], batch: int) -> float:
    """FLOPs of what learned masks take of one sample; nothing where nothing is hidden."""
    if not config["masking"]["ratio"]:
        return 0.0
    asked = learning(config["masking"], geometry(config).cells, config["encoder"]["width"], batch)
    view = sum(share * found.encoder.total for share, found in _at_ratios(config))
    passes = asked.masked * forward_flops(config) + asked.views * view + asked.whole * encode_flops(config)
    return asked.scorer + passes + asked.taught * _taught(config)


def encode_flops(config: Mapping[str, Any]) -> float:
    """FLOPs of encoding one whole sample."""
    return _encoder(config, _look(config, geometry(config).cells, 0)).total


def _look(config: Mapping[str, Any], kept: int, hidden: int, plain: bool = False) -> Look:
    modality = dict(config["modality"])
    raster = resolve(MODALITIES, modality.pop("kind"), "modality").raster_of(modality)
    found = geometry(config)
    return Look(found.cells, kept, hidden, found.inputs, raster, plain)


def _encoder(config: Mapping[str, Any], look: Look) -> Cost:
    return resolve(ENCODERS, config["encoder"]["kind"], "encoder").cost(config["encoder"], look)


def geometry(config: Mapping[str, Any]) -> Geometry:
    """Counts of cells and values, from a model's config."""
    modality = dict(config["modality"])
    return resolve(MODALITIES, modality.pop("kind"), "modality").geometry(modality)


PEAK = {
    "GH200": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10": 125e12,
}
"""Dense bf16 FLOP/s of the makers' data sheets, by words of the device's name; the first whose words all occur counts."""


def peak_of(device_name: str) -> float | None:
    """FLOP/s of a device; None where it is not known."""
    words = set(re.split(r"[^0-9A-Za-z]+", device_name))
    return next((value for name, value in PEAK.items() if words >= set(name.split())), None)


def utilisation(
    config: Mapping[str, Any], samples_per_s: float, device_name: str, devices: int = 1, batch: int = BATCH
) -> float | None:
    """MFU, 0..1: analytic training FLOPs, the mask counted, over the peak of ``devices`` GPUs; None where that is not known.

    ``batch`` as of ``train_flops``.
    """
    peak = peak_of(device_name)
    return None if peak is None else train_flops(config, batch) * samples_per_s / (peak * devices)
