"""Token targets: one of V classes for each hidden cell, by cross-entropy (Devlin et al. 2019, §3.1)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.cells import Belief, Cells, Plan
from mae_core.modalities.base import Modality
from mae_core.targets.pixels import Decoded, LinearHead


class Categorical(NamedTuple):
    """What a prediction says of each hidden cell."""

    logits: Tensor
    """(B, M, V), float32."""

    def mode(self) -> Tensor:
        """(B, M) long: the likeliest token."""
        return self.logits.argmax(-1)

    def log_prob(self, tokens: Tensor) -> Tensor:
        """(B, M) nats, of (B, M) tokens."""
        return -F.cross_entropy(self.logits.flatten(0, 1), tokens.flatten(), reduction="none").view_as(tokens)


class Tokens:
    """Which token it is. Losses are in nats a token."""

    def __init__(self, modality: Modality) -> None:
        self.log_shares = modality.get_buffer("log_shares")

    def head(self, width: int) -> nn.Module:
        """D_dec → V logits; the bias starts from the shares of tokens in train, so that learning starts from the trivial answer."""
        head = LinearHead(width, len(self.log_shares))
        with torch.no_grad():
            head.bias.copy_(self.log_shares)
        return head

    def target(self, cells: Cells, plan: Plan) -> Tensor:
        """(B, N) long."""
        return cells.values

    def cell_loss(self, prediction: Tensor, target: Tensor, plan: Plan) -> Tensor:
        """(B, M): the negative log-likelihood of each hidden token, in float32."""
        return -self.distribution(prediction).log_prob(target.gather(1, plan.hide))

    def distribution(self, prediction: Tensor) -> Categorical:
        """Of predictions (B, M, V)."""
        return Categorical(prediction.float())

    def decode(self, prediction: Tensor, cells: Cells, plan: Plan) -> Decoded:
        """The likeliest token of each hidden cell, (B, M, 1), and its probability."""
        said = self.distribution(prediction)
        best = said.mode()
        unsaid = torch.full_like(said.logits[..., 0], math.nan)
        belief = Belief(said.log_prob(best).exp(), unsaid, unsaid)
        return Decoded(best.unsqueeze(-1), used_true_statistics=False, belief=belief)
