"""Attention, blocks, positions and the initialisation of the official code."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mae_core.layers import Attention, Block, Positions, attend, sincos, start_local
from mae_core.model import MaskedAutoencoder


def lively(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return module


@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_softmax_of_scaled_products(padded):
    q, k, v = torch.randn(3, 2, 4, 5, 8).unbind()
    ok = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool() if padded else None
    scores = q @ k.mT / math.sqrt(8)
    if ok is not None:
        scores = scores.masked_fill(~ok[:, None, None], -math.inf)
    torch.testing.assert_close(attend(q, k, v, ok), scores.softmax(-1) @ v)


@pytest.mark.parametrize("padded", [False, True])
def test_both_kernels_agree(padded):
    """bf16 with gradients takes plain products on CPUs, without gradients torch's kernel."""
    q, k, v = torch.randn(3, 2, 4, 9, 8).bfloat16().unbind()
    ok = torch.arange(9) < torch.tensor([[4], [9]]) if padded else None
    plain = attend(q, k, v, ok)
    with torch.no_grad():
        fused = attend(q, k, v, ok)
    assert plain.dtype == fused.dtype == torch.bfloat16
    torch.testing.assert_close(plain, fused, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sample_with_nothing_to_read_leaves_gradients_finite(dtype):
    q, k, v = (x.detach().to(dtype).requires_grad_() for x in torch.randn(3, 2, 4, 5, 8).unbind())
    found = attend(q, k, v, torch.tensor([[False] * 5, [True] * 5]))
    found.float().square().sum().backward()
    assert all(torch.isfinite(x).all() for x in (found, q.grad, k.grad, v.grad))


@pytest.mark.parametrize("tail", [1, 3, 6])
def test_tail_is_exact(tail):
    """The last tokens alone are what they would be had all been computed, gradients included."""
    block = lively(Block(12, 3))
    x = torch.randn(2, 6, 12, requires_grad=True)
    ok = torch.arange(6) < torch.tensor([[6], [4]])
    whole, part = block(x, ok)[:, -tail:], block(x, ok, tail)
    torch.testing.assert_close(part, whole)
    inputs = [x, *block.parameters()]
    for a, b in zip(torch.autograd.grad(part.sum(), inputs), torch.autograd.grad(whole.sum(), inputs)):
        torch.testing.assert_close(a, b)


def test_padded_keys_change_nothing():
    block = lively(Block(12, 3))
    x = torch.randn(1, 4, 12)
    padded = torch.cat([x, torch.full((1, 3, 12), 9.0)], 1)
    torch.testing.assert_close(block(padded, torch.arange(7)[None] < 4)[:, :4], block(x))


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="width 8 cannot be split into 0 heads"):
        Attention(8, 0)
    with pytest.raises(ValueError, match="width 10 cannot be split into 3 heads"):
        Attention(10, 3)


def test_sincos_by_hand():
    table = sincos(torch.tensor([[2.0, 3.0]]), 8)[0]
    slow = 10000**-0.5
    expected = [f(a) for place in (3, 2) for f in (math.sin, math.cos) for a in (place, place * slow)]
    assert table.tolist() == pytest.approx(expected), "the column first, then the row; each sines, then cosines"


def test_sincos_of_other_axes_and_widths():
    assert sincos(torch.rand(2, 5, 3), 14).shape == (2, 5, 14)
    assert (sincos(torch.rand(5, 3), 14)[:, 12:] == 0).all(), "channels left over stay zero"
    far = sincos(torch.tensor([[100000.0]]), 4)[0]
    assert far[0] == pytest.approx(math.sin(100000)), "angles are computed in double precision"
    with pytest.raises(ValueError, match="at least 6"):
        sincos(torch.rand(5, 3), 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"encoder": {"kind": "vit", "width": 2, "depth": 1, "heads": 1}},
            "encoder: width 2 is too small for sin-cos positions over 2 axes: at least 4",
        ),
        (
            {"encoder": {"kind": "conv", "width": 2, "depth": 2, "stages": 2, "positions": "sincos"}},
            "encoder: width 2 is too small",
        ),
        ({"decoder": {"kind": "joint", "width": 3, "depth": 1, "heads": 1}}, "decoder: width 3 is too small"),
    ],
)
def test_widths_without_room_for_positions_are_refused_when_a_model_is_built(make_config, changes, said):
    with pytest.raises(ValueError, match=said):
        MaskedAutoencoder.build({**make_config(), **changes})


