"""The loss curves that a change of code must not change: ``python tests/mae_core/training/golden.py`` writes golden.json again.

Do so only for a change that is meant to change the numbers, and say in its message why it does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mae_core.training.loop import Settings, fit, start

STEPS = 20
FILE = Path(__file__).with_name("golden.json")


def _config(channels: int, size: list[int], patch: int | list[int], **changes: Any) -> dict[str, Any]:
    return {
        "modality": {"kind": "image", "channels": channels, "size": size, "patch": patch},
        "encoder": {"kind": "vit", "width": 24, "depth": 2, "heads": 3},
        "decoder": {"kind": "joint", "width": 16, "depth": changes.get("decoder_depth", 1), "heads": 2},
        "masking": {"strategy": changes.get("strategy", "random"), "ratio": changes.get("ratio", 0.75)},
        "objective": {"reconstruction": 1.0, "target": changes.get("target", "pixels")},
    }


CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grey, random, pixels": (_config(1, [16, 16], 4), {}),
    "colour, block, normalised pixels, augmented": (
        _config(3, [12, 16], [3, 4], strategy="block", ratio=0.6, target="norm_pixels", decoder_depth=2),
        {"crop": 0.5, "flip": True, "micro_batch": 3},
    ),
    "grid, unlimited norm, no warm-up": (
        _config(1, [16, 16], 2, strategy="grid", decoder_depth=0),
        {"clip": 0.0, "warmup": 0.0, "weight_decay": 0.3, "betas": (0.8, 0.99)},
    ),
}
"""Name → model config, and what its settings change."""


def pictures(channels: int, height: int, width: int) -> np.ndarray:
    """(24, C, H, W) uint8 of waves, by integer arithmetic alone so that every machine makes the same."""
    n, c, y, x = np.ogrid[:24, :channels, :height, :width]
    return ((n * 37 + c * 11 + (y * (n % 5 + 1) + x * (n % 3 + 1)) * 9) % 256).astype(np.uint8)


def traces() -> dict[str, list[float]]:
    """The first 20 losses of every configuration, on the CPU in float32."""
    found = {}
    for name, (config, changes) in CONFIGS.items():
        settings = Settings(steps=STEPS, batch_size=8, lr=2e-3, precision="fp32", seed=3, **changes)
        samples = pictures(config["modality"]["channels"], *config["modality"]["size"])
        state = start(config, settings)
        found[name] = [progress.loss for progress in fit(state, samples, settings, report_every=1)]
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(traces(), indent=1) + "\n")
