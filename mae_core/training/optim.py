"""AdamW with parameter groups that hold every parameter exactly once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NO_DECAY = ("global_token", "registers", "mask_token")
"""Parameters by last name that are not decayed, beside every vector (biases, norms): small, shared and not multiplied."""


def param_groups(
    model: nn.Module,
    weight_decay: float,
    layer_decay: float | None = None,
    layer_of: Callable[[str], int] | None = None,
    layers: int = 1,
) -> list[dict[str, Any]]:
    """Groups for an optimiser, each with ``weight_decay`` and ``lr_scale``, of every parameter that needs a gradient.

    With ``layer_decay`` the learning rate of layer l is scaled by ``layer_decay ** (layers - 1 - l)`` (Clark et al. 2020, ELECTRA; Bao et
    al. 2022, BEiT), where ``layer_of`` names each parameter's layer in 0..layers - 1. Raises ValueError where a layer is out of
    range, where a layer got no parameter, or where a parameter is in no group or in two.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    seen_layers = set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # learned masks, which are trained by themselves
            continue
        layer = 0 if layer_of is None else layer_of(name)
        if not 0 <= layer < layers:
            raise ValueError(f"parameter {name} was put in layer {layer}, outside 0..{layers - 1}")
        seen_layers.add(layer)
        exempt = parameter.ndim <= 1 or name.rsplit(".", 1)[-1] in NO_DECAY
        scale = 1.0 if layer_decay is None else layer_decay ** (layers - 1 - layer)
        groups.setdefault((0.0 if exempt else weight_decay, scale), []).append(parameter)
    if layer_decay is not None and seen_layers != set(range(layers)):
        raise ValueError(
            f"layers {sorted(set(range(layers)) - seen_layers)} hold no parameter: layer decay would be off"
        )
    grouped = [id(parameter) for members in groups.values() for parameter in members]
    if sorted(grouped) != sorted({id(parameter) for parameter in model.parameters() if parameter.requires_grad}):
        raise ValueError("a parameter is in no group, or in two")
    return [{"params": members, "weight_decay": decay, "lr_scale": scale} for (decay, scale), members in groups.items()]


def adamw(groups: list[dict[str, Any]], betas: tuple[float, float]) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov & Hutter 2019); the rate is set at every step by ``set_lr``."""
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Gives every group its share of ``lr``; rates that are tensors are filled, for a captured step reads them where they lie."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * group["lr_scale"])
        else:
            group["lr"] = lr * group["lr_scale"]
