"""What stands between features and objectives that compare samples, so that features need not give up what these throw away."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mae_core.layers import init_linear


class Projector(nn.Module):
    """Linear, GELU, linear (Chen et al. 2020, SimCLR, §2.1); used in training alone.

    Args:
        width: D of the encoder.
        size: of the hidden layer and of what comes out.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, size), nn.Linear(size, size)
        init_linear(self)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, D) → (B, F)."""
        return self.fc2(F.gelu(self.fc1(pooled)))
