"""Same weights, same noise: our loss and gradients are those of transformers' ViTMAEForPreTraining."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mae_core.interop import from_huggingface, to_huggingface
from mae_core.interop.official import position_table, to_official
from mae_core.masking.plan import plan_from_scores
from mae_core.model import MaskedAutoencoder

transformers = pytest.importorskip("transformers")
transformers.utils.logging.disable_progress_bar()

SHAPES = {
    "square patches of 2": {},
    "one channel, wide": {
        "modality": {"channels": 1, "size": [12, 12], "patch": 3},
        "encoder": {"width": 24, "depth": 3, "heads": 3},
        "decoder": {"width": 16, "depth": 1, "heads": 4},
    },
    "4 channels, thin MLP": {
        "modality": {"channels": 4, "size": [16, 16], "patch": 4},
        "encoder": {"width": 32, "depth": 1, "heads": 4, "mlp_ratio": 1.5},
        "decoder": {"width": 24, "depth": 3, "heads": 2},
    },
    "64 patches, normalised": {
        "modality": {"size": [32, 32], "patch": 4, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]},
        "encoder": {"width": 96, "depth": 4, "heads": 3},
        "decoder": {"width": 64, "depth": 2, "heads": 4},
    },
}


def load_theirs(folder) -> Any:
    return transformers.ViTMAEForPreTraining.from_pretrained(folder, attn_implementation="eager").eval()


def noise_for(model: MaskedAutoencoder, n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, model.modality.cells, generator=torch.Generator().manual_seed(seed))


def gradients(theirs: Any) -> dict[str, Tensor]:
    """Their gradients under the official names, q, k and v stacked."""
    towers = {"vit.layers.": "blocks.", "decoder.decoder_layers.": "decoder_blocks."}
    inside = {"layernorm_before": "norm1", "layernorm_after": "norm2", "attention.o_proj": "attn.proj"}
    whole = {
        "vit.embeddings.cls_token": "cls_token",
        "vit.embeddings.patch_embeddings.projection": "patch_embed.proj",
        "vit.layernorm": "norm",
    }
    by_name = {name: p.grad for name, p in theirs.named_parameters() if "pos" not in name}
    found = {}
    for name, grad in by_name.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            grad = torch.cat([by_name[name.replace("q_proj", f"{third}_proj")] for third in "qkv"])
            name = name.replace("attention.q_proj", "attn.qkv")
        for old, new in {**towers, **inside, **whole}.items():
            name = name.replace(old, new)
        found[name.removeprefix("decoder.")] = grad
    return found


@pytest.mark.parametrize("ratio", [0.25, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("target", ["pixels", "norm_pixels"])
@pytest.mark.parametrize("shape", SHAPES)
def test_loss_and_gradients(shape, target, ratio, make_config, make_raw, tmp_path):
    sections = SHAPES[shape]
    config = make_config(**sections, masking={"ratio": ratio}, objective={"target": target})
    ours = MaskedAutoencoder.build(config, seed=1)
    theirs = load_theirs(to_huggingface(ours, tmp_path / "hf"))
    raw = make_raw(4, config)
    noise = noise_for(ours, 4)
    plan = plan_from_scores(noise, ratio)

    loss = ours(raw, plan=plan).total
    expected = theirs(ours.modality.scale(raw), noise=noise)
    torch.testing.assert_close(loss, expected.loss, rtol=0, atol=1e-5)
    hidden = torch.zeros_like(noise).scatter(1, plan.hide, 1.0)
    assert torch.equal(hidden, expected.mask)

    loss.backward()
    expected.loss.backward()
    # their code names a gradient as it names a weight, so ours are exported as if they were weights
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(parameter.grad)
    mine, yours = to_official(ours), gradients(theirs)
    assert set(yours) == set(mine) - {"pos_embed", "decoder_pos_embed"}
    for name, gradient in yours.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_saved_by_them_loads_into_ours(shape, make_config, make_raw, tmp_path):
    config = make_config(**SHAPES[shape])
    modality, encoder, decoder = config["modality"], config["encoder"], config["decoder"]
    torch.manual_seed(3)
    theirs = transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(
            hidden_size=encoder["width"],
            num_hidden_layers=encoder["depth"],
            num_attention_heads=encoder["heads"],
            intermediate_size=int(encoder["width"] * encoder.get("mlp_ratio", 4)),
            decoder_hidden_size=decoder["width"],
            decoder_num_hidden_layers=decoder["depth"],
            decoder_num_attention_heads=decoder["heads"],
            decoder_intermediate_size=40,
            image_size=modality["size"][0],
            patch_size=modality["patch"],
            num_channels=modality["channels"],
            mask_ratio=0.5,
            norm_pix_loss=True,
            layer_norm_eps=1e-6,
        )
    )
    theirs.save_pretrained(tmp_path / "zeros")
    with pytest.raises(ValueError, match="without positions"):
        from_huggingface(tmp_path / "zeros")

    grid = (modality["size"][0] // modality["patch"],) * 2
    with torch.no_grad():  # from scratch they leave tables and tokens at zero
        theirs.vit.embeddings.position_embeddings.copy_(position_table(grid, encoder["width"]))
        theirs.decoder.decoder_pos_embed.copy_(position_table(grid, decoder["width"]))
        theirs.vit.embeddings.cls_token.normal_(std=0.02)
        theirs.decoder.mask_token.normal_(std=0.02)
    theirs.save_pretrained(tmp_path / "hf")
    ours = from_huggingface(tmp_path / "hf")
    assert ours.ratio == 0.5 and ours.config["objective"]["target"] == "norm_pixels"
    raw = make_raw(3, config)
    noise = noise_for(ours, 3)
    loss = ours(raw, plan=plan_from_scores(noise, 0.5)).total
    theirs = load_theirs(tmp_path / "hf")
    torch.testing.assert_close(loss, theirs(ours.modality.scale(raw), noise=noise).loss, rtol=0, atol=1e-5)


def test_positions_are_theirs():
    """Their table, halves swapped as their initialisation does it, at the size of ViT-B/16."""
    build = transformers.models.vit_mae.modeling_vit_mae.build_2d_sinusoidal_position_embedding
    table = build(14, 14, 768, cls_token=True)
    torch.testing.assert_close(
        position_table((14, 14), 768)[0], torch.cat([table[:, 384:], table[:, :384]], 1), rtol=0, atol=1e-6
    )


def test_features_are_theirs(make_config, make_raw, tmp_path):
    """Unmasked: their mask ratio 0 with noise in order sees every patch in place."""
    config = make_config()
    ours = MaskedAutoencoder.build(config, seed=2).eval()
    folder = to_huggingface(ours, tmp_path / "hf")
    theirs = transformers.ViTMAEModel.from_pretrained(folder, mask_ratio=0.0, attn_implementation="eager").eval()
    raw = make_raw(2, config)
    noise = torch.arange(ours.modality.cells).float().expand(2, -1)
    with torch.no_grad():
        expected = theirs(ours.modality.scale(raw), noise=noise).last_hidden_state
        torch.testing.assert_close(ours.encode(raw, "tokens"), expected, rtol=0, atol=1e-5)
