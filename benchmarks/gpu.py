"""Training speed of ViT-B and ViT-L on one GPU: 224 px, 75 % hidden, fused AdamW, bf16 against TF32, visited in turn. Plain torch.

``python -m benchmarks.gpu`` first checks that the loss and the gradient on the GPU in bf16 are those of the CPU in float32, then
writes benchmarks/out/gpu.json. Where there is no GPU it says ``not run`` and ends well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.rows import Row, compare, publish
from mae_core.draws import Draws
from mae_core.flops import train_flops, utilisation
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, start
from mae_core.training.optim import set_lr
from mae_core.training.precision import Precision
from mae_core.training.state import TrainState

CLOSE = 0.01
"""Largest relative difference of loss and gradient norm between bf16 and float32: bf16 keeps 8 bits, and errors average out."""


class Size(NamedTuple):
    """An architecture of the MAE paper and the batch it is timed at."""

    width: int
    depth: int
    heads: int
    batch: int


SIZES = {"vit_b": Size(768, 12, 12, 256), "vit_l": Size(1024, 24, 16, 128)}
DECODER = {"kind": "joint", "width": 512, "depth": 8, "heads": 16}


class Timing(NamedTuple):
    """One variant, a figure per round."""

    ms: list[float]
    """Per step."""
    memory_gb: float
    """Most that was allocated at once."""


def config_of(size: Size, pixels: int = 224, patch: int = 16) -> dict[str, Any]:
    """The model as He et al. 2022 describe it (§4 and appendix)."""
    return {
        "modality": {"kind": "image", "channels": 3, "size": [pixels, pixels], "patch": patch},
        "encoder": {"kind": "vit", "width": size.width, "depth": size.depth, "heads": size.heads},
        "decoder": DECODER,
        "masking": {"strategy": "random", "ratio": 0.75},
        "objective": {"reconstruction": 1.0, "target": "norm_pixels"},
    }


def images(n: int, config: dict[str, Any]) -> Tensor:
    """(n, 3, H, W) uint8 noise, smoothed so that patches differ in mean and variance."""
    height, wide = config["modality"]["size"]
    coarse = torch.rand(n, 3, height // 8, wide // 8, generator=torch.Generator().manual_seed(0))
    return (255 * nn.functional.interpolate(coarse, (height, wide), mode="bilinear")).to(torch.uint8)


def loss_and_norm(model: MaskedAutoencoder, raw: Tensor, precision: Precision) -> tuple[float, float]:
    """Loss of a batch and the norm of its gradient."""
    model.zero_grad()
    with precision.autocast(raw.device):
        loss = model(raw, Draws(0, 0, torch.arange(len(raw), device=raw.device))).total
    loss.backward()
    grads = [parameter.grad.float().norm() for parameter in model.parameters() if parameter.grad is not None]
    return float(loss.detach()), float(torch.stack(grads).norm())


def check(name: str, config: dict[str, Any], device: torch.device, command: str, n: int = 8) -> Row:
    """The loss in bf16 on ``device`` beside that in float32 on the CPU. Raises RuntimeError where they are not close."""
    model, raw = MaskedAutoencoder.build(config, seed=0), images(n, config)
    expected = loss_and_norm(model, raw, Precision("fp32", "reference"))
    found = loss_and_norm(model.to(device), raw.to(device), Precision("bf16", "asked for"))
    for what, ours, theirs in zip(("loss", "gradient norm"), found, expected):
        if not abs(ours / theirs - 1) <= CLOSE:
            raise RuntimeError(
                f"{name}: the {what} is {ours:.5f} in bf16 on {device}, {theirs:.5f} in float32 on the CPU"
            )
    facts = {"gradient_norm_ratio": found[1] / expected[1]}
    return compare(f"{name}_loss_{device.type}_bf16_vs_cpu_fp32", [found[0]], [expected[0]], command, **facts)


def step_of(state: TrainState, raw: Tensor, precision: Precision) -> Callable[[], None]:
    """One training step on a batch that is on the device already."""
    ids = torch.arange(len(raw), device=raw.device)
    set_lr(state.optimizer, 1e-4)

    def step() -> None:
        with precision.autocast(raw.device):
            loss = state.model(raw, Draws(0, state.step, ids)).total
        loss.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1

    return step


def time_variants(
    variants: dict[str, Callable[[], None]], device: torch.device, steps: int, rounds: int
) -> dict[str, Timing]:
    """Visits the variants in turn, ``steps`` at a time, after one visit that warms up and measures memory."""
    cuda = device.type == "cuda"
    memory: dict[str, float] = {}
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, step in variants.items():
            if cuda:
                torch.cuda.reset_peak_memory_stats(device)
                torch.cuda.synchronize(device)
            begun = time.perf_counter()
            for _ in range(steps):
                step()
            if cuda:
                torch.cuda.synchronize(device)
            if number:
                found[name].append(1000 * (time.perf_counter() - begun) / steps)
            else:
                memory[name] = torch.cuda.max_memory_allocated(device) / 1e9 if cuda else float("nan")
    return {name: Timing(found[name], memory[name]) for name in variants}


def measure(
    name: str, size: Size, device: torch.device, steps: int, rounds: int, compiled: bool, command: str
) -> list[Row]:
    """The rows of one size: bf16 against TF32 and, where asked for, compiled blocks against eager ones, in ms a step."""
    config = config_of(size)
    settings = Settings(steps=1, batch_size=size.batch, lr=1e-4)
    raw = images(size.batch, config).to(device)
    eager = start(config, settings, device)
    variants = {
        "tf32": step_of(eager, raw, Precision("fp32", "baseline")),
        "bf16": step_of(eager, raw, Precision("bf16", "asked for")),
    }
    if compiled:
        fast = start(config, settings, device)
        for block in [*fast.model.encoder.blocks, *fast.model.decoder.blocks]:
            block.compile()
        variants["bf16_compiled"] = step_of(fast, raw, Precision("bf16", "asked for"))
    found = time_variants(variants, device, steps, rounds)
    pairs = [("bf16", "tf32"), *([("bf16_compiled", "bf16")] if compiled else [])]
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    rows = []
    for ours, baseline in pairs:
        rate = 1000 * size.batch / median(found[ours].ms)
        facts = {
            "images_per_s": rate,
            "mfu": utilisation(config, rate, card),
            "tflops_per_s": train_flops(config) * rate / 1e12,
            "memory_gb": found[ours].memory_gb,
            "batch": size.batch,
        }
        label = f"{name}_{ours}_vs_{baseline}_ms_per_step"
        rows.append(compare(label, found[ours].ms, found[baseline].ms, command, **facts))
    return rows


def main() -> None:
    """Measures, prints and writes; without a GPU it says so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--steps", type=int, default=10, help="in one visit")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also time compiled blocks")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("not run: no CUDA device")
        return
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda")
    options = f"--sizes {' '.join(given.sizes)} --steps {given.steps} --rounds {given.rounds}"
    command = f"python -m benchmarks.gpu {options}{' --compile' if given.compile else ''}"
    rows = []
    for name in given.sizes:
        rows.append(check(name, config_of(SIZES[name]), device, command))
        rows += measure(name, SIZES[name], device, given.steps, given.rounds, given.compile, command)
        torch.cuda.empty_cache()
    publish("gpu", rows)


if __name__ == "__main__":
    main()
