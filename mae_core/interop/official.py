"""The layout of the MAE paper's official code (facebookresearch/mae): one ``.pth`` file, ``{"model": tensors by name}``.

It holds weights and position tables alone. What it cannot hold (``Details``) is written beside them under ``"maestro"``, which the
official code ignores, and has to be told or assumed for files from elsewhere.
"""

from __future__ import annotations

import argparse
import math
import pickle
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mae_core.atomic import replace_file
from mae_core.layers import sincos
from mae_core.model import MaskedAutoencoder

NAMES = {
    "encoder.global_token": "cls_token",
    "encoder.blocks.": "blocks.",
    "encoder.norm.": "norm.",
    "modality.project.": "patch_embed.proj.",
    "decoder.mask_token": "mask_token",
    "decoder.embed.": "decoder_embed.",
    "decoder.blocks.": "decoder_blocks.",
    "decoder.norm.": "decoder_norm.",
    "head.": "decoder_pred.",
}
"""Beginnings of our names → of theirs; what follows is the same. Their position tables are computed in ours."""
TABLES = ("pos_embed", "decoder_pos_embed")
PROJECTION = "patch_embed.proj.weight"

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
"""Of an encoder of that width: ViT-Ti, S, B, L (Dosovitskiy et al. 2021, Table 1; Touvron et al. 2021) and MAE's ViT-H."""
DECODER_HEADS = {512: 16}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOLERANCE = 1e-5
PLAIN = {
    "registers": 0, "qk_norm": False, "layer_scale": 0.0, "positions": "sincos", "global_token": True, "global_pool": "mean",
}  # fmt: skip
"""Options of an encoder that change its tensors or what they mean, as the official ones have them."""


@dataclass(frozen=True)
class Details:
    """What a set of official weights leaves open."""

    size: Sequence[int] | None = None
    """(H, W) in pixels; None = square."""
    heads: int | None = None
    """Of the encoder; None = as its width has them in the papers."""
    decoder_heads: int | None = None
    mean: Sequence[float] | None = None
    """Per channel, of pixels in 0..1; None = ImageNet's for three channels, as the official code trains, else 0 and 1."""
    std: Sequence[float] | None = None
    ratio: float = 0.75
    strategy: str = "random"
    target: str = "norm_pixels"
    """``norm_pixels`` is the official recipe's ``--norm_pix_loss``; weights trained without it need ``pixels``."""
    decoder: Mapping[str, Any] | None = None
    """For encoder-only files: the config of a decoder to be initialised afresh. Its reconstructions mean nothing until it is trained."""


def to_official(model: MaskedAutoencoder) -> dict[str, Tensor]:
    """The tensors of ``model`` under the official names, position tables included, as contiguous CPU copies.

    Non-square grids and other channel counts keep this layout too, although the official code itself assumes squares of 3 channels.
    Raises ValueError for parts that it has no place for.
    """
    check_exportable(model.config, "official")
    (ph, pw), channels = model.modality.patch, model.modality.channels
    found = {}
    for name, value in model.state_dict().items():
        if name.startswith("masker."):  # learned masks are of the training
            continue
        ours = next(start for start in NAMES if name.startswith(start))
        found[NAMES[ours] + name[len(ours) :]] = value.detach().cpu().clone()
    weight = found[PROJECTION]
    found[PROJECTION] = weight.view(-1, ph, pw, channels).permute(0, 3, 1, 2).contiguous()
    for table, width in zip(TABLES, (model.encoder.width, model.decoder.width)):
        found[table] = position_table(model.modality.grid, width)
    return found


def details_of(model: MaskedAutoencoder) -> Details:
    """What ``to_official`` leaves out of ``model``."""
    config, learned = model.config, hasattr(model.masker, "learner")
    return Details(
        size=list(model.modality.size),
        heads=config["encoder"]["heads"],
        decoder_heads=config["decoder"]["heads"],
        mean=model.modality.mean.flatten().tolist(),
        std=model.modality.std.flatten().tolist(),
        ratio=config["masking"]["ratio"],
        strategy="random" if learned else config["masking"]["strategy"],  # no state of a mask is written
        target=config["objective"]["target"],
    )


