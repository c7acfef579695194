"""Frozen features: each sample is seen whole, once, and its vector is shared by every probe."""

from __future__ import annotations

import numpy as np
import torch

from mae_core.model import MaskedAutoencoder

BATCH = 512


@torch.inference_mode()
def extract(model: MaskedAutoencoder, samples: np.ndarray, batch: int = BATCH, pool: str = "mean") -> np.ndarray:
    """(n, C, H, W) uint8, usually memory-mapped → (n, D) float32, read ``batch`` samples at a time.

    Nothing is masked and nothing is drawn, so features depend on weights and samples alone. float32 throughout: on the sizes trained
    on CPUs bf16 saves no time here, and probes are to see the same numbers on every machine. ``pool`` is that of ``encode``.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    blocks = [
        model.encode(torch.from_numpy(np.array(samples[start : start + batch])).to(device), pool).float().cpu().numpy()
        for start in range(0, len(samples), batch)
    ]
    model.train(training)
    if not blocks:
        return np.zeros((0, model.config["encoder"]["width"]), np.float32)
    return np.concatenate(blocks)


def pixels(samples: np.ndarray) -> np.ndarray:
    """(n, C, H, W) uint8 → (n, C · H · W) float32 in 0..1: the features of no model at all."""
    return np.asarray(samples).reshape(len(samples), -1).astype(np.float32) / 255
