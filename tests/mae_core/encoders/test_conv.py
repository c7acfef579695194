"""The convolutional encoder beside the textbook one: a dense network on a map whose hidden pixels are set to zero after every layer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mae_core.cells import Plan
from mae_core.convolution import ConvBlock, ResponseNorm, init_convolutions
from mae_core.encoders.conv import _counts
from mae_core.layers import sincos
from mae_core.model import MaskedAutoencoder


@pytest.fixture(params=["none", "sincos"])
def model(make_config, request):
    """Three stages on cells of 8 × 8 pixels in a grid of 3 × 4; weights that are not small."""
    config = make_config(modality={"size": [24, 32], "patch": 8})
    config["encoder"] = {
        "kind": "conv", "width": 16, "depth": 5, "stages": 3, "kernel": 5, "positions": request.param
    }  # fmt: skip
    found = MaskedAutoencoder.build(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return found


def norm(x, layer):
    """LayerNorm over the channels of (B, C, H, W)."""
    return layer(x.movedim(1, -1)).movedim(-1, 1)


def linear(x, layer):
    return layer(x.movedim(1, -1)).movedim(-1, 1)


def strided(x, layer, factor):
    """A Linear on merged sites, as the strided convolution that it is."""
    out, channels = layer.weight.shape[0], x.shape[1]
    weight = layer.weight.view(out, factor, factor, channels).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, layer.bias, stride=factor)


def dense(model, raw, seen):
    """Textbook: ``seen`` (B, 3, 4) says which cells are active; returns the last map, (B, D, 3, 4)."""
    encoder = model.encoder

    def mask(x):
        factor = x.shape[2] // 3
        return x * seen.repeat_interleave(factor, 1).repeat_interleave(factor, 2).unsqueeze(1)

    x = mask(model.modality.scale(raw))
    x = mask(norm(strided(x, encoder.stem[0], 2), encoder.stem[1]))
    for block in encoder.blocks:
        if block.merge is not None:
            x = mask(strided(mask(norm(x, block.merge.norm)), block.merge.project, 2))
            if encoder.positions is not None and x.shape[2] == 3:
                x = mask(x + sincos(model.modality.coords, 16).T.reshape(16, 3, 4))
        y = F.conv2d(x, block.mix.weight, block.mix.bias, padding=2, groups=x.shape[1])
        y = mask(F.gelu(linear(norm(mask(y), block.norm), block.mlp.fc1)))
        length = (y.square().sum((2, 3), keepdim=True) + 1e-12).sqrt()
        share = length / (length.mean(1, keepdim=True) + 1e-6)
        scale, shift = (p.view(1, -1, 1, 1) for p in (block.response.scale, block.response.shift))
        y = mask(y + scale * (y * share) + shift)
        x = x + mask(linear(y, block.mlp.fc2))
    return norm(x, encoder.norm)


def test_it_is_the_dense_network_with_hidden_pixels_zero(model, make_raw):
    raw = make_raw(2, model.config)
    keep = torch.tensor([[7, 2, 0, 11, 5], [1, 3, 8, 4, 10]])
    seen = torch.zeros(2, 12).scatter(1, keep, 1.0)
    expected = dense(model, raw, seen.view(2, 3, 4)).flatten(2).transpose(1, 2)
    latent = model.encoder(model.modality, model.modality.split(raw), Plan(keep, keep[:, :0]))
    expected = expected.gather(1, keep.unsqueeze(-1).expand(-1, -1, 16))
    torch.testing.assert_close(latent.tokens[:, 1:], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(latent.pooled, expected.mean(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(latent.tokens[:, 0], latent.pooled)
    whole = dense(model, raw, torch.ones(2, 3, 4)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.encode(raw, "tokens")[:, 1:], whole, rtol=1e-4, atol=1e-4)


def test_maps_are_those_of_the_stages(model, make_raw):
    raw, keep = make_raw(2, model.config), torch.tensor([[7, 2], [1, 3]])
    latent = model.encoder(model.modality, model.modality.split(raw), Plan(keep, keep[:, :0]))
    assert [tuple(one.shape) for one in latent.maps] == [(2, 2, 4, 4, 4), (2, 2, 2, 2, 8), (2, 2, 1, 1, 16)]
    assert [(stage.width, stage.sub) for stage in model.encoder.stages] == [(4, (4, 4)), (8, (2, 2)), (16, (1, 1))]
    assert torch.equal(latent.maps[-1].flatten(2), latent.tokens[:, 1:])


def test_one_hidden_pixel_changes_no_bit(model, make_raw):
    raw = make_raw(1, model.config)
    keep = torch.tensor([[0, 1, 2, 4, 6, 8, 9, 10]])  # cell 5 is surrounded
    plan = Plan(keep, torch.tensor([[5, 3, 7, 11]]))
    before = model.encoder(model.modality, model.modality.split(raw), plan)
    for y, x in ((8, 8), (12, 12), (15, 15)):
        other = raw.clone()
        other[:, :, y, x] = 255 - other[:, :, y, x]
        after = model.encoder(model.modality, model.modality.split(other), plan)
        assert torch.equal(after.tokens, before.tokens)
        assert all(torch.equal(a, b) for a, b in zip(after.maps, before.maps))
    other = raw.clone()
    other[:, :, 7, 8] = 255 - other[:, :, 7, 8]  # of cell 1, just above it
    assert not torch.equal(model.encoder(model.modality, model.modality.split(other), plan).tokens, before.tokens)


def test_padding_and_the_order_of_cells_change_nothing(model, make_raw):
    raw = make_raw(1, model.config)
    cells = model.modality.split(raw)
    keep = torch.tensor([[7, 2, 0]])
    expected = model.encoder(model.modality, cells, Plan(keep, keep[:, :0])).tokens
    turned = model.encoder(model.modality, cells, Plan(keep.flip(1), keep[:, :0])).tokens
    torch.testing.assert_close(turned[:, 1:].flip(1), expected[:, 1:])
    padded = Plan(torch.tensor([[7, 2, 0, 5, 2]]), keep[:, :0], torch.tensor([[True, True, True, False, False]]))
    found = model.encoder(model.modality, cells, padded)
    torch.testing.assert_close(found.tokens[:, :4], expected)
    torch.testing.assert_close(found.pooled, expected[:, 0])


@pytest.mark.parametrize("positions", ["none", "sincos"])
def test_what_is_pooled_says_where_something_is(make_config, positions):
    """Convolutions and a mean cannot, far from edges: then features of a digit do not know where its strokes are."""
    config = make_config(modality={"size": [32, 32], "patch": 2})
    config["encoder"] = {"kind": "conv", "width": 16, "depth": 2, "kernel": 3, "positions": positions}
    model = MaskedAutoencoder.build(config)
    channels = config["modality"]["channels"]
    raw = torch.zeros(2, channels, 32, 32, dtype=torch.uint8)
    raw[0, :, 12:16, 12:16] = raw[1, :, 16:20, 18:22] = 255
    here, there = model.encode(raw).detach()
    gap = float((here - there).norm() / here.norm())
    assert gap < 1e-5 if positions == "none" else gap > 1e-3


def test_early_layers_are_means_over_a_cells_sites(model, make_raw):
    raw = make_raw(2, model.config)
    assert [model.encode(raw, layer=n).shape[1] for n in (1, 2, 3, 5)] == [4, 8, 16, 16]
    assert torch.equal(model.encode(raw, layer=5), model.encode(raw))


def test_the_response_norm_by_hand():
    layer = ResponseNorm(2)
    with torch.no_grad():
        layer.scale.copy_(torch.tensor([1.0, 2.0]))
        layer.shift.copy_(torch.tensor([0.5, 0.0]))
    x = torch.tensor([[[3.0, 0.0], [4.0, 5.0], [9.0, 9.0]]])
    found = layer(x, torch.tensor([[True, True, False]]))
    # norms over the first two cells: 5 and 5, so each channel's share is 1
    torch.testing.assert_close(found[0, :2], torch.tensor([[3.0 + 3.0 + 0.5, 0.0], [4.0 + 4.0 + 0.5, 15.0]]))


def test_a_fresh_response_norm_is_the_identity_with_a_finite_gradient():
    x = torch.zeros(1, 2, 4, requires_grad=True)
    found = ResponseNorm(4)(x, None)
    found.sum().backward()
    assert torch.equal(found, x) and torch.equal(x.grad, torch.ones_like(x))


def test_the_last_stage_has_the_most_blocks():
    assert [_counts(depth, stages) for depth, stages in ((6, 2), (2, 2), (6, 1), (9, 3), (3, 3))] == [
        [2, 4], [1, 1], [6], [2, 2, 5], [1, 1, 1],
    ]  # fmt: skip


def test_the_modality_makes_no_embedding(model):
    assert model.modality.project is None and not list(model.modality.parameters())
    assert not any(isinstance(part, nn.Embedding) for part in model.modality.modules())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 1}, "2 stages need as many blocks"),
        ({"kernel": 4}, "kernel 4 has no middle"),
        ({"width": 15}, "cannot be halved 1 times: choose a multiple of 2"),
        ({"positions": "rope"}, "unknown positions 'rope' of encoder conv: there are sincos, none"),
    ],
)
def test_wrong_sizes_are_refused(make_config, options, words):
    config = make_config()
    config["encoder"] = {"kind": "conv", "width": 16, "depth": 2, **options}
    with pytest.raises(ValueError, match=words):
        MaskedAutoencoder.build(config)


def test_data_without_a_map_is_refused_and_told_what_fits(make_config):
    config = make_config()
    config["encoder"] = {"kind": "conv", "width": 16, "depth": 2}
    config["modality"] = {"kind": "text", "context": 8, "tokens": {"kind": "characters", "known": "ab"}}
    config["objective"] = {"reconstruction": 1.0, "target": "tokens"}
    with pytest.raises(ValueError, match="encoder 'conv' does not fit the modality 'text': there are vit"):
        MaskedAutoencoder.build(config)


def test_gradients_of_volumes_in_bf16_are_those_of_float32():
    """An axis shorter than the kernel, channels last as sites lie: there torch's own are wrong."""
    block = ConvBlock(4, (2, 4, 4), 3)
    init_convolutions(block)
    x = torch.randn(2, 32, 1, 1, 1, 4, generator=torch.Generator().manual_seed(0))
    found = []
    for low in (False, True):
        block.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            block(x).square().sum().backward()
        found.append(block.mix.weight.grad.clone())
    torch.testing.assert_close(found[1], found[0], rtol=0.1, atol=0.02 * float(found[0].abs().max()))
