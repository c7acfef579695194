"""The forecast benchmark: baselines that are what they say, and a row for each of them."""

import math

import numpy as np
import torch

from benchmarks import forecast
from mae_core.model import MaskedAutoencoder

CONFIG = {
    "modality": {"kind": "series", "channels": 2, "length": 96, "patch": 8, "mean": [0.0, 5.0], "std": [1.0, 2.0]},
    "encoder": {"kind": "vit", "width": 16, "depth": 1, "heads": 2},
    "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
    "masking": {"strategy": "tail", "ratio": 0.25},
    "objective": {"reconstruction": 1.0, "target": "series"},
}


def waves(n: int, seed: int) -> np.ndarray:
    """(n, 2, 96): a daily wave of random phase and height, the second channel the first one again at another level."""
    generator = np.random.default_rng(seed)
    phase, height = generator.uniform(0, 2 * np.pi, (n, 1)), generator.uniform(0.5, 2, (n, 1))
    one = height * np.sin(2 * np.pi * np.arange(96) / forecast.DAY + phase)
    return np.stack([one, 5 + 2 * one], 1).astype(np.float32)


def test_the_season_is_repeated_and_gaps_fall_back():
    raw = torch.from_numpy(waves(3, 0))
    hidden = torch.zeros_like(raw, dtype=torch.bool)
    hidden[..., 48:] = True  # two days: the second repeats what the first was filled with
    filled = forecast.seasonal(raw, hidden, torch.full_like(raw, 9.0))
    assert torch.allclose(filled, raw, atol=1e-4)
    holed = raw.clone()
    holed[0, 0, 30] = math.nan
    filled = forecast.seasonal(holed, hidden, torch.full_like(raw, 9.0))
    assert filled[0, 0, 54] == 9.0 and torch.allclose(filled[1:], raw[1:], atol=1e-4)


def test_ridge_continues_waves_and_an_untrained_model_does_not():
    parts = {"train": waves(300, 1), "validation": waves(50, 2), "test": waves(40, 3)}
    model = MaskedAutoencoder.build(CONFIG)
    rows = {row.name: row for row in forecast.measure(model, parts, command="command")}
    assert set(rows) == {f"forecast_mse_vs_{name}" for name in ("mean_fill", "last_fill", "seasonal_naive", "ridge")}
    assert rows["forecast_mse_vs_seasonal_naive"].baseline < 1e-6
    assert rows["forecast_mse_vs_ridge"].baseline < 0.01 < rows["forecast_mse_vs_ridge"].ours
    assert rows["forecast_mse_vs_mean_fill"].baseline > 0.2
    assert all(row.n == 40 and row.low <= row.ratio <= row.high for row in rows.values())
