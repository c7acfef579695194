"""Reconstructions on a modality's fixed bank of masks, beside the fills that any model must beat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mae_core.cells import Plan
from mae_core.modalities.base import Mask
from mae_core.model import MaskedAutoencoder


def fill_quality(
    model: MaskedAutoencoder, samples: np.ndarray, mask: Mask, train: np.ndarray | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """Who fills the same holes how well: ``model`` and each of the modality's ``fills`` → measure → (n,) values.

    The mask of a sample of (n, …) raw ``samples`` depends on its place among them. With the raw samples of ``train`` fills that learn
    from it are there, too. Where the target is a likelihood, ``nll_hidden`` is the mean over a sample's hidden cells, in nats, beside that
    of the distribution of the train split that knows nothing of the sample (``marginal``).
    """
    raw = torch.from_numpy(np.array(samples)).to(next(model.parameters()).device)
    made = model.eval().reconstruct(raw, mask.ratio, mask.strategy, mask.seed)
    filled = {"model": made.filled, **model.modality.fills(raw, made.hidden)}
    if train is not None:
        filled |= model.modality.fills_from(raw, made.hidden, train)
    found = {who: model.modality.quality(one, raw, made.hidden) for who, one in filled.items()}
    if getattr(model.target, "likelihood", False):
        found["model"]["nll_hidden"], nats = _nats(model, raw, made.plan)
        found["marginal"] = {"nll_hidden": nats}
    return found


@torch.no_grad()
def _nats(model: MaskedAutoencoder, raw: Tensor, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """(n,) mean nats of a hidden cell: by the model, and by the target's distribution without any context."""
    cells = model.modality.split(raw)
    ok = torch.ones_like(plan.hide, dtype=torch.bool) if plan.hide_ok is None else plan.hide_ok
    target = model.target.target(cells, plan)
    both = model(raw, plan=plan).per_cell, model.target.marginal_loss(target, plan)
    said, marginal = ((torch.where(ok, nats, 0.0).sum(1) / ok.sum(1)).cpu().numpy() for nats in both)
    return said, marginal
