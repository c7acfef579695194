"""The records that flow through everything.

Legend: B batch, N cells, V kept, M hidden, P values a cell, K axes, D width, G global tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae_core.draws import Draws


class Taught(NamedTuple):
    """What a teacher says of whole samples, nothing of it with a gradient; None where nobody asked for it."""

    latent: Tensor | None = None
    """(B, N, D): the features of each cell, from the averaged copy of the model."""
    features: Tensor | None = None
    """(B, N, D'): likewise, from a frozen model."""
    attention: Tensor | None = None
    """(B, N): how much the global token reads from each cell, a mean over heads."""
    difficulty: Tensor | None = None
    """(B, N): higher for cells that are expected to be reconstructed worse; on a scale of the sample's own, of each kind of its cells."""


class Cells(NamedTuple):
    """A batch cut into units that can be hidden."""

    values: Any
    """The modality's own: (B, N, P) floats for images. The core never looks inside."""
    coords: Tensor
    """(N, K) or (B, N, K) float: the place of each cell on its grid."""
    kind: Tensor | None = None
    """(N,) long: which modality a cell of a joint input belongs to."""
    valid: Tensor | None = None
    """(B, N) bool: False for padding or a value never observed; None = all valid."""
    group: Tensor | None = None
    """(B, N) long in 0..N − 1: cells of one number belong together, as letters of a word. For maskers alone: it depends on every cell."""
    gaps: Tensor | None = None
    """(K, N) bool: which cells some samples of the train split lack, for maskers that copy them; None = none is known."""
    time: int = -1
    """Which axis of ``coords`` runs in time, for maskers that follow it: the last, unless a modality says otherwise."""
    draws: Draws | None = None
    """What an encoder in training may draw from, to drop paths at random; None = nothing is dropped."""
    taught: Taught | None = None
    """What a teacher says of these cells, for targets that predict it."""


class Plan(NamedTuple):
    """Which cells the encoder sees and which are to be predicted."""

    keep: Tensor
    """(B, V) long."""
    hide: Tensor
    """(B, M) long, highest score first. V + M <= N, except in the plain autoencoder (ratio 0), where both hold every cell."""
    keep_ok: Tensor | None = None
    """(B, V) bool: False where a ragged batch was padded; None = all."""
    hide_ok: Tensor | None = None
    """(B, M) bool, likewise."""
    log_prob: Tensor | None = None
    """(B,), of a learned masker."""


class Context(NamedTuple):
    """What a masker may know beside the cells."""

    progress: float = 0.0
    """Share of the training done."""
    teacher: Any = None
    """What the teacher says of the batch, for maskers that are led by one."""
    details: dict[str, Tensor] | None = None
    """(B, N) float each, not negative: what the modality measures of cells, for maskers that name it in their ``details``."""
    embedding: Tensor | None = None
    """(B, N, D) of every cell, without gradient, for maskers that are ``learned``."""
    again: Tensor | None = None
    """(B, …): the raw samples, augmented a second time, for the view ``augmented``."""
    arm: int | None = None
    """Which of its kinds of mask a learned masker uses in this batch, in all views; None: it chooses by itself."""


class Scored(NamedTuple):
    """What a masker says of a batch: the cells of highest score are hidden."""

    scores: Tensor
    """(B, N) float."""
    logits: Tensor | None = None
    """(B, N) float, of a learned masker."""


class Latent(NamedTuple):
    """What an encoder makes of the cells it saw."""

    tokens: Tensor
    """(B, G + V, D), global tokens first."""
    pooled: Tensor
    """(B, D)."""
    maps: tuple[Tensor, ...] | None = None
    """Of convolutional encoders, for each stage (B, V, *sites of a cell, width): the feature map where cells are kept."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What others read, each once: the pooled vector and the last map are slices of the tokens."""
        return self.tokens, *(self.maps or ())[:-1]


class View(NamedTuple):
    """One masked look at a batch."""

    cells: Cells
    plan: Plan
    latent: Latent
    prediction: Any
    decoded: Tensor | None = None
    """(B, M, D_dec): what the decoder made of each hidden cell, before any head; None where nothing is predicted."""
    error: Tensor | None = None
    """(B, M), detached: how badly each hidden cell was reconstructed, for objectives that learn from it. Of joint samples only cells of
    one part compare: it is in the part's unit, and weighed as in the loss."""


class Summary(NamedTuple):
    """One vector for each sample of the global batch, for objectives that compare samples."""

    features: Tensor
    """(B, F) float32, of all workers; gradients reach those that made them."""
    ok: Tensor
    """(B,) bool: False for a sample of which the view shows nothing."""
    ids: Tensor
    """(B,) long: which sample each is."""

    @property
    def copies(self) -> Tensor:
        """(B, B) bool: pairs of rows that are one sample, which is in a batch twice where that reaches over the end of an epoch."""
        return (self.ids.unsqueeze(1) == self.ids).fill_diagonal_(False)


SHARE = 0.9
"""Of the probability of a number, that the interval of a ``Belief`` holds."""


class Belief(NamedTuple):
    """How sure a model is of what it fills in, of cells that are single values; NaN where it does not say."""

    probability: Tensor
    """(B, M) of hidden cells, or (B, N) of all: what it gives to the class that was filled in."""
    low: Tensor
    high: Tensor
    """Likewise, of numbers, in the units of decoded values: below, and above, a number is with probability (1 − ``SHARE``) / 2."""

    def of_all(self, plan: Plan, cells: int) -> Belief:
        """(B, M) → (B, N), N being ``cells``; NaN where nothing was predicted."""
        ok = torch.ones_like(plan.hide, dtype=torch.bool) if plan.hide_ok is None else plan.hide_ok
        nowhere = torch.full((len(plan.hide), cells + 1), math.nan, device=plan.hide.device)
        index = torch.where(ok, plan.hide, cells)
        return Belief(*(nowhere.scatter(1, index, one.float())[:, :cells] for one in self))

    def masked(self, where: Tensor) -> Belief:
        """Of all cells, (B, N): NaN but ``where``."""
        return Belief(*(one.masked_fill(~where, math.nan) for one in self))


class Terms(NamedTuple):
    """What an objective says of a batch."""

    total: Tensor
    """Scalar: the mean over this batch's valid hidden cells, weighted over the parts."""
    parts: dict[str, Tensor]
    """Each without its weight: means as ``total`` is one, but sums where ``counts`` names them."""
    per_cell: Tensor
    """(B, M): the reconstruction error of each hidden cell, detached."""
    hidden: Tensor | int
    """How many hidden cells ``total`` is a mean over: a plain int where it is known without asking the device."""
    counts: Mapping[str, Tensor] = MappingProxyType({})
    """Of the ``parts`` that see some of the hidden cells alone: how many. Sums and counts add up over passes and workers, means do not."""
    each: Mapping[str, Tensor] = MappingProxyType({})
    """By objective: what it adds to ``total``, where it was asked for."""
    latents: tuple[Tensor, ...] = ()
    """What the encoder gave to the objectives, likewise."""


def gather_cells(values: Tensor, index: Tensor) -> Tensor:
    """``values`` (B, N, P) at ``index`` (B, M) → (B, M, P)."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def pool_mean(tokens: Tensor, ok: Tensor | None) -> Tensor:
    """(B, T, D) → (B, D): the mean over tokens that are ok."""
    if ok is None:
        return tokens.mean(1)
    weights = ok.unsqueeze(-1).to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp_min(1)


def pool_stretches(tokens: Tensor, ok: Tensor | None, places: Tensor, stretches: int) -> Tensor:
    """(B, T, D) → (B, stretches · D): the mean over ok tokens of each equal stretch of time; 0 where one has none.

    ``places`` (T,) says when a token is, from 0 on. Where there are fewer moments than stretches, some tokens are in several.
    """
    moments = int(places.max()) + 1
    edges = torch.arange(stretches, device=tokens.device)
    first = edges * moments // stretches
    last = -(-(edges + 1) * moments // stretches)  # rounded up, so that none is empty
    within = ((places[:, None] >= first) & (places[:, None] < last)).to(tokens.dtype)
    weights = within.expand(len(tokens), -1, -1) if ok is None else within * ok.unsqueeze(-1).to(tokens.dtype)
    total = weights.sum(1).clamp_min(1).unsqueeze(-1)
    return (weights.transpose(1, 2) @ tokens / total).flatten(1)
