"""How much memory a training takes, before it runs, and how many blocks have to be recomputed to stay within a budget.

Weights and moments are counted; what is kept for backward is an estimate from the ``cost`` of the parts, in the manner of Chen et al.
2016: a block that is recomputed keeps its input alone until backward comes to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from mae_core.costs import Cost
from mae_core.flops import costs
from mae_core.masking.making import looks_of
from mae_core.masking.ratio import ratios_of
from mae_core.model import MaskedAutoencoder
from mae_core.objectives.options import wanted

FLOAT = 4
BYTES = {"fp32": 4.0, "bf16": 3.0}
"""Of a value kept for backward. In bf16 what matrix products take has two, the residual stream and the norms have four."""
WORKING = 0.5
"""Of what the last block keeps: what its backward works on."""
MB = 1e6
AUTO = -1
"""As a ``micro_batch``: what memory allows."""
GPU_SHARE = 0.8
"""Of a GPU's memory that nobody else has, what an estimate may fill."""


class Memory(NamedTuple):
    """Bytes of one worker that holds the whole model."""

    parameters: int
    gradients: int
    optimiser: int
    """Two moments of AdamW, and averaged weights where such are kept."""
    activations: int
    """What one forward pass keeps for backward, at the mask ratio that costs most, and what backward begins with."""
    again: int = 0
    """The most that is kept while a block is computed again; by then gradients of what lies behind it are there."""
    passes: int = 1
    """Forward passes of a step."""
    teachers: int = 0
    """Weights of an averaged copy, and of a frozen model, which is counted as one like the model's own."""
    masks: int = 0
    """Embeddings of all passes, which a policy of masks keeps until it learns from the step."""

    @property
    def total(self) -> int:
        """The most at once. In the first pass gradients come while activations go; in later ones they are there from the start."""
        kept = self.gradients + self.activations if self.passes > 1 else max(self.gradients, self.activations)
        held = self.parameters + self.optimiser + self.teachers + self.masks
        return held + max(kept, self.gradients + self.again)


def estimate(
    config: Mapping[str, Any],
    rows: int,
    precision: str = "fp32",
    recomputed: int = 0,
    device: str = "cpu",
    ema: bool = False,
    passes: int = 1,
) -> Memory:
    """Of training with so many samples in a forward pass.

    Args:
        rows: samples of a forward pass of one worker.
        precision: ``fp32`` or ``bf16``.
        recomputed: blocks that are recomputed, the encoder's first.
        device: where; on CPUs attention in bf16 keeps its weights.
        ema: whether averaged weights are kept.
        passes: forward passes of a step.
    """
    model = _on_paper(config)
    weights = FLOAT * _parameters(model)
    moments = weights * (3 if ema else 2)
    kept, again = _activations(config, rows, precision, recomputed, device)
    needs, encoder = model.needs, FLOAT * (_parameters(model.modality) + _parameters(model.encoder))
    teachers = encoder * (needs.copy + needs.features) + FLOAT * _parameters(model.decoder) * needs.difficulty
    learned = getattr(model.masker, "learned", False) and model.ratio > 0
    embedding = FLOAT * model.modality.coords.shape[-2] * model.encoder.width * learned
    return Memory(weights, weights, moments, kept, again, passes, teachers, rows * passes * embedding)


def blocks_to_recompute(
    config: Mapping[str, Any],
    rows: int,
    budget_mb: float,
    precision: str = "fp32",
    device: str = "cpu",
    ema: bool = False,
    passes: int = 1,
) -> int:
    """The fewest blocks whose recomputing brings the estimate under ``budget_mb`` million bytes; 0 where the budget is 0.

    Raises ValueError where recomputing all of them is not enough.
    """
    if not budget_mb:
        return 0
    parts = costs(config, _dearest(config))
    most = len(parts.encoder.blocks) + len(parts.decoder.blocks)
    found = estimate(config, rows, precision, 0, device, ema, passes)
    for count in range(most + 1):
        kept, again = _activations(config, rows, precision, count, device)
        needed = found._replace(activations=kept, again=again).total / MB
        if needed <= budget_mb:
            return count
    raise ValueError(
        f"a forward pass of {rows} samples takes about {needed:.0f} MB with all of {most} blocks recomputed, the budget is "
        f"{budget_mb:.0f} MB: lower pretrain.micro_batch, or raise pretrain.memory_budget_mb"
    )


