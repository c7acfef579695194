"""Compiled blocks: on a GPU a long training of a large model is a quarter shorter for half a minute of compiling."""

from __future__ import annotations

import torch
from torch import nn

from mae_core.flops import train_flops
from mae_core.layers import Block
from mae_core.model import MaskedAutoencoder

CHOICES = ("auto", "always", "never")
WORTH = 2e17
"""FLOPs of a training, ten minutes of an H100: from there on ``auto`` compiles."""


def compiles(asked: str, model: MaskedAutoencoder, samples: int, device: torch.device) -> bool:
    """Whether blocks are compiled; ``samples`` are those of all steps. Raises ValueError for an unknown choice."""
    if asked not in CHOICES:
        raise ValueError(f"unknown choice {asked!r} for compiling: there are {', '.join(CHOICES)}")
    if asked != "auto":
        return asked == "always"
    return device.type == "cuda" and train_flops(model.config) * samples >= WORTH


def compile_blocks(model: nn.Module) -> None:
    """Each transformer block by itself: they are alike, so that few graphs are made. One that is compiled stays as it is."""
    for part in model.modules():
        if isinstance(part, Block) and part._compiled_call_impl is None:
            part.compile()