def test_positions_follow_the_coordinates():
    positions = Positions(8)
    shared = torch.rand(6, 2)
    index = torch.tensor([[5, 0], [1, 1]])
    for _ in range(2):
        assert torch.equal(positions(shared), sincos(shared, 8)[None])
        assert torch.equal(positions(shared, index), sincos(shared, 8)[index])
    other = torch.rand(4, 2)
    assert torch.equal(positions(other), sincos(other, 8)[None]), "not the table of the grid before"
    own = torch.rand(2, 6, 2)
    assert torch.equal(positions(own, index)[1, 0], sincos(own, 8)[1, 1])
    assert not positions.state_dict()


WIDE = {
    "modality": {"kind": "image", "channels": 3, "size": [32, 32], "patch": 8},
    "encoder": {"kind": "vit", "width": 256, "depth": 2, "heads": 4},
    "decoder": {"kind": "joint", "width": 128, "depth": 1, "heads": 4},
    "masking": {"strategy": "random", "ratio": 0.75},
    "objective": {"reconstruction": 1.0, "target": "norm_pixels"},
}


def test_initialisation_is_the_official_one():
    """Xavier-uniform for every Linear (qkv as one matrix) and for the flattened patch projection, whose bias alone is not zero;
    tokens normal with 0.02; LayerNorms the identity."""
    model = MaskedAutoencoder.build(WIDE, seed=0)
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert len(linear) == 3 * 4 + 3
    for name, layer in linear.items():
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert layer.weight.abs().max() <= bound, name
        assert layer.weight.abs().max() > 0.99 * bound, name
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03), name
        assert abs(layer.weight.mean().item()) < 0.02 * bound, name
        if name == "modality.project":
            limit = 1 / math.sqrt(layer.in_features)
            assert 0.9 * limit < layer.bias.abs().max() <= limit
            assert layer.bias.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.15)
        else:
            assert not layer.bias.any(), name
    assert linear["encoder.blocks.0.attn.qkv"].weight.shape == (768, 256)
    for token in (model.encoder.global_token, model.decoder.mask_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.2)
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 3 * 2 + 2
    assert all((n.weight == 1).all() and not n.bias.any() and n.eps == 1e-6 for n in norms)
    known = set(linear) | {name for name, m in model.named_modules() if isinstance(m, nn.LayerNorm)}
    rest = {name for name, _ in model.named_parameters() if name.rpartition(".")[0] not in known}
    assert rest == {"encoder.global_token", "decoder.mask_token"}, "a parameter whose initialisation is not tested"


def test_a_local_start_attends_to_near_tokens_first():
    """Keys equal queries at the start, so a token's own place has the largest product on average; nothing else changes."""
    torch.manual_seed(0)
    plain, local = Attention(64, 4), Attention(64, 4)
    local.load_state_dict(plain.state_dict())
    start_local(local)
    queries, keys, values = local.qkv.weight.detach().chunk(3)
    assert torch.equal(keys, queries) and torch.equal(values, plain.qkv.weight[128:])
    assert torch.equal(queries, plain.qkv.weight[:64]) and torch.equal(local.proj.weight, plain.proj.weight)
    table = sincos(torch.arange(32.0).view(-1, 1), 64)
    products = (table @ queries.T) @ (table @ keys.T).T
    near = products.diagonal(0).mean() + products.diagonal(1).mean()
    assert near > 1.2 * (products.diagonal(8).mean() + products.diagonal(16).mean())


def test_models_say_where_attention_starts_local(make_config):
    def parts(**sections):
        model = MaskedAutoencoder.build(make_config(**sections))
        weights = (model.encoder.blocks[0].attn.qkv.weight, model.decoder.blocks[0].attn.qkv.weight)
        return [torch.equal(*weight.chunk(3)[:2]) for weight in weights]

    assert parts() == [False, False]
    assert parts(encoder={"local_start": True}) == [True, False]
    assert parts(decoder={"local_start": True}) == [False, True]
