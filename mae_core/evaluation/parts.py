"""What one part of a joint sample says of another: features of parts encoded apart, retrieval, and parts drawn from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mae_core.cells import Plan
from mae_core.evaluation.features import Samples, extract
from mae_core.modalities.joint import JointModality
from mae_core.model import MaskedAutoencoder

BATCH = 256


@dataclass(frozen=True)
class OfPart:
    """Joint samples, each without all parts but ``name``: the others are taken away as they are read."""

    samples: Samples
    name: str
    modality: JointModality

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        return self.modality.only(torch.from_numpy(np.array(self.samples[rows])), self.name).numpy()


def encode_part(model: MaskedAutoencoder, samples: Samples, name: str, batch: int | None = None) -> np.ndarray:
    """(n, S) joint raw samples → (n, D) float32 features of the part ``name`` alone."""
    return extract(model, OfPart(samples, name, model.modality), batch, precision="fp32")


def ranks(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(n,) long: how many keys (n, D) are nearer to each query (n, D) by the cosine than its own, which has the same place; 0 is best.

    A key exactly as near as the own one counts as nearer, so that features that are all alike find nothing.
    """
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (queries, keys))
    likeness = a @ b.T
    return (likeness >= likeness.diagonal()[:, None]).sum(1) - 1


def recall(ranked: np.ndarray, k: int) -> np.ndarray:
    """(n,) 1.0 where the right one is among the first ``k``."""
    return (ranked < k).astype(float)


def plan_to_fill(model: MaskedAutoencoder, raw: Tensor, name: str, hidden: Tensor | None = None) -> Plan:
    """The plan that hides the part ``name`` of (B, S) samples, or those of its cells that ``hidden`` (B, cells of the part) marks, and
    keeps every other valid cell."""
    cells, layout = model.modality.split(raw), model.modality.layout
    number = layout.names.index(name)
    asked = (layout.kind == number).expand(len(raw), -1).clone()
    if hidden is not None:
        asked[:, layout.cells[number]] = hidden
    valid = cells.valid if cells.valid is not None else torch.ones_like(asked)
    return Plan(*_listed(valid & ~asked, valid & asked))


@torch.no_grad()
def fill_part(model: MaskedAutoencoder, samples: np.ndarray, name: str, batch: int = BATCH) -> np.ndarray:
    """(n, S) samples whose part ``name`` is drawn from the others; it may be missing. (n, …) raw samples of that part come back."""
    modality, found = model.modality, []
    number = modality.names.index(name)
    for at in range(0, len(samples), batch):
        raw = blanked(model, torch.from_numpy(np.array(samples[at : at + batch])), name)
        filled = model.reconstruct(raw, plan=plan_to_fill(model, raw, name)).filled
        found.append(modality.pull(filled, number))
    return torch.cat(found).numpy()


def blanked(model: MaskedAutoencoder, raw: Tensor, name: str) -> Tensor:
    """``raw`` whose part ``name`` holds zeros, so that there are cells to ask for whether or not it was there."""
    entries = model.modality.layout.entries[model.modality.names.index(name)]
    raw = raw.clone()
    raw[:, entries] = 0.0
    return raw


def _listed(keep: Tensor, hide: Tensor) -> Sequence[Tensor]:
    """Indices and validity of the marked cells of (B, N), as wide as the row that has most: ``Plan``'s first four fields."""
    found = [mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True) for mask in (keep, hide)]
    widths = [max(int(mask.sum(1).max()), 1) for mask in (keep, hide)]
    indices = [index[:, :width] for index, width in zip(found, widths)]
    oks = [mask.gather(1, index) for mask, index in zip((keep, hide), indices)]
    return [*indices, *oks]
