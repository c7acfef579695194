"""The official layout: what its tensors mean, round trips, and what is refused."""

from __future__ import annotations

import argparse
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mae_core.interop import Details, export_model, from_official, import_model, load_official, save_official
from mae_core.interop import to_official as export
from mae_core.interop.official import check_exportable
from mae_core.masking.plan import plan_from_scores
from mae_core.model import MaskedAutoencoder


def tower(x: Tensor, tensors: dict[str, Tensor], start: str, heads: int) -> Tensor:
    """Pre-norm blocks on the official names, as the published model computes them."""
    index = 0
    while f"{start}{index}.norm1.weight" in tensors:
        block = {name.removeprefix(f"{start}{index}."): value for name, value in tensors.items()}
        y = F.layer_norm(x, x.shape[-1:], block["norm1.weight"], block["norm1.bias"], 1e-6)
        qkv = F.linear(y, block["attn.qkv.weight"], block["attn.qkv.bias"])
        q, k, v = qkv.reshape(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(x.shape)
        x = x + F.linear(y, block["attn.proj.weight"], block["attn.proj.bias"])
        y = F.layer_norm(x, x.shape[-1:], block["norm2.weight"], block["norm2.bias"], 1e-6)
        y = F.gelu(F.linear(y, block["mlp.fc1.weight"], block["mlp.fc1.bias"]))
        x = x + F.linear(y, block["mlp.fc2.weight"], block["mlp.fc2.bias"])
        index += 1
    return x


def reference_loss(t: dict[str, Tensor], images: Tensor, keep: Tensor, heads: int, decoder_heads: int) -> Tensor:
    """The mean squared error over hidden patches, from official tensors alone: everything back on the grid, all patches predicted."""
    weight = t["patch_embed.proj.weight"]
    x = F.conv2d(images, weight, t["patch_embed.proj.bias"], stride=weight.shape[-2:])
    n, width = x.shape[-2] * x.shape[-1], x.shape[1]
    x = x.flatten(2).transpose(1, 2) + t["pos_embed"][:, 1:]
    x = x.gather(1, keep[..., None].expand(-1, -1, width))
    x = torch.cat([(t["cls_token"] + t["pos_embed"][:, :1]).expand(len(x), -1, -1), x], 1)
    x = F.layer_norm(tower(x, t, "blocks.", heads), (width,), t["norm.weight"], t["norm.bias"], 1e-6)
    x = F.linear(x, t["decoder_embed.weight"], t["decoder_embed.bias"])
    grid = t["mask_token"].repeat(len(x), n, 1).scatter(1, keep[..., None].expand(-1, -1, x.shape[-1]), x[:, 1:])
    x = torch.cat([x[:, :1], grid], 1) + t["decoder_pos_embed"]
    x = tower(x, t, "decoder_blocks.", decoder_heads)
    x = F.layer_norm(x, x.shape[-1:], t["decoder_norm.weight"], t["decoder_norm.bias"], 1e-6)
    predicted = F.linear(x[:, 1:], t["decoder_pred.weight"], t["decoder_pred.bias"])
    ph, pw = weight.shape[-2:]
    patches = images.unfold(2, ph, ph).unfold(3, pw, pw).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    hidden = torch.ones(len(x), n).scatter(1, keep, 0.0)
    return ((predicted - patches).square().mean(-1) * hidden).sum() / hidden.sum()


SHAPES = {
    "square": {},
    "wide grid, oblong patches, one channel": {"modality": {"channels": 1, "size": [6, 20], "patch": [3, 4]}},
    "four channels": {"modality": {"channels": 4, "mean": [0.1, 0.2, 0.3, 0.4], "std": [0.5, 0.6, 0.7, 0.8]}},
    "no decoder blocks": {"decoder": {"depth": 0}},
    "odd MLP": {"encoder": {"width": 12, "heads": 3, "mlp_ratio": 37 / 12}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_tensors_mean_what_they_mean_there(shape, make_config, make_raw):
    config = make_config(**SHAPES[shape])
    model = MaskedAutoencoder.build(config, seed=1)
    plan = plan_from_scores(torch.rand(3, model.modality.cells), 0.6)
    raw = make_raw(3, config)
    heads, decoder_heads = config["encoder"]["heads"], config["decoder"]["heads"]
    expected = reference_loss(export(model), model.modality.scale(raw), plan.keep, heads, decoder_heads)
    torch.testing.assert_close(model(raw, plan=plan).total, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_round_trip_is_bit_exact(shape, make_config, make_raw, tmp_path):
    config = make_config(
        **SHAPES[shape], masking={"strategy": "block", "ratio": 0.6}, objective={"target": "norm_pixels"}
    )
    model = MaskedAutoencoder.build(config, seed=1)
    model.save(tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "model.pth", "official")
    import_model(tmp_path / "model.pth", tmp_path / "back", "official")
    back = MaskedAutoencoder.load(tmp_path / "back")
    for name, value in model.state_dict().items():
        assert torch.equal(value, back.state_dict()[name]), name
    assert back.config["masking"] == config["masking"] and back.config["objective"] == config["objective"]
    raw = make_raw(2, config)
    assert torch.equal(model.reconstruct(raw).filled, back.reconstruct(raw).filled)
    assert torch.equal(model.encode(raw), back.encode(raw))
    again = export(back)
    assert all(torch.equal(value, again[name]) for name, value in export(model).items())


def test_files_of_the_official_code(make_config, tmp_path):
    """Those hold no details: heads come from the width, size from the table; a training checkpoint's arguments say ratio and loss."""
    config = make_config(
        encoder={"width": 192, "depth": 1, "heads": 3}, decoder={"width": 512, "depth": 1, "heads": 16}
    )
    tensors = export(MaskedAutoencoder.build(config))
    torch.save({"model": tensors}, tmp_path / "published.pth")
    model = load_official(tmp_path / "published.pth")
    assert (model.config["encoder"]["heads"], model.config["decoder"]["heads"]) == (3, 16)
    assert model.config["modality"]["size"] == [8, 8]
    assert model.config["modality"]["mean"] == [0.485, 0.456, 0.406]
    assert model.config["provenance"] == {"layout": "official", "normalisation": "assumed: ImageNet's"}

    args = argparse.Namespace(norm_pix_loss=False, mask_ratio=0.5, model="mae_vit_tiny")
    torch.save({"model": tensors, "epoch": 3, "args": args}, tmp_path / "checkpoint-3.pth")
    model = load_official(tmp_path / "checkpoint-3.pth")
    assert model.config["objective"]["target"] == "pixels" and model.ratio == 0.5

    torch.save(tensors, tmp_path / "bare.pth")
    half = {name: value.half() for name, value in tensors.items()}
    torch.save({"model": half}, tmp_path / "half.pth")
    assert load_official(tmp_path / "bare.pth").head.weight.dtype == torch.float32
    assert load_official(tmp_path / "half.pth").head.weight.dtype == torch.float32


def test_encoder_alone(make_config, make_raw):
    config = make_config()
    model = MaskedAutoencoder.build(config, seed=4).eval()
    alone = {k: v for k, v in export(model).items() if not k.startswith(("decoder_", "mask_token"))}
    with pytest.raises(ValueError, match="have no decoder, so they cannot reconstruct"):
        from_official(alone, Details(heads=2))
    decoder = {"kind": "joint", "width": 8, "depth": 1, "heads": 2}
    found = from_official(alone, Details(heads=2, mean=[0.0] * 3, std=[1.0] * 3, decoder=decoder))
    raw = make_raw(2, config)
    assert torch.equal(found.encode(raw), model.encode(raw))
    assert "afresh" in found.config["provenance"]["decoder"]


class Evil:
    def __reduce__(self):
        return (print, ("run!",))


def broken(tensors: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    tensors = dict(tensors)
    if how == "missing":
        del tensors["blocks.1.mlp.fc2.bias"]
    elif how == "left over":
        tensors["head.weight"] = torch.zeros(10, 16)
    elif how == "shape":
        tensors["decoder_pred.bias"] = torch.zeros(5)
    elif how == "learned":
        tensors["pos_embed"] = tensors["pos_embed"] + 0.02 * torch.randn(1, 17, 16)
    elif how == "nothing":
        tensors = {"weight": torch.zeros(2)}
    elif how == "oblong":
        tensors["pos_embed"] = torch.zeros(1, 16, 16)
    return tensors


@pytest.mark.parametrize(
    ("how", "details", "message"),
    [
        ("missing", {}, r"tensors missing: blocks\.1\.mlp\.fc2\.bias"),
        ("left over", {}, r"left over: head\.weight \(a fine-tuned classifier\?\)"),
        ("shape", {}, r"decoder_pred\.bias has shape \(5,\), expected \(12,\)"),
        ("learned", {}, r"pos_embed differs from the fixed sin-cos positions by up to 0\.\d+: learned"),
        ("nothing", {}, "no MAE weights"),
        ("oblong", {}, "15 places, which make no square"),
        ("whole", {"size": (8, 12)}, "pos_embed has 16 places, but 8x12 pixels in patches of 2x2 make 24"),
        ("whole", {"heads": None}, r"width 16 is none of the known sizes \(192, 384, .*: give heads"),
        ("whole", {"decoder_heads": None}, "width 8 is none of the known sizes .*: give decoder_heads"),
        ("whole", {"heads": 3}, "cannot be split into 3 heads"),
    ],
)
def test_refused_by_name(how, details, message, make_config):
    tensors = broken(export(MaskedAutoencoder.build(make_config())), how)
    with pytest.raises(ValueError, match=message):
        from_official(tensors, Details(**{"heads": 2, "decoder_heads": 2, **details}))


def test_nothing_is_run(tmp_path, capsys):
    for name, content in {"evil.pth": {"model": Evil()}, "args.pth": {"model": {}, "args": Evil()}}.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(ValueError, match="left unread because it could run code"):
            load_official(tmp_path / name)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "noise.pth").write_bytes(b"\x00\x01 not a file of torch")
    (tmp_path / "empty.pth").touch()
    for name in ("plain.pth", "noise.pth", "empty.pth"):
        with pytest.raises(ValueError, match=name):
            load_official(tmp_path / name)
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list"):
        load_official(tmp_path / "list.pth")
    torch.save({"model": {"a": 1}}, tmp_path / "numbers.pth")
    with pytest.raises(ValueError, match="no official MAE file"):
        load_official(tmp_path / "numbers.pth")
    with pytest.raises(ValueError, match="is no file"):
        load_official(tmp_path / "absent.pth")
    assert capsys.readouterr().out == ""


def test_what_cannot_be_held(make_config):
    model = MaskedAutoencoder.build(make_config(encoder={"width": 18, "heads": 2}))
    with pytest.raises(ValueError, match="the encoder's is 18"):
        export(model)
    for layout in ("official", "huggingface"):
        model = MaskedAutoencoder.build(make_config(encoder={"global_pool": "token"}))
        with pytest.raises(ValueError, match=f"the {layout} layout has no encoder with global_pool token, only mean"):
            check_exportable(model.config, layout)
    model = MaskedAutoencoder.build(make_config())
    model.config["encoder"]["kind"] = "convnext"
    with pytest.raises(ValueError, match="no encoder 'convnext', only vit"):
        export(model)


@pytest.mark.parametrize("strategy", ["policy", "bandit"])
def test_a_learned_mask_stays_behind(make_config, make_raw, tmp_path, strategy):
    options = {"options": {"families": ["random", "grid"]}} if strategy == "bandit" else {}
    model = MaskedAutoencoder.build(make_config(masking={"strategy": strategy, "ratio": 0.5, **options}))
    save_official(model, tmp_path / "model.pth")
    back = load_official(tmp_path / "model.pth")
    assert back.config["masking"] == {"strategy": "random", "ratio": 0.5}
    raw = make_raw(3, model.config)
    torch.testing.assert_close(back.encode(raw), model.eval().encode(raw))


def test_doors_refuse_what_they_would_destroy(make_config, tmp_path):
    source = MaskedAutoencoder.build(make_config()).save(tmp_path / "model")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "cat.png").touch()
    save_official(MaskedAutoencoder.load(source), tmp_path / "model.pth")
    with pytest.raises(ValueError, match="exists and is no model folder"):
        export_model(source, pictures, "native")
    with pytest.raises(ValueError, match="exists and is no model folder"):
        export_model(source, pictures, "huggingface")
    with pytest.raises(ValueError, match="exists and is no model folder"):
        import_model(tmp_path / "model.pth", pictures, "official")
    with pytest.raises(ValueError, match="is a folder, the official layout is one file"):
        export_model(source, pictures, "official")
    (tmp_path / "params.yaml").write_text("recipes: {}")
    with pytest.raises(ValueError, match=r"params\.yaml exists and is no \.pth file, so it is not replaced"):
        export_model(source, tmp_path / "params.yaml", "official")
    assert (tmp_path / "params.yaml").read_text() == "recipes: {}"
    (tmp_path / "params.yaml").unlink()
    with pytest.raises(ValueError, match="did you mean 'official'"):
        export_model(source, tmp_path / "x", "offical")
    with pytest.raises(ValueError, match="leave them out"):
        import_model(source, tmp_path / "x", "native", heads=2)
    assert [path.name for path in pictures.iterdir()] == ["cat.png"]
    # a model may replace a model
    export_model(source, tmp_path / "copy", "native")
    import_model(tmp_path / "model.pth", tmp_path / "copy", "official")
    assert MaskedAutoencoder.load(tmp_path / "copy").config["provenance"] == {"layout": "official"}
    assert {p.name for p in tmp_path.iterdir()} == {"model", "model.pth", "pictures", "copy"}