def largest_pass(
    config: Mapping[str, Any],
    share: int,
    budget_mb: float,
    precision: str = "fp32",
    device: str = "cpu",
    ema: bool = False,
    recompute: bool = False,
) -> int:
    """The most samples of a forward pass with which the estimate is under ``budget_mb``: ``share``, or the larger part of an even cut.

    1 where nothing fits, so that recomputing is left to help. Raises ValueError where an objective compares the samples of a pass.
    """
    check_pass(config)
    looks, parts = looks_of(config["masking"]), costs(config, _dearest(config))
    recomputed = len(parts.encoder.blocks) + len(parts.decoder.blocks) - 1 if recompute else 0
    whole = estimate(config, share, precision, recomputed, device, ema, looks)
    for cuts in range(1, share + 1):
        rows = -(-share // cuts)
        kept, again = (value * rows // share for value in (whole.activations, whole.again))
        if whole._replace(activations=kept, again=again, passes=cuts * looks).total <= budget_mb * MB:
            return rows
    return 1


def check_pass(config: Mapping[str, Any]) -> None:
    """Raises ValueError where results depend on which samples share a forward pass, so that memory must not decide it."""
    if names := wanted(config["objective"]).comparing:
        raise ValueError(
            f"pretrain.micro_batch auto: {names[0]} compares the samples of a forward pass, so their number must not depend on memory: "
            "write it, or 0"
        )


def free_mb(device: torch.device) -> float:
    """Million bytes that this process may have of a GPU; infinite elsewhere."""
    if device.type != "cuda":
        return math.inf
    return GPU_SHARE * (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)) / MB


def _activations(config: Mapping[str, Any], rows: int, precision: str, recomputed: int, device: str) -> tuple[int, int]:
    """Bytes of what is kept for backward when it begins, and the most when it comes to a block that is computed again."""
    plain = precision == "bf16" and device == "cpu"
    parts = costs(config, _dearest(config), plain)
    blocks = (*parts.encoder.blocks, *parts.decoder.blocks)
    of_encoder = len(parts.encoder.blocks)
    kept, worst = parts.encoder.saved, 0.0
    for i, block in enumerate(blocks):
        kept += parts.decoder.saved if i == of_encoder else 0.0
        # backward comes to a recomputed block when everything behind it has been let go
        worst = max(worst, kept + block.entering + block.saved if i < recomputed else 0.0)
        kept += block.entering if i < recomputed else block.saved
    # where backward begins it holds gradients of the widest of about four tensors that the last block keeps
    kept += blocks[-1].saved * WORKING if blocks else 0.0
    kept += sum(_saved(look, recomputed) for look in parts.beside)
    kept += parts.head.saved + parts.projector.saved + (parts.decoder.saved if len(blocks) == of_encoder else 0.0)
    # the masked view comes first and the others one after another: backward goes through the last of them while all else is held
    worst = max([worst, *(kept + block.saved for look in parts.beside for block in look.blocks[:recomputed])])
    each = rows * BYTES[precision]
    return int(each * kept), int(each * worst)


def _dearest(config: Mapping[str, Any]) -> float:
    """The mask ratio, of those that training draws, whose forward pass costs most."""
    ratios = (ratio for _, ratio in ratios_of(config["masking"]).shares())
    return max(ratios, key=lambda ratio: sum(_saved(part) for part in costs(config, ratio).each))


def _saved(cost: Cost, recomputed: int = 0) -> float:
    again, rest = cost.blocks[:recomputed], cost.blocks[recomputed:]
    return cost.saved + sum(block.entering for block in again) + sum(block.saved for block in rest)


def _on_paper(config: Mapping[str, Any]) -> MaskedAutoencoder:
    """The model, without memory for its parameters."""
    with torch.device("meta"):
        return MaskedAutoencoder.build(config)


def _parameters(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())
