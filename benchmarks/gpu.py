"""Training speed of ViT-B and ViT-L on one GPU: 224 px, 75 % hidden, bf16, beside transformers' ViTMAE, visited in turn. Plain torch.

``python -m benchmarks.gpu`` first checks that the loss and the gradient on the GPU are those of the CPU in float32, then writes
benchmarks/out/gpu.json. Everybody has the same weights, images, batch, gradient clipping and fused AdamW. ViTMAE with eager attention
under autocast does what the official code does, operation for operation. Where there is no GPU it says ``not run`` and ends well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.peers import Peer, ours, vitmae
from benchmarks.rows import Row, compare, publish
from mae_core.draws import Draws
from mae_core.flops import train_flops, utilisation
from mae_core.model import MaskedAutoencoder
from mae_core.training.compiling import compile_blocks
from mae_core.training.loop import Settings, fit, start
from mae_core.training.optim import adamw, param_groups, set_lr
from mae_core.training.precision import Precision

CLOSE = {"fp32": 1e-4, "bf16": 0.01}
"""Largest relative difference of loss and gradient norm from float32 on the CPU: bf16 keeps 8 bits, and errors average out."""
LR, WEIGHT_DECAY, BETAS, CLIP = 1e-4, 0.05, (0.9, 0.95), 1.0


class Size(NamedTuple):
    """An architecture of the MAE paper and the batch it is timed at."""

    width: int
    depth: int
    heads: int
    batch: int


SIZES = {"vit_b": Size(768, 12, 12, 256), "vit_l": Size(1024, 24, 16, 256)}
DECODER = {"kind": "joint", "width": 512, "depth": 8, "heads": 16}


TINY = Size(192, 12, 3, 256)
"""ViT-Tiny on 32 pixels: so small that launching takes longer than computing."""


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


def check(name: str, config: dict[str, Any], device: torch.device, command: str, n: int = 8) -> list[Row]:
    """The loss on ``device`` beside that in float32 on the CPU, a row for each precision. Raises RuntimeError where they are not close."""
    model, raw = MaskedAutoencoder.build(config, seed=0), images(n, config)
    expected = loss_and_norm(model, raw, Precision("fp32", "reference"))
    model, raw, rows = model.to(device), raw.to(device), []
    for precision, close in CLOSE.items():
        found = loss_and_norm(model, raw, Precision(precision, "asked for"))
        for what, here, there in zip(("loss", "gradient norm"), found, expected):
            if not abs(here / there - 1) <= close:
                raise RuntimeError(
                    f"{name}: the {what} is {here:.5f} in {precision} on {device}, {there:.5f} in float32 on the CPU"
                )
        label = f"{name}_loss_{device.type}_{precision}_vs_cpu_fp32"
        facts = {"gradient_norm_ratio": found[1] / expected[1]}
        rows.append(compare(label, [found[0]], [expected[0]], command, **facts))
    return rows


def step_of(peer: Peer, raw: Tensor) -> Callable[[], None]:
    """One training step in bf16 on a batch that is on the device already."""
    optimizer = adamw(param_groups(peer.module, WEIGHT_DECAY), BETAS)
    set_lr(optimizer, LR)
    precision, number = Precision("bf16", "asked for"), 0

    def step() -> None:
        nonlocal number
        with precision.autocast(raw.device):
            loss = peer.loss(raw, number)
        loss.backward()
        nn.utils.clip_grad_norm_(peer.module.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        number += 1

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


def contestants(config: dict[str, Any], device: torch.device, compiled: bool) -> dict[str, Peer]:
    """Ours as it is and, where asked for, with its blocks compiled, then ViTMAE with either attention."""
    found = {"ours": ours(config)}
    if compiled:
        found["ours_compiled"] = ours(config)
        compile_blocks(found["ours_compiled"].module)
    model = MaskedAutoencoder.build(config, seed=0)
    found |= {f"vitmae_{attention}": vitmae(model, attention) for attention in ("eager", "sdpa")}
    for peer in (model, *(one.module for one in found.values())):
        peer.to(device)  # what scales a peer's images is the model's
    return found


def measure(
    name: str, size: Size, device: torch.device, steps: int, rounds: int, compiled: bool, command: str
) -> list[Row]:
    """The rows of one size in ms a step: each of ours against each other contestant."""
    config = config_of(size)
    raw = images(size.batch, config).to(device)
    peers = contestants(config, device, compiled)
    found = time_variants({peer: step_of(one, raw) for peer, one in peers.items()}, device, steps, rounds)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    rows = []
    for own in [peer for peer in peers if peer.startswith("ours")]:
        rate = 1000 * size.batch / median(found[own].ms)
        facts = {
            "images_per_s": rate,
            "mfu": utilisation(config, rate, card),
            "tflops_per_s": train_flops(config) * rate / 1e12,
            "memory_gb": found[own].memory_gb,
            "batch": size.batch,
        }
        for other in [peer for peer in peers if peer != own and not (own == "ours" and peer == "ours_compiled")]:
            label = f"{name}_{own}_vs_{other}_ms_per_step"
            both = facts | {"baseline_memory_gb": found[other].memory_gb}
            rows.append(compare(label, found[own].ms, found[other].ms, command, **both))
    return rows


def captured(device: torch.device, steps: int, rounds: int, command: str) -> list[Row]:
    """The whole training loop with captured steps beside the same without, on a small model: losses, then ms a step."""
    config = config_of(TINY, 32, 4) | {"decoder": DECODER | {"width": 96, "depth": 2, "heads": 3}}
    samples = images(2048, config).numpy()
    losses: dict[bool, list[float]] = {}
    ms: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds + 1):
        for graphs in ms:
            settings = Settings(steps=10 * steps, batch_size=TINY.batch, lr=1e-3, seed=number, graphs=graphs)
            state = start(config, settings, device)
            found = list(fit(state, samples, settings, report_every=2 * steps))
            if number:
                ms[graphs].append(1000 * TINY.batch / median(one.samples_per_s for one in found[1:]))
            else:
                losses[graphs] = [one.loss for one in found]
    return [
        compare("vit_tiny_32px_losses_captured_vs_eager", losses[True], losses[False], command),
        compare("vit_tiny_32px_captured_vs_eager_ms_per_step", ms[True], ms[False], command, batch=TINY.batch),
    ]


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
    device = torch.device("cuda")
    options = f"--sizes {' '.join(given.sizes)} --steps {given.steps} --rounds {given.rounds}"
    command = f"python -m benchmarks.gpu {options}{' --compile' if given.compile else ''}"
    rows = captured(device, given.steps, given.rounds, command)
    for name in given.sizes:
        rows += check(name, config_of(SIZES[name]), device, command)
        rows += measure(name, SIZES[name], device, given.steps, given.rounds, given.compile, command)
        torch.cuda.empty_cache()
    publish("gpu", rows)


if __name__ == "__main__":
    main()
