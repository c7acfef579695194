"""FLOPs as torch counts them, with the kernels that its counter does not know."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def attention_flops(q: Any, k: Any, *_: Any, **__: Any) -> int:
    """Of torch's fused kernel for CPUs: two products."""
    return 4 * q[0] * q[1] * q[2] * q[3] * k[2]


def counter() -> FlopCounterMode:
    """Counts what is computed while it is entered."""
    known = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}
    return FlopCounterMode(display=False, custom_mapping=known)