def from_official(tensors: Mapping[str, Tensor], details: Details | None = None) -> MaskedAutoencoder:
    """The model, in eval mode, that official ``tensors`` describe.

    Widths, depths, patch and channels are read off the shapes; ``details`` says the rest. Raises ValueError, naming the tensor, where one
    is missing, left over or misshapen; where positions are not the sin-cos ones that ours are; and where the decoder is absent.
    """
    details = details or Details()
    if PROJECTION not in tensors or "pos_embed" not in tensors:
        raise ValueError(f"these are no MAE weights: {PROJECTION} or pos_embed is missing")
    width, channels, ph, pw = tensors[PROJECTION].shape
    size = _size(tensors["pos_embed"], (ph, pw), details.size)
    encoder = {"kind": "vit", **_tower(tensors, "blocks.", width, details.heads, HEADS, "heads")}
    notes = {"layout": "official"}
    complete = "decoder_embed.weight" in tensors
    if complete:
        wide = tensors["decoder_embed.weight"].shape[0]
        tower = _tower(tensors, "decoder_blocks.", wide, details.decoder_heads, DECODER_HEADS, "decoder_heads")
        decoder: Mapping[str, Any] = {"kind": "joint", **tower}
    elif details.decoder is not None:
        decoder, notes["decoder"] = details.decoder, "initialised afresh: the file held an encoder alone"
    else:
        raise ValueError(
            "these weights have no decoder, so they cannot reconstruct: take the full file, or for its features alone name a decoder to be "
            "initialised afresh, from_official(tensors, Details(decoder={'kind': 'joint', 'width': 512, 'depth': 8, 'heads': 16}))"
        )
    mean, std = details.mean, details.std
    if mean is None or std is None:
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.0,) * channels, (1.0,) * channels)
        notes["normalisation"] = "assumed: ImageNet's" if channels == 3 else "assumed: none"
    model = MaskedAutoencoder.build(
        {
            "modality": {
                "kind": "image",
                "channels": channels,
                "size": list(size),
                "patch": ph if ph == pw else [ph, pw],
                "mean": [float(value) for value in mean],
                "std": [float(value) for value in std],
            },
            "encoder": encoder,
            "decoder": dict(decoder),
            "masking": {"strategy": details.strategy, "ratio": details.ratio},
            "objective": {"target": details.target, "reconstruction": 1.0},
            "provenance": notes,
        }
    )
    _load(model, tensors, complete)
    return model.eval()


def save_official(model: MaskedAutoencoder, path: str | Path) -> Path:
    """Writes ``path``, a ``.pth`` file that the official code loads."""
    path = Path(path)
    content = {"model": to_official(model), "maestro": asdict(details_of(model))}
    with replace_file(path) as staging:
        torch.save(content, staging)
    return path


def load_official(path: str | Path, **given: Any) -> MaskedAutoencoder:
    """The model of a ``.pth`` file; ``given`` are fields of ``Details`` that go before what the file says, None says nothing.

    Only tensors and plain values are read, nothing in the file is run. Raises ValueError for files with anything else in them.
    """
    path = Path(path)
    content = load_pickle_free(path)
    tensors = content.get("model", content)
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(
            f"{path} is no official MAE file: it holds {', '.join(map(str, content))[:200]}, not tensors by name"
        )
    known = {field.name for field in fields(Details)}
    said = _arguments(content.get("args"))
    said |= {key: value for key, value in dict(content.get("maestro") or {}).items() if key in known}
    said |= {key: value for key, value in given.items() if value is not None}
    try:
        return from_official(tensors, Details(**said))
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from problem


def load_pickle_free(path: Path) -> dict[str, Any]:
    """What ``torch.save`` wrote to ``path``: tensors, plain values and the ``argparse.Namespace`` of the official training checkpoints."""
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        struct.error,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as problem:
        raise ValueError(
            f"{path} is damaged, or holds more than tensors and plain values, which is left unread because it could run code. "
            'If you trust it, save its tensors alone where it was made: torch.save({"model": model.state_dict()}, path)'
        ) from problem
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not tensors by name")
    return content


def check_exportable(config: Mapping[str, Any], layout: str) -> None:
    """Raises ValueError where a model's config has parts that the foreign layouts cannot hold."""
    found = {
        "modality": config["modality"]["kind"],
        "encoder": config["encoder"]["kind"],
        "decoder": config["decoder"]["kind"],
        "target": config["objective"]["target"],
        "objective": " + ".join(sorted(set(config["objective"]) - {"target"})),
    }
    holds = {
        "modality": ("image",),
        "encoder": ("vit",),
        "decoder": ("joint",),
        "target": ("pixels", "norm_pixels"),
        "objective": ("reconstruction",),
    }
    for what, kind in found.items():
        if kind not in holds[what]:
            raise ValueError(
                f"the {layout} layout has no {what} {kind!r}, only {' or '.join(holds[what])}: export as native"
            )
    for option, plain in PLAIN.items():
        if config["encoder"].get(option, plain) != plain:
            raise ValueError(
                f"the {layout} layout has no encoder with {option} {config['encoder'][option]}, only {plain}: export as native"
            )
    for what in ("encoder", "decoder"):
        if config[what]["width"] % 4:
            raise ValueError(
                f"the {layout} layout needs widths that four divides, the {what}'s is {config[what]['width']}: export as native"
            )


