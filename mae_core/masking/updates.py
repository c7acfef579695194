"""How rewards change a policy: what is minimised, for each pick of a drawn order. The one table of updates."""

from __future__ import annotations

import torch
from torch import Tensor

UPDATES = {
    "reinforce": "mae_core.masking.updates:Reinforce",
    "ppo": "mae_core.masking.updates:Ppo",
}


class Reinforce:
    """Picks of a mask that did better than its fellows become likelier (Williams 1992)."""

    epochs = 1
    """Steps of the policy for each step of the model."""

    def loss(self, picks: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
        """(B, M) from log-probabilities ``picks`` (B, M), those when they were drawn, and ``advantage`` (B, 1)."""
        return -advantage * picks


class Ppo:
    """Several steps on the same masks (Schulman et al. 2017, §3): a pick that has moved by a fifth as its reward wants pulls no further.

    That is no bound: other picks share the network, and may carry it beyond.
    """

    epochs = 4
    clip = 0.2

    def loss(self, picks: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
        """(B, M), as of ``Reinforce``."""
        ratio = (picks - old).exp()
        return -torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
