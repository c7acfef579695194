"""Reconstructions on a modality's fixed bank of masks, beside the fills that any model must beat."""

from __future__ import annotations

import numpy as np
import torch

from mae_core.modalities.base import Mask
from mae_core.model import MaskedAutoencoder


def fill_quality(model: MaskedAutoencoder, samples: np.ndarray, mask: Mask) -> dict[str, dict[str, np.ndarray]]:
    """Who fills the same holes how well: ``model`` and each of the modality's ``fills`` → measure → (n,) values.

    The mask of a sample of (n, …) raw ``samples`` depends on its place among them.
    """
    raw = torch.from_numpy(np.array(samples)).to(next(model.parameters()).device)
    made = model.eval().reconstruct(raw, mask.ratio, mask.strategy, mask.seed)
    filled = {"model": made.filled, **model.modality.fills(raw, made.hidden)}
    return {who: model.modality.quality(one, raw, made.hidden) for who, one in filled.items()}
