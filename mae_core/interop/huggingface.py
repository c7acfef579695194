"""The layout of Hugging Face's ViTMAE: a folder of ``config.json``, ``model.safetensors`` and ``preprocessor_config.json``.

Tensors are the official ones under other names, with q, k and v apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mae_core.atomic import replace_folder
from mae_core.interop.official import (
    Details,
    check_exportable,
    details_of,
    from_official,
    load_pickle_free,
    to_official,
)
from mae_core.layers import LAYER_NORM_EPS
from mae_core.model import MaskedAutoencoder

WHOLE = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj.": "vit.embeddings.patch_embeddings.projection.",
    "blocks.": "vit.encoder.layer.",
    "norm.": "vit.layernorm.",
    "mask_token": "decoder.mask_token",
    "decoder_pos_embed": "decoder.decoder_pos_embed",
    "decoder_embed.": "decoder.decoder_embed.",
    "decoder_blocks.": "decoder.decoder_layers.",
    "decoder_norm.": "decoder.decoder_norm.",
    "decoder_pred.": "decoder.decoder_pred.",
}
"""Beginnings of official names → of Hugging Face's saved ones."""
IN_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
QUERY, KEY, VALUE = (f"attention.attention.{which}" for which in ("query", "key", "value"))
OUT_OF_BLOCK = {**{hf: official for official, hf in IN_BLOCK.items()}, QUERY: "attn.qkv"}
NEWER = "decoder.decoder_encoder.layer."
"""transformers 5.x saves the decoder's blocks under this name, and loads the one of files on the hub too, which is what we write."""
EPS_LIMIT = 1e-5


def to_huggingface(model: MaskedAutoencoder, folder: str | Path) -> Path:
    """Writes ``folder`` so that ``ViTMAEForPreTraining.from_pretrained(folder)`` gives the same losses; replaces it in one step.

    Raises ValueError for images or patches that are not square, whose loss ViTMAE cannot compute, and for parts it does not have.
    """
    check_exportable(model.config, "huggingface")
    (height, wide), (ph, pw) = model.modality.size, model.modality.patch
    if height != wide or ph != pw:
        raise ValueError(
            f"the huggingface layout needs square images and patches, these are {height}x{wide} and {ph}x{pw}: "
            "export as official or native"
        )
    details, official = details_of(model), to_official(model)
    config = {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        **_tower_config(model.config["encoder"], official, "blocks.", ""),
        **_tower_config(model.config["decoder"], official, "decoder_blocks.", "decoder_"),
        "image_size": height,
        "patch_size": ph,
        "num_channels": model.modality.channels,
        "mask_ratio": details.ratio,
        "norm_pix_loss": details.target == "norm_pixels",
        "layer_norm_eps": LAYER_NORM_EPS,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "qkv_bias": True,
    }
    preprocessor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": wide},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": details.mean,
        "image_std": details.std,
    }
    with replace_folder(Path(folder)) as staging:
        save_file(_to_names(official), str(staging / "model.safetensors"), metadata={"format": "pt"})
        (staging / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        (staging / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2, sort_keys=True) + "\n")
    return Path(folder)


def from_huggingface(folder: str | Path, decoder: Mapping[str, Any] | None = None) -> MaskedAutoencoder:
    """The model, in eval mode, of a ViTMAE folder. ``decoder`` is as in ``Details``, for folders of an encoder alone.

    Hugging Face's default layer-norm epsilon of 1e-12 becomes the 1e-6 that MAE weights were trained with.
    Raises ValueError for other models, and for settings that ours does not have.
    """
    folder = Path(folder)
    config = _json(folder / "config.json")
    _check_config(config, folder)
    size = config.get("image_size", 224)
    processor = _json(folder / "preprocessor_config.json") if (folder / "preprocessor_config.json").is_file() else {}
    details = Details(
        size=[size, size] if isinstance(size, int) else size,
        heads=config.get("num_attention_heads", 12),
        decoder_heads=config.get("decoder_num_attention_heads", 16),
        mean=processor.get("image_mean"),
        std=processor.get("image_std"),
        ratio=config.get("mask_ratio", 0.75),
        target="norm_pixels" if config.get("norm_pix_loss", False) else "pixels",
        decoder=decoder,
    )
    try:
        model = from_official(_from_names(_tensors(folder)), details)
    except ValueError as problem:
        raise ValueError(f"{folder}: {problem}") from problem
    model.config["provenance"]["layout"] = "huggingface"
    return model


