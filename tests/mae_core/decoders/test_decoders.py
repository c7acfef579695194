"""What each decoder reads: hidden cells that do not touch each other, places that are told apart, maps that are filled in."""

from __future__ import annotations

import pytest
import torch

from mae_core.building import build_encoder, fits, lacking, options_of
from mae_core.cells import Plan
from mae_core.decoders import DECODERS
from mae_core.encoders import ENCODERS
from mae_core.model import MaskedAutoencoder

SIZES = {
    "joint": {"kind": "joint", "width": 8, "depth": 2, "heads": 2},
    "cross": {"kind": "cross", "width": 8, "depth": 2, "heads": 2},
    "linear": {"kind": "linear", "width": 8, "heads": 2},
    "unet": {"kind": "unet", "width": 8, "depth": 1, "kernel": 3},
}


def model_of(make_config, decoder, encoder="conv"):
    config = make_config(modality={"patch": 4, "size": [16, 16]})
    config["decoder"] = SIZES[decoder]
    if encoder == "conv":
        config["encoder"] = {"kind": "conv", "width": 16, "depth": 2, "kernel": 3}
    model = MaskedAutoencoder.build(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def said(model, raw, plan):
    return model.view(model.modality.split(raw), plan).prediction


KEEP = torch.tensor([[0, 5, 10, 15]])


@pytest.mark.parametrize("decoder", ["cross", "linear"])
def test_what_is_said_of_a_cell_does_not_depend_on_what_else_is_asked(make_config, make_raw, decoder):
    model = model_of(make_config, decoder)
    raw = make_raw(1, model.config)
    whole = said(model, raw, Plan(KEEP, torch.tensor([[3, 7, 8, 12]])))
    alone = said(model, raw, Plan(KEEP, torch.tensor([[8]])))
    torch.testing.assert_close(alone[:, 0], whole[:, 2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decoder", ["joint", "unet"])
def test_mask_tokens_of_the_others_touch_each_other(make_config, make_raw, decoder):
    """Else they would be of no use: a joint decoder attends to them, a U-Net convolves them."""
    model = model_of(make_config, decoder)
    raw = make_raw(1, model.config)
    whole = said(model, raw, Plan(KEEP, torch.tensor([[3, 7, 8, 12]])))
    alone = said(model, raw, Plan(KEEP, torch.tensor([[8]])))
    assert not torch.allclose(alone[:, 0], whole[:, 2], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("decoder", SIZES)
def test_places_and_visible_cells_are_told_apart(make_config, make_raw, decoder):
    model = model_of(make_config, decoder)
    raw = make_raw(1, model.config)
    plan = Plan(KEEP, torch.tensor([[3, 7, 8, 12]]))
    found = said(model, raw, plan)
    assert ((found[:, :1] - found[:, 1:]).abs().amax(-1) > 1e-4).all(), "two places get the same"
    other = raw.clone()
    other[..., :4, :4] = 255 - other[..., :4, :4]
    assert ((said(model, other, plan) - found).abs().amax(-1) > 1e-6).all(), "what is seen does not matter"


@pytest.mark.parametrize("decoder", ["cross", "linear"])
def test_padded_latents_are_not_read(make_config, make_raw, decoder):
    model = model_of(make_config, decoder, encoder="vit")
    raw, hide = make_raw(1, model.config), torch.tensor([[3, 7]])
    yes = torch.ones(1, 2, dtype=torch.bool)
    padded = Plan(
        torch.tensor([[0, 5, 10, 15, 9, 1]]), hide, torch.tensor([[True, True, True, True, False, False]]), yes
    )
    torch.testing.assert_close(said(model, raw, padded), said(model, raw, Plan(KEEP, hide)), rtol=1e-4, atol=1e-5)


def test_a_u_net_fills_every_scale_where_nothing_is_kept(make_config, make_raw):
    """Visible sites hold the encoder's maps, hidden ones the mask token, and cells that the plan does not name are zero."""
    model = model_of(make_config, "unet")
    scale = model.decoder.blocks[0]
    kept = torch.randn(1, 2, 1, 1, 16)
    scale.blocks = torch.nn.ModuleList()
    found = scale(kept, None, torch.tensor([[4, 9]]), None, None)
    expected = scale.project(scale.norm(kept))
    torch.testing.assert_close(found[:, [4, 9]], expected)
    others = [cell for cell in range(16) if cell not in (4, 9)]
    torch.testing.assert_close(found[:, others], scale.mask_token.expand(1, 14, 1, 1, 8))
    padded = scale(kept, None, torch.tensor([[4, 9]]), torch.tensor([[True, False]]), None)
    torch.testing.assert_close(padded[:, 9], scale.mask_token.expand(1, 1, 1, 8))


def test_a_u_net_reads_the_fine_maps(make_config, make_raw):
    """A change of one pixel reaches a hidden neighbour by the finest map, even where the coarse one is held fixed."""
    model = model_of(make_config, "unet")
    raw, plan = make_raw(1, model.config), Plan(KEEP, torch.tensor([[1, 4]]))
    cells = model.modality.split(raw)
    latent = model.encoder(model.modality, cells, plan)
    fine = latent.maps[0].clone()
    fine[:, 0, 0, 0, 0] += 1
    changed = latent._replace(maps=(fine, *latent.maps[1:]))
    outcomes = [model.decoder(one, plan, cells.coords) for one in (latent, changed)]
    assert (outcomes[0] - outcomes[1]).abs().max() > 1e-4


def test_a_u_net_needs_maps(make_config):
    config = make_config()
    config["decoder"] = SIZES["unet"]
    with pytest.raises(
        ValueError, match=r"'vit' does not make: choose encoder conv, or a decoder of joint, cross, linear"
    ):
        MaskedAutoencoder.build(config)
    assert [fits(encoder, "unet") for encoder in ENCODERS] == [encoder == "conv" for encoder in ENCODERS]
    assert all(fits(encoder, decoder) for encoder in ENCODERS for decoder in DECODERS if decoder != "unet")


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        ({**SIZES["cross"], "depth": 0}, "depth 0 would read nothing"),
        ({**SIZES["cross"], "heads": 3}, "cannot be split into 3 heads"),
        ({**SIZES["unet"], "depth": 0}, "depth 0 would mix nothing"),
        ({**SIZES["unet"], "kernel": 2}, "has no middle"),
        ({**SIZES["unet"], "width": 7}, "decoder width 7 cannot be halved"),
    ],
)
def test_wrong_sizes_are_refused(make_config, decoder, words):
    config = make_config()
    config["encoder"] = {"kind": "conv", "width": 16, "depth": 2}
    config["decoder"] = decoder
    with pytest.raises(ValueError, match=words):
        MaskedAutoencoder.build(config)


def test_options_are_what_constructors_take(make_config):
    assert options_of(DECODERS, "linear", "decoder") == {"width", "heads", "share"}
    assert options_of(DECODERS, "unet", "decoder") == {"width", "depth", "kernel", "mlp_ratio"}
    own = {"width", "depth", "stages", "kernel", "drop_path", "mlp_ratio", "positions"}
    assert options_of(ENCODERS, "conv", "encoder") == own
    shared = options_of(ENCODERS, "vit", "encoder")
    assert {"registers", "positions", "heads", "depth"} < shared == options_of(ENCODERS, "hybrid", "encoder")
    assert build_encoder(make_config())[1].width == 16


@pytest.mark.parametrize(("strategy", "what"), [("policy", "the embedding of cells"), ("attention", "attention")])
def test_masks_find_what_they_read(make_config, strategy, what):
    assert not lacking("vit", strategy) and lacking("conv", strategy) == what and not lacking("conv", "block")
    config = make_config(encoder={"kind": "conv", "width": 16, "depth": 2}, masking={"strategy": strategy})
    del config["encoder"]["heads"]
    with pytest.raises(
        ValueError, match=rf"'{strategy}' reads {what}, which encoder 'conv' does not make.*encoder of vit"
    ):
        MaskedAutoencoder.build(config)