def position_table(grid: tuple[int, int], width: int) -> Tensor:
    """(1, 1 + N, width): zeros for the global token, then the sin-cos positions of a grid, row by row."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    table = sincos(torch.stack([rows, columns], -1).view(-1, 2).float(), width)
    return torch.cat([torch.zeros(1, width), table]).unsqueeze(0)


def _size(table: Tensor, patch: tuple[int, int], size: Sequence[int] | None) -> tuple[int, int]:
    """(H, W) of the images, from the number of positions."""
    cells = table.shape[1] - 1
    if size is None:
        side = math.isqrt(cells)
        if side * side != cells:
            raise ValueError(f"pos_embed has {cells} places, which make no square: give the image size")
        return side * patch[0], side * patch[1]
    height, wide = size
    if (height // patch[0]) * (wide // patch[1]) != cells:
        raise ValueError(
            f"pos_embed has {cells} places, but {height}x{wide} pixels in patches of {patch[0]}x{patch[1]} make "
            f"{(height // patch[0]) * (wide // patch[1])}: give the size the model was trained at"
        )
    return height, wide


def _tower(
    tensors: Mapping[str, Tensor], start: str, width: int, heads: int | None, known: Mapping[int, int], key: str
) -> dict[str, Any]:
    """Width, depth, heads and MLP ratio of the blocks whose names begin with ``start``."""
    depth = 1 + max((int(name[len(start) :].split(".")[0]) for name in tensors if name.startswith(start)), default=-1)
    heads = heads or known.get(width) or (0 if depth else 1)
    if not heads:
        raise ValueError(
            f"the number of attention heads is not in the file, and width {width} is none of the known sizes "
            f"({', '.join(map(str, known))}): give {key}"
        )
    tower: dict[str, Any] = {"width": width, "depth": depth, "heads": heads}
    if depth:
        hidden = tensors[f"{start}0.mlp.fc1.weight"].shape[0]
        ratio = hidden / width
        tower["mlp_ratio"] = ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)
    return tower


def _load(model: MaskedAutoencoder, tensors: Mapping[str, Tensor], complete: bool) -> None:
    """Copies ``tensors`` into ``model`` after checking that each has its place and its shape, and that positions are ours."""
    places = to_official(model)
    if not complete:
        places = {name: value for name, value in places.items() if not name.startswith(("decoder_", "mask_token"))}
    missing, left = sorted(set(places) - set(tensors)), sorted(set(tensors) - set(places))
    if missing or left:
        hint = " (a fine-tuned classifier?)" if any(name.startswith(("head.", "fc_norm.")) for name in left) else ""
        raise ValueError(f"tensors missing: {_some(missing)}; left over: {_some(left)}{hint}")
    for name, place in places.items():
        if tensors[name].shape != place.shape:
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(place.shape)}")
    for name in TABLES:
        if name in places:
            _check_positions(name, tensors[name], places[name])
    state = model.state_dict()
    for name in state:
        if name.startswith("masker."):  # of files that name a learned mask, which they do not hold
            continue
        ours = next(start for start in NAMES if name.startswith(start))
        theirs = NAMES[ours] + name[len(ours) :]
        if theirs in places:
            value = tensors[theirs]
            state[name] = value.permute(0, 2, 3, 1).flatten(1).float() if theirs == PROJECTION else value.float()
    model.load_state_dict(state)


def _check_positions(name: str, table: Tensor, ours: Tensor) -> None:
    """Half-precision files are as far from the table as their rounding is."""
    gap = float((table.float() - ours).abs().max())
    if gap <= max(TOLERANCE, torch.finfo(table.dtype).eps):
        return
    if not table.any():
        raise ValueError(
            f"{name} is all zeros: these weights were trained without positions (models made from scratch by transformers 5.x are)"
        )
    raise ValueError(
        f"{name} differs from the fixed sin-cos positions by up to {gap:.2g}: learned or resized positions are not supported"
    )


def _arguments(args: Any) -> dict[str, Any]:
    """What the command line kept in an official training checkpoint says of the loss and the ratio."""
    found = vars(args) if isinstance(args, argparse.Namespace) else {}
    said: dict[str, Any] = {}
    if "norm_pix_loss" in found:
        said["target"] = "norm_pixels" if found["norm_pix_loss"] else "pixels"
    if "mask_ratio" in found:
        said["ratio"] = float(found["mask_ratio"])
    return said


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "none"
