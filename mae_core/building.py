"""From a model's config to its modality, encoder and decoder, and which of them go together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from mae_core.decoders import DECODERS
from mae_core.encoders import ENCODERS
from mae_core.layers import Positions
from mae_core.masking import MASKERS
from mae_core.modalities import MODALITIES
from mae_core.registry import allow, resolve


def build_encoder(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The modality and the encoder of a config. Raises ValueError where the encoder does not fit the modality."""
    modality, encoder = dict(config["modality"]), dict(config["encoder"])
    name = modality.pop("kind")
    kind, network = resolve(MODALITIES, name, "modality"), resolve(ENCODERS, encoder["kind"], "encoder")
    allow(kind.encoders, encoder.pop("kind"), "encoder", name)
    if network.reads == "embedding":
        cells, made = kind(width=encoder["width"], **modality), network(**encoder)
        if (rotary := getattr(made, "rotary", None)) is not None:
            rotary.check_axes(cells.coords.shape[-1])
    else:
        cells = kind(width=None, **modality)
        made = network(raster=cells.raster, **encoder)
    _check_positions(made, cells, "encoder")
    return cells, made


def build_decoder(config: Mapping[str, Any], modality: Any, encoder: Any) -> Any:
    """The decoder of a config. Raises ValueError where it reads what the encoder does not make."""
    decoder, width = dict(config["decoder"]), config["encoder"]["width"]
    check_pair(config["encoder"]["kind"], decoder["kind"])
    network = resolve(DECODERS, decoder.pop("kind"), "decoder")
    if network.reads == "tokens":
        made = network(width, kinds=modality.kinds, **decoder)
        _check_positions(made, modality, "decoder")
        return made
    return network(width, maps=encoder.stages, grid=encoder.raster.grid, **decoder)


def _check_positions(network: nn.Module, modality: Any, which: str) -> None:
    for part in network.modules():
        if isinstance(part, Positions):
            try:
                part.check_axes(modality.coords.shape[-1])
            except ValueError as problem:
                raise ValueError(f"{which}: {problem}") from None


def check_pair(encoder: str, decoder: str) -> None:
    """Raises ValueError where the decoder cannot read what the encoder makes."""
    if not fits(encoder, decoder):
        others = [other for other in DECODERS if resolve(DECODERS, other, "decoder").reads == "tokens"]
        raise ValueError(
            f"decoder {decoder!r} reads the maps of a convolutional encoder, which encoder {encoder!r} does not make: "
            f"choose encoder conv, or a decoder of {', '.join(others)}"
        )


def fits(encoder: str, decoder: str) -> bool:
    """Whether the decoder can read what the encoder makes."""
    reads = resolve(DECODERS, decoder, "decoder").reads
    return reads == "tokens" or resolve(ENCODERS, encoder, "encoder").makes_maps


def check_masker(config: Mapping[str, Any]) -> None:
    """Raises ValueError where the masker of a config finds nothing to read in its encoder, or in what its decoder predicts."""
    strategy, encoder = config["masking"]["strategy"], config["encoder"]["kind"]
    masker = resolve(MASKERS, strategy, "masking strategy")
    if getattr(masker, "learned", False) and config["decoder"].get("share", 1.0) < 1:
        raise ValueError(
            f"masking strategy {strategy!r} is rewarded for all of the cells that it hides: set the decoder's share to 1"
        )
    if getattr(masker, "taught", "") == "attention" and not config["encoder"].get("global_token", True):
        raise ValueError(f"masking strategy {strategy!r} reads what the global token attends to: keep global_token")
    if what := lacking(encoder, strategy):
        others = [other for other in ENCODERS if not lacking(other, strategy)]
        raise ValueError(
            f"masking strategy {strategy!r} reads {what}, which encoder {encoder!r} does not make: choose another strategy, or an "
            f"encoder of {', '.join(others)}"
        )


def lacking(encoder: str, strategy: str) -> str:
    """What the masker reads and the encoder does not make; empty where there is nothing of that kind."""
    masker, network = resolve(MASKERS, strategy, "masking strategy"), resolve(ENCODERS, encoder, "encoder")
    if getattr(masker, "learned", False) and network.reads != "embedding":
        return "the embedding of cells"
    if getattr(masker, "taught", "") == "attention" and network.makes_maps:
        return "attention"
    return ""


def options_of(table: Mapping[str, str], name: str, what: str) -> frozenset[str]:
    """What a config may say of the row ``name`` of ``table``, beside its kind."""
    found: set[str] = set()
    for base in resolve(table, name, what).__mro__:
        if base is nn.Module:
            break
        if "__init__" in vars(base):
            known = inspect.signature(base.__init__).parameters.values()
            found |= {one.name for one in known if one.kind is not inspect.Parameter.VAR_KEYWORD}
    return frozenset(found - {"self", "raster", "encoder_width", "kinds", "maps", "grid"})
