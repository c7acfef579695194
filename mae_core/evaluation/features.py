"""Frozen features: each sample is seen whole, once, and its vector is shared by every probe."""

from __future__ import annotations

import numpy as np
import torch

from mae_core.model import MaskedAutoencoder
from mae_core.training.precision import choose_precision

BATCH = 512


# no_grad and not inference_mode: the encoder remembers its table of positions, and an inference tensor could not be trained with later
@torch.no_grad()
def extract(
    model: MaskedAutoencoder, samples: np.ndarray, batch: int = BATCH, pool: str = "mean", precision: str = "auto"
) -> np.ndarray:
    """(n, C, H, W) uint8, usually memory-mapped → (n, D) float32, read ``batch`` samples at a time.

    Nothing is masked and nothing is drawn, so features depend on weights and samples alone. ``pool`` is that of ``encode``,
    ``precision`` that of training: where the hardware multiplies bf16, ``auto`` halves the time and moves features by about 1 %.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    blocks = []
    with choose_precision(precision, device).autocast(device):
        for start in range(0, len(samples), batch):
            raw = torch.from_numpy(np.array(samples[start : start + batch])).to(device)
            blocks.append(model.encode(raw, pool).float().cpu().numpy())
    model.train(training)
    if not blocks:
        return np.zeros((0, model.config["encoder"]["width"]), np.float32)
    return np.concatenate(blocks)
