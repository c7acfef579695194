"""The GPU benchmark's parts, on the CPU and small; without a GPU the command says so and ends well."""

import sys

import pytest
import torch

from benchmarks import gpu
from mae_core.training.loop import Settings, start
from mae_core.training.precision import Precision

SMALL = gpu.Size(16, 2, 2, 4)
CPU = torch.device("cpu")


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setattr(gpu, "DECODER", {"kind": "joint", "width": 16, "depth": 1, "heads": 2})
    return gpu.config_of(SMALL, pixels=32, patch=8)


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    gpu.main()
    assert capsys.readouterr().out == "not run: no CUDA device\n"


def test_the_sizes_are_those_of_the_paper():
    found = {name: gpu.config_of(size) for name, size in gpu.SIZES.items()}
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in gpu.MaskedAutoencoder(config).parameters()) / 1e6
            for name, config in found.items()
        }
    assert counts == pytest.approx({"vit_b": 111.7, "vit_l": 329.3}, rel=0.005)


def test_bf16_is_close_to_float32(config):
    row = gpu.check("small", config, CPU, "command")
    assert row.ratio == pytest.approx(1, abs=gpu.CLOSE)
    assert row.facts["gradient_norm_ratio"] == pytest.approx(1, abs=gpu.CLOSE)
    assert row.ours != row.baseline


def test_a_loss_that_is_not_close_is_an_error(config, monkeypatch):
    monkeypatch.setattr(gpu, "CLOSE", 0.0)
    with pytest.raises(RuntimeError, match=r"small: the loss is .* in bf16 on cpu"):
        gpu.check("small", config, CPU, "command")


def test_a_step_trains(config):
    state = start(config, Settings(steps=1, batch_size=4, lr=1e-4))
    raw = gpu.images(4, config)
    precision = Precision("fp32", "asked for")
    before = gpu.loss_and_norm(state.model, raw, precision)[0]
    step = gpu.step_of(state, raw, precision)
    for _ in range(30):
        step()
    assert state.step == 30 and gpu.loss_and_norm(state.model, raw, precision)[0] < before


def test_variants_are_visited_in_turn():
    seen = []
    variants = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    found = gpu.time_variants(variants, CPU, steps=2, rounds=3)
    assert "".join(seen) == "aabb" * 4
    assert {name: len(timing.ms) for name, timing in found.items()} == {"a": 3, "b": 3}
