"""Which number format a machine should train in, and why."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch

CHOICES = ("auto", "bf16", "fp32")


class Precision(NamedTuple):
    """A resolved precision."""

    name: str
    reason: str

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Runs matrix products in this precision; weights, loss and optimiser state stay float32."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)


def choose_precision(asked: str, device: torch.device) -> Precision:
    """``auto`` takes bf16 where the hardware multiplies it natively, else fp32."""
    if asked not in CHOICES:
        raise ValueError(f"unknown precision {asked!r}: there are {', '.join(CHOICES)}")
    if asked != "auto":
        return Precision(asked, "asked for")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bf16", "this GPU multiplies bf16 natively")
        return Precision("fp32", "this GPU has no native bf16")
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    units = [unit for unit in ("amx_bf16", "avx512_bf16") if found.get(unit)]
    if units:
        return Precision("bf16", f"this CPU has {' and '.join(units)}")
    return Precision("fp32", "this CPU has no bf16 units, where bf16 would be slower")
