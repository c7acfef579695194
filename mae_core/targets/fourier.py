"""Pixels compared as spectra, the worst frequencies weighted most (Jiang et al. 2021, Focal Frequency Loss; Xie et al. 2023, MFM, §3.3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mae_core.cells import Plan, gather_cells
from mae_core.targets.pixels import Pixels

POWER = 1.0
"""α of Jiang et al.: how strongly the weight follows the error; 0 would be the squared error of pixels."""


class Fourier(Pixels):
    """Predicts the cell's pixels; each cell's error is that of its own orthonormal Fourier transform, taken of each channel.

    The transform is taken inside a cell, not over the whole picture, so that a cell's loss depends on that cell alone. Unlike in focal
    frequency loss, where the largest weight of every channel is 1, it is that of all channels together: a channel that is predicted well
    weighs less.
    """

    takes = ()

    def __init__(self, modality: Any) -> None:
        if not hasattr(modality, "patch"):
            raise ValueError(f"target 'fourier' is for cells of pixels, not for {type(modality).__name__}")
        super().__init__(modality)
        self.shape: tuple[int, ...] = (*modality.patch, modality.channels)

    def cell_loss(self, prediction: Tensor, target: Tensor, plan: Plan) -> Tensor:
        """(B, M), float32: the mean over frequencies of w |ΔF|², w = |ΔF|^α over the cell's largest, without a gradient (Eq. 8, 9)."""
        difference = prediction.float() - gather_cells(target, plan.hide)
        axes = tuple(range(2, 1 + len(self.shape)))
        spectrum = torch.fft.fftn(difference.unflatten(-1, self.shape), dim=axes, norm="ortho").flatten(2)
        power = spectrum.real.square() + spectrum.imag.square()
        weight = power.detach() ** (POWER / 2)
        weight = weight / weight.amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return (weight * power).mean(-1)
