"""CPU time of a training step, ours beside other people's: equal architecture, images, batch, optimiser and mask ratio.

``python -m benchmarks.step`` writes benchmarks/out/step.json. All contestants live in one process and are visited in turn, after a
visit that warms up; a figure is a step's process CPU time on one thread, or with ``--threads 2`` the wall clock. The anchor is
transformers' ViTMAE in float32 with eager attention. Rows keep apart what bf16 gives to everybody and what is ours.

A step: uint8 images → normalised → mask → loss → gradients → clipped → fused AdamW. Before it is timed, ViTMAE is given our weights and a
mask, and its loss has to be ours. Everybody's process keeps its memory, as a training by Ray Train here does (``benchmarks.allocator`` says
what that gives); ``--malloc as_it_is`` leaves it as it is. ``--official`` names a checkout of facebookresearch/mae to be timed as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.peers import NotHere, Peer, official, ours, vit_pytorch, vitmae
from benchmarks.rows import Row, compare, publish
from benchmarks.step_costs import encoder_rows, recompute_rows
from mae_core.flops import train_flops
from mae_core.masking.plan import plan_from_scores
from mae_core.model import MaskedAutoencoder
from mae_core.training.allocator import keep_pages
from mae_core.training.optim import adamw, param_groups, set_lr
from mae_core.training.precision import Precision

CLOSE = 1e-4
"""Largest difference of the loss of equal weights under an equal mask, in float32."""
PRECISIONS = ("fp32", "bf16")
LR, WEIGHT_DECAY, BETAS, CLIP = 1.5e-4, 0.05, (0.9, 0.95), 1.0
PAIRS = (
    ("ours_bf16", "vitmae_eager_fp32"),
    ("ours_fp32", "vitmae_eager_fp32"),
    ("vitmae_eager_bf16", "vitmae_eager_fp32"),
    ("ours_fp32", "vitmae_sdpa_fp32"),
    ("ours_bf16", "vitmae_eager_bf16"),
    ("ours_bf16", "vitmae_sdpa_bf16"),
    ("ours_alike_fp32", "vit_pytorch_fp32"),
    ("ours_alike_bf16", "vit_pytorch_bf16"),
    ("ours_bf16", "official_fp32"),
    ("ours_fp32", "official_fp32"),
    ("ours_bf16", "official_bf16"),
)
"""Who is compared with whom. ``ours_alike`` predicts plain pixels and has no global token, as vit-pytorch."""


class Shape(NamedTuple):
    """An architecture, and the batch it is timed at."""

    pixels: int
    patch: int
    encoder: tuple[int, int, int]
    """Width, depth, heads."""
    decoder: tuple[int, int, int]
    batch: int

    def config(self, target: str = "norm_pixels") -> dict[str, Any]:
        """What ``MaskedAutoencoder.build`` takes."""
        towers = {
            name: dict(zip(("width", "depth", "heads"), sizes))
            for name, sizes in (("encoder", self.encoder), ("decoder", self.decoder))
        }
        return {
            "modality": {
                "kind": "image",
                "channels": 3,
                "size": [self.pixels, self.pixels],
                "patch": self.patch,
                "mean": [0.5] * 3,
                "std": [0.25] * 3,
            },
            "encoder": {"kind": "vit", **towers["encoder"]},
            "decoder": {"kind": "joint", **towers["decoder"]},
            "masking": {"strategy": "random", "ratio": 0.75},
            "objective": {"reconstruction": 1.0, "target": target},
        }


SHAPES = {
    "a": Shape(32, 4, (192, 12, 3), (128, 2, 4), 256),
    "b": Shape(224, 16, (384, 12, 6), (256, 4, 8), 16),
}
"""ViT-Ti on small pictures, ViT-S on photographs."""


def images(shape: Shape, n: int) -> Tensor:
    """(n, 3, H, W) uint8 noise, smoothed so that patches differ in mean and variance."""
    coarse = torch.rand(n, 3, shape.pixels // 4, shape.pixels // 4, generator=torch.Generator().manual_seed(0))
    return (255 * nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")).to(torch.uint8)


def check(model: MaskedAutoencoder, theirs: Peer, raw: Tensor) -> None:
    """Raises RuntimeError where ViTMAE, with our weights, gives another loss than ours under the same mask."""
    noise = torch.rand(len(raw), model.modality.cells, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = float(model(raw, plan=plan_from_scores(noise, model.ratio)).total)
        expected = float(theirs.module(model.modality.scale(raw), noise=noise).loss)
    if not abs(found - expected) <= CLOSE:
        raise RuntimeError(
            f"the loss is {found:.6f} with ours and {expected:.6f} with ViTMAE: they do not compute the same"
        )


def alike(shape: Shape) -> dict[str, Any]:
    """Our config as near to vit-pytorch's network as it gets; it still has biases in q, k and v."""
    config = shape.config("pixels")
    return {**config, "encoder": {**config["encoder"], "global_token": False}}


