"""Filling in what is really missing: cells that were never observed are predicted from those that were."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mae_core.cells import Belief
from mae_core.masking.plan import plan_of
from mae_core.model import MaskedAutoencoder


class Imputed(NamedTuple):
    """Raw samples made whole."""

    filled: Tensor
    """As the samples were, with something in every entry that can be predicted."""
    missing: Tensor
    """Bool, like the samples: what was filled in."""
    belief: Belief | None
    """Of every cell, where the target says how sure it is."""


@torch.no_grad()
def impute(model: MaskedAutoencoder, raw: Tensor) -> Imputed:
    """Predicts what the modality calls ``lacking``; what is known comes back bit-equal.

    The encoder sees known cells alone. A cell of which a part is missing is hidden whole and predicted from the others; where there are
    several, every second one at a time, so that each is predicted from all that is whole and half of the rest.
    """
    modality = model.modality
    lacking = modality.lacking(raw)
    filled, missing = raw, torch.zeros(raw.shape, dtype=torch.bool, device=raw.device)
    belief: Belief | None = None
    if not lacking.any():
        return Imputed(filled, missing, belief)
    known = modality.split(raw).valid
    known = torch.ones_like(lacking) if known is None else known
    in_part = lacking & known
    second = (in_part.cumsum(1) % 2).bool()
    for asked in (lacking & ~known, in_part & second, in_part & ~second):
        if not asked.any():
            continue
        plan = plan_of(known & ~asked, asked)
        # a stand-in makes these cells predictable like any hidden one; hidden cells reach neither the encoder nor the prediction
        whole = modality.trivial(raw, raw.isnan())
        entries = modality.covers(whole, plan.hide, plan.hide_ok) & raw.isnan()
        made = model.reconstruct(torch.where(entries, whole, raw), plan=plan)
        filled, missing = torch.where(entries, made.filled, filled), missing | entries
        if made.belief is not None:
            said = made.belief if belief is None else belief
            belief = Belief(*(torch.where(asked, new, old) for new, old in zip(made.belief, said)))
    return Imputed(filled, missing, belief)
