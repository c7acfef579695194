"""The Hugging Face layout: round trips and what is refused. That it computes the same is in test_parity.py."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mae_core.interop import export_model, from_huggingface, import_model, to_huggingface, to_official
from mae_core.model import MaskedAutoencoder


@pytest.fixture
def model(make_config):
    statistics = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
    return MaskedAutoencoder.build(
        make_config(modality=statistics, masking={"ratio": 0.6}, objective={"target": "norm_pixels"}), seed=1
    )


@pytest.fixture
def folder(model, tmp_path):
    return to_huggingface(model, tmp_path / "hf")


def test_all_three_layouts_round_trip(model, make_raw, tmp_path):
    model.save(tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "a.pth", "official")
    import_model(tmp_path / "a.pth", tmp_path / "b", "official")
    export_model(tmp_path / "b", tmp_path / "c", "huggingface")
    import_model(tmp_path / "c", tmp_path / "d", "huggingface")
    back = MaskedAutoencoder.load(tmp_path / "d")
    for name, value in model.state_dict().items():
        assert torch.equal(value, back.state_dict()[name]), name
    assert all(torch.equal(value, to_official(back)[name]) for name, value in to_official(model).items())
    raw = make_raw(2, model.config)
    assert torch.equal(model.encode(raw), back.encode(raw))
    assert torch.equal(model.reconstruct(raw).filled, back.reconstruct(raw).filled)
    assert torch.equal(model.modality.std, back.modality.std)
    assert (back.ratio, back.config["objective"]["target"]) == (0.6, "norm_pixels")


def test_the_config_says_what_was_trained(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["layer_norm_eps"] == 1e-6  # their default is 1e-12
    assert config["norm_pix_loss"] is True and config["mask_ratio"] == 0.6
    names = set(load_file(str(folder / "model.safetensors")))
    assert {
        "vit.encoder.layer.1.attention.attention.query.weight",
        "vit.encoder.layer.0.layernorm_before.bias",
        "decoder.decoder_layers.1.attention.attention.value.bias",
        "decoder.decoder_pos_embed",
    } <= names


def test_both_names_of_decoder_blocks_are_read(folder, model):
    path = str(folder / "model.safetensors")
    newer = {n.replace("decoder_layers.", "decoder_encoder.layer."): v for n, v in load_file(path).items()}
    assert set(newer) != set(load_file(path))
    save_file(newer, path)
    back = from_huggingface(folder)
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in model.state_dict().items())


def test_older_weights_and_encoders_alone(folder, model, make_raw):
    path = folder / "model.safetensors"
    tensors = load_file(str(path))
    path.unlink()
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        from_huggingface(folder)
    torch.save(tensors, folder / "pytorch_model.bin")
    raw = make_raw(2, model.config)
    assert torch.equal(from_huggingface(folder).encode(raw), model.encode(raw))
    (folder / "pytorch_model.bin").unlink()
    save_file({n.removeprefix("vit."): v for n, v in tensors.items() if n.startswith("vit.")}, str(path))
    with pytest.raises(ValueError, match="no decoder"):
        from_huggingface(folder)
    decoder = {"kind": "joint", "width": 8, "depth": 1, "heads": 2}
    assert torch.equal(from_huggingface(folder, decoder).encode(raw), model.encode(raw))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "vit"}, "holds a 'vit' model, only 'vit_mae'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"layer_norm_eps": 0.01}, r"layer_norm_eps is 0\.01"),
        ({"image_size": "big"}, "image_size is 'big'"),
        ({"image_size": 12}, "pos_embed has 16 places, but 12x12"),
    ],
)
def test_settings_that_ours_has_not(folder, change, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=message):
        from_huggingface(folder)


def test_tensors_are_named(folder):
    path = str(folder / "model.safetensors")
    tensors = load_file(path)
    save_file({n: v for n, v in tensors.items() if n != "vit.encoder.layer.0.attention.attention.key.bias"}, path)
    with pytest.raises(ValueError, match=r"missing: vit\.encoder\.layer\.0\.attention\.attention\.key\.bias"):
        from_huggingface(folder)
    save_file({**tensors, "classifier.weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"left over: classifier\.weight"):
        from_huggingface(folder)
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="is damaged"):
        from_huggingface(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="no Hugging Face model folder"):
        from_huggingface(folder)


@pytest.mark.parametrize("modality", [{"size": [8, 12]}, {"size": [8, 8], "patch": [2, 4]}])
def test_only_squares_are_written(modality, make_config, tmp_path):
    model = MaskedAutoencoder.build(make_config(modality=modality))
    with pytest.raises(ValueError, match="needs square images and patches"):
        to_huggingface(model, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