def peers(shape: Shape, checkout: Path | None) -> Iterator[tuple[str, Peer]]:
    """Ours and theirs by name; says which cannot be run here, and why."""
    model = MaskedAutoencoder.build(shape.config())
    yield "ours", ours(shape.config())
    yield "ours_alike", ours(alike(shape))
    others: dict[str, Callable[[], Peer]] = {
        "vitmae_eager": partial(vitmae, model, "eager"),
        "vitmae_sdpa": partial(vitmae, model, "sdpa"),
        "vit_pytorch": partial(vit_pytorch, model),
    }
    if checkout is not None:
        others["official"] = partial(official, model, checkout)
    for name, build in others.items():
        try:
            peer = build()
        except NotHere as problem:
            print(f"not run: {name}: {problem}")
            continue
        if name.startswith("vitmae"):
            check(model, peer, images(shape, 4))
        yield name, peer


def step_of(peer: Peer, optimizer: torch.optim.Optimizer, raw: Tensor, precision: Precision) -> Callable[[], None]:
    """One training step on ``raw``."""
    numbers = count()

    def step() -> None:
        with precision.autocast(raw.device):
            loss = peer.loss(raw, next(numbers))
        loss.backward()
        nn.utils.clip_grad_norm_(peer.module.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def contestants(
    shape: Shape, checkout: Path | None, only: tuple[str, ...] = PRECISIONS
) -> dict[str, Callable[[], None]]:
    """A training step of everybody, in every precision; a peer's two precisions share weights and optimiser."""
    raw = images(shape, shape.batch)
    found = {}
    for name, peer in peers(shape, checkout):
        optimizer = adamw(param_groups(peer.module, WEIGHT_DECAY), BETAS)
        set_lr(optimizer, LR)
        for precision in only:
            found[f"{name}_{precision}"] = step_of(peer, optimizer, raw, Precision(precision, "asked for"))
    return found


def visit(variants: dict[str, Callable[[], None]], rounds: int, threads: int) -> dict[str, list[float]]:
    """Seconds of each variant in each round, visited in turn after one round that is not counted.

    Process CPU time on one thread, which other programs hardly change; wall clock on several.
    """
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, step in variants.items():
            begun = clock()
            step()
            if number:
                found[name].append(clock() - begun)
    return found


def rows_of(name: str, shape: Shape, seconds: dict[str, list[float]], threads: int, command: str) -> Iterator[Row]:
    """The comparisons of ``PAIRS`` that were run, and ours with the fastest of the others in bf16."""
    unit = "cpu_s_per_step" if threads == 1 else f"wall_s_per_step_{threads}_threads"
    flops = train_flops(shape.config()) * shape.batch
    for first, second in PAIRS:
        if first in seconds and second in seconds:
            row = compare(f"{name}_{first}_vs_{second}_{unit}", seconds[first], seconds[second], command)
            assert row.ratio is not None and row.baseline is not None
            yield row._replace(
                facts={
                    "times_as_fast": 1 / row.ratio,
                    "best_over_best": min(seconds[second]) / min(seconds[first]),
                    "images_per_s": shape.batch / row.ours,
                    "gflop_per_s": flops / row.ours / 1e9,
                }
            )


def measure(
    name: str, shape: Shape, rounds: int, threads: int, checkout: Path | None, command: str, only: tuple[str, ...]
) -> Iterator[Row]:
    """The rows of one shape."""
    yield from rows_of(name, shape, visit(contestants(shape, checkout, only), rounds, threads), threads, command)
    if "bf16" in only:
        precision = Precision("bf16", "asked for")
        raw = images(shape, shape.batch)
        time_them = partial(visit, rounds=rounds, threads=threads)
        yield from encoder_rows(name, shape.config(), raw, precision, time_them, command)
        yield from recompute_rows(name, shape.config(), raw, precision, time_them, command)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--malloc", choices=("kept", "as_it_is"), default="kept", help="for everybody")
    parser.add_argument("--official", type=Path, help="a checkout of facebookresearch/mae")
    given = parser.parse_args()
    kept = given.malloc == "kept" and keep_pages()
    command = (
        f"python -m benchmarks.step --shapes {' '.join(given.shapes)} --rounds {given.rounds} --threads {given.threads} "
        f"--malloc {'kept' if kept else 'as_it_is'}"
    )
    rows = [
        row
        for name in given.shapes
        for row in measure(
            name, SHAPES[name], given.rounds, given.threads, given.official, command, tuple(given.precisions)
        )
    ]
    publish("step" if given.threads == 1 else f"step_{given.threads}_threads", rows)


if __name__ == "__main__":
    main()
