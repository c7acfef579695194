"""Options of the transformer: each does what it says, and none of them changes a model that does not ask for it."""

from __future__ import annotations

import pytest
import torch

from mae_core.draws import Draws
from mae_core.encoders.vit import ViT
from mae_core.evaluation.classifier import Classifier
from mae_core.layers import Attention
from mae_core.model import MaskedAutoencoder

OPTIONS = {
    "registers": {"registers": 3},
    "qk_norm": {"qk_norm": True},
    "layer_scale": {"layer_scale": 0.1},
    "rope": {"positions": "rope"},
    "token": {"global_pool": "token"},
    "no global token": {"global_token": False},
}
DEFAULTS = {
    "registers": 0, "qk_norm": False, "drop_path": 0.0, "layer_scale": 0.0, "positions": "sincos", "global_pool": "mean",
    "global_token": True,
}  # fmt: skip


def test_defaults_are_the_model_without_options(make_config, make_raw):
    plain, said = MaskedAutoencoder.build(make_config()), MaskedAutoencoder.build(make_config(encoder=DEFAULTS))
    raw, draws = make_raw(2, make_config()), Draws(0, 0, torch.arange(2))
    assert plain.state_dict().keys() == said.state_dict().keys()
    assert torch.equal(plain(raw, draws).total, said(raw, draws).total)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_option_changes_the_model_trains_and_is_saved(make_config, make_raw, tmp_path, options):
    config = make_config(encoder=options)
    model, raw = MaskedAutoencoder.build(config), make_raw(4, config)
    assert not torch.equal(model.encode(raw), MaskedAutoencoder.build(make_config()).encode(raw))
    model(raw, Draws(0, 0, torch.arange(4))).total.backward()
    assert all(p.grad is not None and p.grad.any() and p.grad.isfinite().all() for p in model.parameters())
    model.save(tmp_path / "model")
    assert torch.equal(MaskedAutoencoder.load(tmp_path / "model").encode(raw), model.encode(raw))
    classifier = Classifier.from_pretrained(model, ["a", "b"])
    assert {classifier.layer_of(name) for name, _ in classifier.named_parameters()} == set(range(classifier.layers))


def test_a_negative_number_of_registers_is_refused():
    with pytest.raises(ValueError, match="registers -1: a number of tokens"):
        ViT(8, 1, 2, registers=-1)


def test_registers_are_global_tokens_that_no_feature_holds(make_config, make_raw):
    config = make_config(encoder={"registers": 3})
    model, raw = MaskedAutoencoder.build(config), make_raw(2, config)
    tokens = model.encode(raw, "tokens")
    assert tokens.shape == (2, 4 + 16, 16)
    torch.testing.assert_close(model.encode(raw, "mean"), tokens[:, 4:].mean(1))
    assert torch.equal(model.encode(raw, "global"), tokens[:, 0])
    pooled = model.encoder(model.modality, model.modality.split(raw)).pooled
    torch.testing.assert_close(pooled, tokens[:, 4:].mean(1))


def test_the_global_token_can_stand_for_the_sample(make_config, make_raw):
    config = make_config(encoder={"global_pool": "token", "registers": 1})
    model, raw = MaskedAutoencoder.build(config), make_raw(2, config)
    tokens = model.encode(raw, "tokens")
    assert torch.equal(model.encode(raw), tokens[:, 0])
    torch.testing.assert_close(model.encode(raw, "mean"), tokens[:, 2:].mean(1))
    classifier = Classifier.from_pretrained(model, ["a", "b"]).eval()
    assert torch.equal(classifier(raw), classifier.head(classifier.norm(tokens[:, 0])))


@pytest.mark.parametrize("registers", [0, 2])
def test_without_a_global_token_there_are_cells_and_registers(make_config, make_raw, registers):
    config = make_config(encoder={"global_token": False, "registers": registers})
    model, raw = MaskedAutoencoder.build(config), make_raw(2, config)
    tokens = model.encode(raw, "tokens")
    assert tokens.shape == (2, registers + 16, 16) and "encoder.global_token" not in model.state_dict()
    torch.testing.assert_close(model.encode(raw, "mean"), tokens[:, registers:].mean(1))
    with pytest.raises(ValueError, match="no global token"):
        model.encode(raw, "global")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoder": {"global_token": False, "global_pool": "token"}}, "global_pool 'token' needs global_token"),
        ({"encoder": {"global_token": False}, "masking": {"strategy": "attention"}}, "keep global_token"),
    ],
)
def test_what_reads_the_global_token_needs_it(make_config, changes, reason):
    with pytest.raises(ValueError, match=reason):
        MaskedAutoencoder.build(make_config(**changes))


def test_normalised_queries_and_keys_bound_the_logits():
    """However large the input, a head's logit is at most √d times the largest factors."""
    attention = Attention(16, 2, qk_norm=True)
    seen = []
    attention.q_norm.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        attention.qkv.weight.mul_(1000)
    attention(torch.randn(2, 5, 16))
    torch.testing.assert_close(seen[0].norm(dim=-1), torch.full((2, 2, 5), 8**0.5), rtol=1e-3, atol=1e-3)


def test_small_layer_scales_start_as_the_identity(make_config, make_raw):
    config = make_config(encoder={"layer_scale": 1e-9})
    model, raw = MaskedAutoencoder.build(config), make_raw(2, config)
    torch.testing.assert_close(model.encode(raw, "tokens", layer=1), model.encode(raw, "tokens", layer=0))


def test_cells_of_a_rotary_encoder_know_their_places_from_each_other(make_config, make_raw):
    """Equal cells are told apart by where they are, though nothing is added to them."""
    config = make_config(encoder={"positions": "rope"})
    model = MaskedAutoencoder.build(config)
    raw = make_raw(1, config)
    raw[..., :4, :4] = 90
    tokens = model.encode(raw, "tokens")[0, 1:]
    assert (tokens[0] - tokens[1]).abs().max() > 1e-4, "two equal cells at different distances from the others"


@pytest.mark.parametrize(
    ("options", "words"),
    [({"positions": "rop"}, "unknown positions 'rop'"), ({"global_pool": "max"}, "unknown global_pool 'max'")],
)
def test_unknown_words_are_refused(make_config, options, words):
    with pytest.raises(ValueError, match=words):
        MaskedAutoencoder.build(make_config(encoder=options))


def test_official_layouts_refuse_what_they_cannot_hold(make_config):
    from mae_core.interop.official import to_official

    for options in (OPTIONS["registers"], OPTIONS["qk_norm"], OPTIONS["layer_scale"], OPTIONS["rope"]):
        model = MaskedAutoencoder.build(make_config(encoder=options))
        with pytest.raises(ValueError, match=f"no encoder with {next(iter(options))}"):
            to_official(model)
    assert to_official(MaskedAutoencoder.build(make_config(encoder=DEFAULTS)))
