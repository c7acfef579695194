"""Other people's masked autoencoders at our settings: what ``benchmarks.step`` and ``benchmarks.accuracy`` compare with.

Weights are copied from ours where the architecture is the same, so that the same images under the same mask give the same loss. What
differs is said beside each peer.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mae_core.draws import Draws
from mae_core.interop import to_huggingface, to_official
from mae_core.layers import LAYER_NORM_EPS
from mae_core.model import MaskedAutoencoder

VIT_PYTORCH = "vit-pytorch==1.26.11"
PARTS_OF_VIT_PYTORCH = ("vit_pytorch/vit.py", "vit_pytorch/mae.py")
"""All that is loaded of the wheel: the package itself imports torchvision, which needs another torch."""


class NotHere(RuntimeError):
    """A peer that cannot be run on this machine; says what is missing."""


class Peer(NamedTuple):
    """A network and what is asked of it; raw batches are uint8 (B, C, H, W), and normalised as ours are."""

    module: nn.Module
    loss: Callable[[Tensor, int], Tensor]
    """(raw, step) → the mean error over hidden patches, under a mask that the peer draws."""
    features: Callable[[Tensor], Tensor]
    """raw → (B, D): the mean over all patches of unmasked images."""


def ours(config: dict[str, Any], seed: int = 0) -> Peer:
    """Our model of a config."""
    model = MaskedAutoencoder.build(config, seed)

    def loss(raw: Tensor, step: int) -> Tensor:
        return model(raw, Draws(seed, step, torch.arange(len(raw), device=raw.device))).total

    return Peer(model, loss, lambda raw: model.encode(raw, "mean"))


def vitmae(model: MaskedAutoencoder, attention: str) -> Peer:
    """transformers' ``ViTMAEForPreTraining`` with the weights of ``model``; ``attention`` is ``eager`` or ``sdpa``."""
    try:
        import transformers
    except ImportError as problem:
        raise NotHere(f"{problem}: pip install '.[bench]'") from problem
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        theirs = transformers.ViTMAEForPreTraining.from_pretrained(
            to_huggingface(model, folder), attn_implementation=attention
        )
    scale, ratio = model.modality.scale, theirs.config.mask_ratio

    def features(raw: Tensor) -> Tensor:
        theirs.config.mask_ratio = 0.0
        try:
            return theirs.vit(scale(raw)).last_hidden_state[:, 1:].mean(1)
        finally:
            theirs.config.mask_ratio = ratio

    return Peer(theirs.train(), lambda raw, step: theirs(scale(raw)).loss, features)


def vit_pytorch(model: MaskedAutoencoder, folder: Path = Path("downloads")) -> Peer:
    """``vit_pytorch.MAE`` of the shape of ``model``, freshly initialised.

    Differs from ours: no global token and plain pixels as the target, both of which ours can be given as well; no biases in q, k and v,
    layer norms around the patch projection, learned positions.
    """
    config = model.config
    encoder, decoder, modality = config["encoder"], config["decoder"], model.modality
    found = _vit_pytorch(folder)
    vit = found["vit"].ViT(
        image_size=modality.size,
        patch_size=modality.patch,
        num_classes=0,
        dim=encoder["width"],
        depth=encoder["depth"],
        heads=encoder["heads"],
        dim_head=encoder["width"] // encoder["heads"],
        mlp_dim=4 * encoder["width"],
        pool="mean",
        channels=modality.channels,
    )
    theirs = found["mae"].MAE(
        encoder=vit,
        decoder_dim=decoder["width"],
        masking_ratio=model.ratio,
        decoder_depth=decoder["depth"],
        decoder_heads=decoder["heads"],
        decoder_dim_head=decoder["width"] // decoder["heads"],
    )

    def features(raw: Tensor) -> Tensor:
        tokens = theirs.patch_to_emb(theirs.to_patch(modality.scale(raw)))
        return vit.transformer(tokens + vit.pos_embedding).mean(1)

    return Peer(theirs, lambda raw, step: theirs(modality.scale(raw)), features)


def official(model: MaskedAutoencoder, checkout: Path) -> Peer:
    """The paper's own code with the weights of ``model``, out of a checkout of facebookresearch/mae; timm has to be installed.

    Its ``models_mae.py`` is run as it is, but for what newer versions no longer know: ``np.float``, and timm's ``qk_scale``. timm's fused
    attention is off, as in the version that the checkout asks for.
    """
    module = _official_module(checkout)
    encoder, decoder, modality = model.config["encoder"], model.config["decoder"], model.modality
    if modality.channels != 3 or modality.size[0] != modality.size[1]:
        raise NotHere("the official code takes square images of 3 channels alone")
    theirs = module.MaskedAutoencoderViT(
        img_size=modality.size[0],
        patch_size=modality.patch[0],
        embed_dim=encoder["width"],
        depth=encoder["depth"],
        num_heads=encoder["heads"],
        decoder_embed_dim=decoder["width"],
        decoder_depth=decoder["depth"],
        decoder_num_heads=decoder["heads"],
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=LAYER_NORM_EPS),
        norm_pix_loss=model.config["objective"]["target"] == "norm_pixels",
    )
    theirs.load_state_dict(to_official(model))
    for part in theirs.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
    scale = model.modality.scale

    def features(raw: Tensor) -> Tensor:
        return theirs.forward_encoder(scale(raw), 0.0)[0][:, 1:].mean(1)

    return Peer(theirs, lambda raw, step: theirs(scale(raw), model.ratio)[0], features)


def _vit_pytorch(folder: Path) -> dict[str, types.ModuleType]:
    """Its two files by their names, out of the wheel in ``folder``, which pip brings there if need be."""
    if importlib.util.find_spec("einops") is None:
        raise NotHere("vit-pytorch needs einops: pip install '.[bench]'")
    name, _, version = VIT_PYTORCH.partition("==")
    wheel = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    if not wheel.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", VIT_PYTORCH, "-d", str(folder)]
        if subprocess.run(command).returncode:
            raise NotHere(f"{VIT_PYTORCH} could not be downloaded to {folder}")
    found: dict[str, types.ModuleType] = {}
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as unpacked:
        package = types.ModuleType("vit_pytorch")
        package.__path__ = [str(Path(unpacked) / "vit_pytorch")]
        sys.modules["vit_pytorch"] = package
        try:
            for part in PARTS_OF_VIT_PYTORCH:
                archive.extract(part, unpacked)
                module = part.removesuffix(".py").replace("/", ".")
                found[module.rpartition(".")[2]] = importlib.import_module(module)
        finally:
            for loaded in [one for one in sys.modules if one.split(".")[0] == "vit_pytorch"]:
                del sys.modules[loaded]
    return found


def _official_module(checkout: Path) -> types.ModuleType:
    """``models_mae`` of a checkout. Raises NotHere where it cannot be imported."""
    import numpy as np

    if not (checkout / "models_mae.py").is_file():
        raise NotHere(f"{checkout} holds no models_mae.py: name a checkout of facebookresearch/mae")
    sys.path.insert(0, str(checkout))
    if not hasattr(np, "float"):
        np.float = np.float64  # type: ignore[attr-defined]
    try:
        parts: Any = importlib.import_module("timm.models.vision_transformer")
        plain = parts.Block
        parts.Block = lambda *given, qk_scale=None, **named: plain(*given, **named)
        try:
            return importlib.import_module("models_mae")
        finally:
            parts.Block = plain
    except (ImportError, RuntimeError) as problem:
        raise NotHere(f"the official code cannot be imported ({problem}): install timm and torchvision") from problem
    finally:
        sys.path.remove(str(checkout))
