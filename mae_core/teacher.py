"""Who says what whole samples look like: an averaged copy of the model, or a frozen other one. Teachers see every cell and get no gradient.

The averaged copy is that of BYOL (Grill et al. 2020, §3.1); it lives in the training state, never in an exported model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import Cells, Taught
from mae_core.masking.plan import everything


class Needs(NamedTuple):
    """What targets and maskers of a model ask of its teachers."""

    latent: int = 0
    """Last blocks whose mean is the target ``latent``; 1, and any number of convolutional encoders: the encoder's output, after its last
    norm; 0: nobody asks for it."""
    attention: bool = False
    difficulty: bool = False
    features: bool = False
    """Asked of a frozen model; everything above of the averaged copy."""

    @property
    def copy(self) -> bool:
        """Whether an averaged copy is needed at all."""
        return bool(self.latent or self.attention or self.difficulty)


@torch.no_grad()
def teach(model: Any, cells: Cells, needs: Needs) -> Taught:
    """What ``model`` (a masked autoencoder, or a copy of its parts) says of whole samples.

    Latents are normalised over the features of each cell, without weights: of every block before the mean, and the mean again
    (Baevski et al. 2022, §3.3). Of a single one it is the encoder's output after its last norm (Assran et al. 2023, I-JEPA), normalised
    likewise. Rankings are made in float32, so that rounding does not decide what is hidden.
    """
    n = cells.coords.shape[-2]
    ranks = needs.attention or needs.difficulty
    device = cells.coords.device
    with torch.autocast(device.type, enabled=False) if ranks else nullcontext():
        with _watched(model.encoder, needs) as seen:
            latent = model.encoder(model.modality, cells, None)
        found = Taught()
        if needs.latent:
            found = found._replace(latent=_mean([x[:, -n:] for x in seen.blocks] or [latent.tokens[:, -n:]]))
        if needs.attention:
            found = found._replace(attention=seen.attention[0][:, -n:])
        if needs.difficulty:
            plan = everything(n, len(latent.tokens), cells.valid, device)
            decoded = model.decoder(latent, plan, cells.coords, cells.kind)
            found = found._replace(difficulty=model.objectives.heads["loss_ranking"](decoded, plan).squeeze(-1).float())
    return found


class Teacher(nn.Module):
    """A copy of the parts of a model that teach, moved towards the model after every step."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.needs: Needs = model.needs
        self.modality, self.encoder = deepcopy(model.modality), deepcopy(model.encoder)
        self.decoder = deepcopy(model.decoder) if self.needs.difficulty else None
        self.objectives = nn.Module()
        self.objectives.heads = nn.ModuleDict()
        if self.needs.difficulty:
            self.objectives.heads["loss_ranking"] = deepcopy(model.objectives.heads["loss_ranking"])
        self.requires_grad_(False).eval()

    def forward(self, cells: Cells) -> Taught:
        """What the copy says of ``cells``."""
        return teach(self, cells, self.needs)

    @torch.no_grad()
    def follow(self, model: nn.Module, momentum: float) -> None:
        """Keeps ``momentum`` of every parameter and takes the rest from ``model``; both may be sharded alike."""
        present = dict(model.named_parameters())
        for name, parameter in self.named_parameters():
            parameter.lerp_(present[name].detach(), 1 - momentum)


class Frozen(nn.Module):
    """A saved model whose features are a target.

    Args:
        folder: where it lies.
        sha256: of its weights, as the recipe's was resolved.
        coords: (N, K), of the model that learns from it.

    Raises ValueError where the folder holds another model, or one of other cells.
    """

    def __init__(self, folder: Path, sha256: str, coords: Tensor) -> None:
        from mae_core.model import MaskedAutoencoder

        super().__init__()
        if weights_sum(folder) != sha256:
            raise ValueError(f"{folder} holds other weights than when objective.features_from was resolved: start anew")
        model = MaskedAutoencoder.load(folder)
        if not torch.equal(model.modality.coords, coords.cpu()):
            raise ValueError(
                f"{folder} has {len(model.modality.coords)} cells in other places than this model's {len(coords)}: "
                "objective.features_from needs a model of the same modality, sample size and patch"
            )
        self.modality, self.encoder = model.modality, model.encoder
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, raw: Tensor) -> Tensor:
        """Raw samples → (B, N, D'), normalised over the features of each cell."""
        cells = self.modality.split(raw)
        return _mean([self.encoder(self.modality, cells, None).tokens[:, -cells.coords.shape[-2] :]])


def weights_sum(folder: Path) -> str:
    """The SHA-256 of a model folder's weights. Raises ValueError where there are none."""
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"{folder} is no model folder: model.safetensors is missing")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe(folder: Path, name: str) -> dict[str, Any]:
    """What a config says of a frozen model: its folder as the recipe calls it, the checksum of its weights, and D'."""
    from mae_core.model import read_config

    return {"folder": name, "sha256": weights_sum(folder), "width": int(read_config(folder)["encoder"]["width"])}


def momentum_at(step: int, steps: int, start: float, end: float) -> float:
    """The share of the teacher that ``step`` keeps, along a line (Assran et al. 2023, App. A)."""
    return start + (end - start) * step / max(steps, 1)


class _Seen(NamedTuple):
    blocks: list[Tensor]
    attention: list[Tensor]


@contextmanager
def _watched(encoder: Any, needs: Needs) -> Iterator[_Seen]:
    """What passes through the last blocks of ``encoder`` while the block runs."""
    seen, hooks = _Seen([], []), []
    compiled = any(getattr(block, "_compiled_call_impl", None) is not None for block in encoder.blocks)
    if needs.latent > 1 and not encoder.makes_maps:
        for block in encoder.blocks[-needs.latent :]:
            hooks.append(block.register_forward_hook(lambda _, inputs, output: seen.blocks.append(output)))
    if needs.attention:
        last = encoder.blocks[-1].attn
        hooks.append(
            last.register_forward_hook(
                lambda part, inputs, _: seen.attention.append(part.first_reads(inputs[0], inputs[1], inputs[3]))
            )
        )
    try:
        # a block that has been compiled calls no hook inside it
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _mean(layers: list[Tensor]) -> Tensor:
    """(B, N, D) float32: the mean of normalised layers, normalised."""
    each = [F.layer_norm(x.float(), x.shape[-1:]) for x in layers]
    return F.layer_norm(torch.stack(each).mean(0), each[0].shape[-1:])
