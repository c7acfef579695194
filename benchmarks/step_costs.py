"""What hiding cells saves the encoder, and what recomputing activations costs and saves: rows of ``benchmarks.step``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.rows import Row, compare
from mae_core.draws import Draws
from mae_core.model import MaskedAutoencoder
from mae_core.training.precision import Precision

SAME = 1e-6
"""Largest difference of a gradient with and without recomputed activations, over the largest entry of its tensor."""

Timed = Callable[[dict[str, Callable[[], None]]], dict[str, list[float]]]
"""Steps by name → seconds by name, a figure a round."""


def encoder_rows(
    name: str, config: dict[str, Any], raw: Tensor, precision: Precision, timed: Timed, command: str
) -> Iterator[Row]:
    """Forward and backward pass of the encoder over a batch, at the config's ratio against every cell."""
    model = MaskedAutoencoder.build(config)
    plan = model.plan(raw, model.ratio, "random", seed=0)

    def passes(masked: bool) -> Callable[[], None]:
        def run() -> None:
            with precision.autocast(raw.device):
                latent = model.encoder(model.modality, model.modality.split(raw), plan if masked else None)
                loss = latent.pooled.float().square().mean()
            loss.backward()
            model.zero_grad(set_to_none=True)

        return run

    found = timed({"masked": passes(True), "whole": passes(False)})
    row = compare(f"{name}_encoder_75_hidden_vs_none_s_per_batch", found["masked"], found["whole"], command)
    assert row.ratio is not None
    yield row._replace(facts={"times_as_fast": 1 / row.ratio, "images_per_s": len(raw) / row.ours})


def recompute_rows(
    name: str, config: dict[str, Any], raw: Tensor, precision: Precision, timed: Timed, command: str
) -> Iterator[Row]:
    """Time and peak memory of a step that recomputes activations against one that keeps them.

    Gradients have their memory before the step, so that what is counted is what the pass keeps and works on.

    Raises RuntimeError where gradients differ.
    """
    model = MaskedAutoencoder.build(config)
    draws = Draws(0, 0, torch.arange(len(raw)))

    def passes(recompute: bool, some: Tensor = raw) -> Callable[[], None]:
        def run() -> None:
            model.recompute_activations(recompute)
            model.zero_grad(set_to_none=False)
            with precision.autocast(raw.device):
                loss = model(some, draws._replace(ids=draws.ids[: len(some)])).total
            loss.backward()

        return run

    off = worst(model, passes(True, raw[:4]), passes(False, raw[:4]))
    if not off <= SAME:
        raise RuntimeError(f"{name}: recomputed activations change a gradient by {off:.2g} of its largest entry")
    peaks = {which: peak_bytes(passes(which)) / 1e6 for which in (True, False)}
    found = timed({"recomputed": passes(True), "kept": passes(False)})
    yield compare(f"{name}_recomputed_vs_kept_s_per_step", found["recomputed"], found["kept"], command)
    label = f"{name}_recomputed_vs_kept_peak_mb"
    yield compare(label, [peaks[True]], [peaks[False]], command, gradients_differ_by=off)


def worst(model: MaskedAutoencoder, first: Callable[[], None], second: Callable[[], None]) -> float:
    """Largest difference of the gradients that two passes leave, each tensor's over its largest entry."""
    first()
    kept = [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()]
    second()
    pairs = [(a, p.grad) for a, p in zip(kept, model.parameters()) if a is not None and p.grad is not None]
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)


def peak_bytes(step: Callable[[], None]) -> float:
    """Most bytes that torch's allocator had given out at once during ``step``, over those it had given out before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        found.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    facts = [event["args"] for event in sorted(events, key=lambda e: e.get("ts", 0)) if event.get("name") == "[memory]"]
    if not facts:
        raise RuntimeError("the profiler told nothing of memory")
    before = facts[0]["Total Allocated"] - facts[0]["Bytes"]
    return max(fact["Total Allocated"] for fact in facts) - before
