"""The GPU benchmark's parts, on the CPU and small; without a GPU the command says so and ends well."""

import sys

import pytest
import torch

from benchmarks import gpu
from benchmarks.peers import Peer, ours
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
    exact, rounded = gpu.check("small", config, CPU, "command")
    assert exact.ratio == 1 == exact.facts["gradient_norm_ratio"]
    assert rounded.ratio == pytest.approx(1, abs=gpu.CLOSE["bf16"])
    assert rounded.facts["gradient_norm_ratio"] == pytest.approx(1, abs=gpu.CLOSE["bf16"])
    assert rounded.ours != rounded.baseline


def test_a_loss_that_is_not_close_is_an_error(config, monkeypatch):
    monkeypatch.setattr(gpu, "CLOSE", {"bf16": 0.0})
    with pytest.raises(RuntimeError, match=r"small: the loss is .* in bf16 on cpu"):
        gpu.check("small", config, CPU, "command")


def test_a_step_trains(config):
    peer, raw, precision = ours(config), gpu.images(4, config), Precision("fp32", "asked for")
    before = gpu.loss_and_norm(peer.module, raw, precision)[0]
    numbers = []
    step = gpu.step_of(
        Peer(peer.module, lambda raw, number: (numbers.append(number), peer.loss(raw, number))[1], peer.features), raw
    )
    for _ in range(30):
        step()
    assert numbers == list(range(30))
    assert gpu.loss_and_norm(peer.module, raw, precision)[0] < before


def test_everybody_is_measured_against_everybody_else(config, monkeypatch):
    monkeypatch.setattr(gpu, "config_of", lambda size: config)
    rows = gpu.measure("small", SMALL, CPU, steps=1, rounds=2, compiled=False, command="command")
    assert [row.name for row in rows] == [
        f"small_ours_vs_vitmae_{attention}_ms_per_step" for attention in ("eager", "sdpa")
    ]
    assert all(row.n == 2 and row.facts["images_per_s"] > 0 for row in rows)


def test_variants_are_visited_in_turn():
    seen = []
    variants = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    found = gpu.time_variants(variants, CPU, steps=2, rounds=3)
    assert "".join(seen) == "aabb" * 4
    assert {name: len(timing.ms) for name, timing in found.items()} == {"a": 3, "b": 3}