def _to_names(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official tensors under Hugging Face's names."""
    found = {}
    for name, value in official.items():
        start = next(start for start in WHOLE if name.startswith(start))
        rest = name[len(start) :]
        if start.endswith("blocks."):
            index, _, part = rest.partition(".")
            module, _, end = part.rpartition(".")
            if module == "attn.qkv":
                for which, third in zip((QUERY, KEY, VALUE), value.chunk(3)):
                    found[f"{WHOLE[start]}{index}.{which}.{end}"] = third.contiguous()
                continue
            rest = f"{index}.{IN_BLOCK[module]}.{end}"
        found[WHOLE[start] + rest] = value
    return found


def _from_names(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``_to_names``; what has no official name keeps its own, to be named in the error."""
    prefix = "" if any(name.startswith("vit.") for name in theirs) else "vit."  # a saved ViTMAEModel has none
    named = {(prefix + name).replace(NEWER, WHOLE["decoder_blocks."]): value for name, value in theirs.items()}
    found = {}
    for name, value in named.items():
        start = next((start for start, whole in WHOLE.items() if name.startswith(whole)), None)
        if start is None:
            found[name] = value
            continue
        rest = name[len(WHOLE[start]) :]
        if start.endswith("blocks."):
            index, _, part = rest.partition(".")
            module, _, end = part.rpartition(".")
            if module in (KEY, VALUE):
                continue
            if module == QUERY:
                block = f"{WHOLE[start]}{index}"
                value = torch.cat([value, *(_third(named, f"{block}.{other}.{end}") for other in (KEY, VALUE))])
            rest = f"{index}.{OUT_OF_BLOCK.get(module, module)}.{end}"
        found[start + rest] = value
    return found


def _third(named: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in named:
        raise ValueError(f"tensors missing: {name}")
    return named[name]


def _tower_config(tower: Mapping[str, Any], official: Mapping[str, Tensor], start: str, prefix: str) -> dict[str, int]:
    hidden = official[f"{start}0.mlp.fc1.weight"].shape[0] if tower["depth"] else 4 * tower["width"]
    return {
        f"{prefix}hidden_size": tower["width"],
        f"{prefix}num_hidden_layers": tower["depth"],
        f"{prefix}num_attention_heads": tower["heads"],
        f"{prefix}intermediate_size": hidden,
    }


def _check_config(config: Mapping[str, Any], folder: Path) -> None:
    """Raises ValueError for settings that would make our model compute something else."""
    if config.get("model_type") != "vit_mae":
        raise ValueError(f"{folder} holds a {config.get('model_type')!r} model, only 'vit_mae' can be imported")
    if config.get("hidden_act", "gelu") != "gelu":
        raise ValueError(f"{folder}: hidden_act is {config['hidden_act']!r}, only 'gelu' is supported")
    if config.get("layer_norm_eps", 0.0) > EPS_LIMIT:
        raise ValueError(f"{folder}: layer_norm_eps is {config['layer_norm_eps']}, at most {EPS_LIMIT} is supported")
    if not isinstance(config.get("image_size", 224), (int, list)):
        raise ValueError(f"{folder}: image_size is {config['image_size']!r}, not a number of pixels")


def _tensors(folder: Path) -> dict[str, Tensor]:
    """The weights of ``folder``, from ``model.safetensors`` or the older ``pytorch_model.bin``."""
    path = folder / "model.safetensors"
    if not path.is_file():
        if (folder / "pytorch_model.bin").is_file():
            return load_pickle_free(folder / "pytorch_model.bin")
        raise ValueError(
            f"{folder} has neither model.safetensors nor pytorch_model.bin (files in several parts are not read)"
        )
    try:
        return load_file(str(path))
    except SafetensorError as problem:
        raise ValueError(f"{path} is damaged: {problem}") from problem


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent} is no Hugging Face model folder: {path.name} is missing")
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not settings by name")
    return content
