"""Analytic FLOPs beside what torch counts in real forward passes, and options that the parts share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from contract import DECODER_SIZES, ENCODER_SIZES, EXAMPLES, KINDS
from counting import counter

from mae_core.building import fits
from mae_core.decoders import DECODERS
from mae_core.draws import Draws
from mae_core.flops import encode_flops, forward_flops, peak_of, train_flops
from mae_core.model import MaskedAutoencoder

CASES = {"image": "odd grid", "video": "wide", "audio": "whole", "series": "one channel", "text": "windows"}
"""Modality → an example in which no cell is missing."""
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "registers": {"registers": 3},
    "all at once": {"registers": 2, "qk_norm": True, "layer_scale": 0.1, "positions": "rope", "global_pool": "token"},
}
PAIRS = [(e, d, m) for m in CASES for e in KINDS[m].encoders for d in DECODERS if fits(e, d)]


def counted(model: MaskedAutoencoder, raw: torch.Tensor, whole: bool = False) -> float:
    """What torch counts for a sample."""
    with counter() as found, torch.no_grad():
        if whole:
            model.encode(raw, "mean")
        else:
            model(raw, Draws(0, 0, torch.arange(len(raw))))
    return found.get_total_flops() / len(raw)


def config_of(encoder: str, decoder: str, modality: str = "image", /, **changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "modality": {"kind": modality, **EXAMPLES[modality][CASES[modality]].config},
        "encoder": {"kind": encoder, **ENCODER_SIZES[encoder]},
        "decoder": {"kind": decoder, **DECODER_SIZES[decoder]},
        "masking": {"strategy": "random", "ratio": 0.6},
        "objective": {"reconstruction": 1.0, "target": KINDS[modality].default_target},
    }
    return {**config, **{name: {**config[name], **more} for name, more in changes.items()}}


def raw_of(modality: str) -> torch.Tensor:
    return EXAMPLES[modality][CASES[modality]].raw(2, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("encoder", "decoder", "modality"), PAIRS)
def test_what_is_said_is_what_torch_counts(encoder, decoder, modality):
    config = config_of(encoder, decoder, modality)
    model, raw = MaskedAutoencoder.build(config), raw_of(modality)
    assert forward_flops(config) == pytest.approx(counted(model, raw), rel=1e-9)
    assert encode_flops(config) == pytest.approx(counted(model, raw, whole=True), rel=1e-9)
    assert train_flops(config) == 3 * forward_flops(config)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_of_the_transformer_are_counted(options):
    config = config_of("vit", "joint", encoder=options)
    assert forward_flops(config) == pytest.approx(counted(MaskedAutoencoder.build(config), raw_of("image")), rel=1e-9)


@pytest.mark.parametrize("encoder", ["vit", "conv", "hybrid"])
@pytest.mark.parametrize(
    "objectives", [{"variance": 0.1}, {"variance": 0.1, "invariance": 0.1}], ids=["one view", "two"]
)
def test_the_projector_is_counted_for_every_view(encoder, objectives):
    """A wide one costs as much as the model: what is trained at equal FLOPs beside it would get half of them."""
    sizes = {"projector": 512, **objectives}
    config = config_of(encoder, "linear" if encoder != "conv" else "joint", objective=sizes)
    said, bare = (
        forward_flops(config),
        forward_flops(config_of(encoder, "linear" if encoder != "conv" else "joint", objective=objectives)),
    )
    assert said == pytest.approx(counted(MaskedAutoencoder.build(config), raw_of("image")), rel=1e-9)
    assert said > 1.5 * bare


@pytest.mark.parametrize("decoder", ["cross", "linear"])
@pytest.mark.parametrize("share", [0.05, 0.4])
def test_a_share_of_the_hidden_cells_costs_less(decoder, share):
    config = config_of("vit", decoder, decoder={"share": share})
    assert forward_flops(config) == pytest.approx(counted(MaskedAutoencoder.build(config), raw_of("image")), rel=1e-9)
    assert forward_flops(config) < forward_flops(config_of("vit", decoder))


@pytest.mark.parametrize("decoder", ["cross", "linear"])
def test_a_teacher_predicts_every_cell(decoder):
    led = {"masking": {"strategy": "loss_ranked"}, "objective": {"loss_ranking": 1.0}}
    whole, part = (config_of("vit", decoder, decoder={"share": share}, **led) for share in (1.0, 0.25))
    of_teacher = [train_flops(config) - 3 * forward_flops(config) for config in (whole, part)]
    assert of_teacher[0] == pytest.approx(of_teacher[1], rel=1e-9) and of_teacher[0] > 0


@pytest.mark.parametrize("sizes", [{"depth": 5, "stages": 1, "kernel": 5}, {"depth": 4, "stages": 3}])
def test_stages_and_kernels_of_convolutions_are_counted(sizes):
    modality = {"channels": 3, "size": [16, 24], "patch": 8}
    for decoder in ("joint", "unet"):
        config = config_of("conv", decoder, encoder=sizes)
        config["modality"] = {"kind": "image", **modality}
        raw = torch.zeros(2, 3, 16, 24, dtype=torch.uint8)
        assert forward_flops(config) == pytest.approx(counted(MaskedAutoencoder.build(config), raw), rel=1e-9)


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", None),
        ("NVIDIA RTX A1000", None),
    ],
)
def test_a_card_is_known_by_whole_words(device, peak):
    assert peak_of(device) == peak


def test_convolutions_cost_less_where_more_is_hidden():
    costs = [forward_flops(config_of("conv", "joint", masking={"ratio": ratio})) for ratio in (0.0, 0.5, 0.9)]
    assert costs == sorted(costs, reverse=True) and costs[2] < 0.6 * costs[0]
