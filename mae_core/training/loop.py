"""The training loop: a generator that trains and yields progress. The caller decides what to log, save or stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.data.jpeg import JpegFiles
from mae_core.data.loader import Batch, Batches
from mae_core.draws import Draws
from mae_core.modalities.base import Modality
from mae_core.model import MaskedAutoencoder
from mae_core.training.optim import set_lr
from mae_core.training.precision import Precision, choose_precision
from mae_core.training.schedule import lr_at
from mae_core.training.state import TrainState
from mae_core.training.world import World, replicate, shard


@dataclass(frozen=True)
class Settings:
    """Everything that decides what is computed, beside the model and the data."""

    steps: int
    batch_size: int
    """Of all workers together."""
    lr: float
    """At the peak."""
    warmup: float = 0.07
    """Share of the steps."""
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    """Largest gradient norm; 0 = unlimited."""
    ema: float = 0.0
    """Decay of the averaged weights; 0 = none kept."""
    precision: str = "auto"
    seed: int = 0
    micro_batch: int = 0
    """Largest number of samples in one forward pass of a worker; 0 = all at once. Changes memory, not results."""
    recompute: bool = False
    """Recompute activations in backward: less memory, about a third more time."""
    crop: float = 1.0
    flip: bool = False
    max_nonfinite: int = 10
    """Steps in a row that may be skipped for a loss or gradient that is not finite."""


class Progress(NamedTuple):
    """Where the training is. Loss and norms are of the last step; rates are since the last report."""

    step: int
    steps: int
    samples: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    nonfinite_steps: int
    samples_per_s: float
    data_wait: float
    """Share of the time spent waiting for data, 0..1."""
    eta_s: float


class TrainingDiverged(RuntimeError):
    """Too many steps in a row without a finite gradient."""


def start(
    config: dict[str, Any], settings: Settings, device: torch.device | str = "cpu", world: World | None = None
) -> TrainState:
    """A fresh state: the model that ``config`` describes with the weights of ``settings.seed``, and its optimiser."""
    device = torch.device(device)
    model = MaskedAutoencoder.build(config, settings.seed).to(device)
    shard(model, world or World(), device)
    return TrainState.fresh(model, settings.weight_decay, settings.betas, ema=settings.ema > 0)


def fit(
    state: TrainState,
    samples: np.ndarray | JpegFiles,
    settings: Settings,
    world: World | None = None,
    report_every: int = 50,
) -> Iterator[Progress]:
    """Trains ``state`` in place from ``state.step`` to ``settings.steps``; yields after every ``report_every`` steps and at the end.

    Args:
        state: model, optimiser and step, on the device to train on; at a yield it may be saved, and later resumed exactly.
        samples: (n, …) raw samples, usually memory-mapped, or photographs that are decoded as they are read.
        world: this rank. Every draw depends on (seed, step, sample) and every loss on the global batch, so results do not depend on it.

    Raises TrainingDiverged after ``max_nonfinite`` skipped steps in a row.
    """
    world = world or World()
    device = next(state.model.parameters()).device
    precision = choose_precision(settings.precision, device)
    batches = Batches(samples, settings.batch_size, settings.seed, world, device)
    state.model.recompute_activations(settings.recompute)
    state.model.train()
    runner = replicate(state.model, world, device)
    clock = _Clock(settings.batch_size)
    bad_in_a_row = 0
    while state.step < settings.steps:
        lr = lr_at(state.step, settings.steps, settings.lr, settings.warmup)
        with clock.waiting():
            batch = batches(state.step)
        loss = _backward(runner, state.model.modality, batch, state.step, settings, world, precision)
        set_lr(state.optimizer, lr)
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip or float("inf"))
        norm = _whole(norm)
        # gradients are already averaged over the ranks, so every rank sees the same norm and takes the same branch
        if torch.isfinite(norm):
            state.optimizer.step()
            state.update_ema(settings.ema)
            bad_in_a_row = 0
        else:
            state.nonfinite_steps += 1
            bad_in_a_row += 1
            if bad_in_a_row > settings.max_nonfinite:
                raise TrainingDiverged(
                    f"{bad_in_a_row} steps in a row up to step {state.step} had no finite gradient (lr {lr:.2g}, last samples "
                    f"{batch.ids[:8].tolist()}…): lower pretrain.lr or set pretrain.precision to fp32"
                )
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        if state.step % report_every == 0 or state.step == settings.steps:
            yield clock.progress(state, settings, len(samples), float(world.sum(loss)), lr, float(norm))


def _backward(
    runner: nn.Module,
    modality: Modality,
    batch: Batch,
    step: int,
    settings: Settings,
    world: World,
    precision: Precision,
) -> Tensor:
    """Gradients of the global batch's mean loss; returns this rank's share of that mean, detached."""
    rows = len(batch.ids)
    passes = world.passes(settings.batch_size, settings.micro_batch)
    total, counted = torch.zeros((), device=batch.raw.device), torch.zeros((), device=batch.raw.device)
    ragged, expected = False, 1
    for i in range(passes):
        part = slice(rows * i // passes, rows * (i + 1) // passes)
        ids = batch.ids[part]
        draws = Draws(settings.seed, step, ids)
        raw = modality.augment(batch.raw[part], draws, settings.crop, settings.flip)
        waiting = getattr(runner, "no_sync", nullcontext)
        with nullcontext() if i == passes - 1 else waiting():
            with precision.autocast(raw.device):
                terms = runner(raw, draws)
            expected = settings.batch_size * terms.per_cell.shape[1]
            share = terms.total * (terms.hidden / expected)
            (share * world.size).backward()  # the ranks' gradients are averaged, their losses are to be summed
        total += share.detach()
        if isinstance(terms.hidden, Tensor):
            ragged, counted = True, counted + terms.hidden
    if ragged:  # how many cells the whole batch hid is known only now
        correction = expected / world.sum(counted).clamp_min(1)
        for parameter in runner.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(correction)
        total = total * correction
    return total


def _whole(norm: Any) -> Tensor:
    """The plain tensor of a norm that may be sharded."""
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


class _Clock:
    """Times steps between reports."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.since = time.perf_counter()
        self.waited = 0.0
        self.steps = 0

    def waiting(self) -> _Clock:
        return self

    def __enter__(self) -> None:
        self._entered = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.waited += time.perf_counter() - self._entered
        self.steps += 1

    def progress(self, state: TrainState, settings: Settings, n: int, loss: float, lr: float, norm: float) -> Progress:
        now = time.perf_counter()
        seconds = max(now - self.since, 1e-9)
        rate = self.steps * self.batch_size / seconds
        progress = Progress(
            step=state.step,
            steps=settings.steps,
            samples=state.step * self.batch_size,
            epoch=state.step * self.batch_size / n,
            loss=loss,
            lr=lr,
            grad_norm=norm,
            nonfinite_steps=state.nonfinite_steps,
            samples_per_s=rate,
            data_wait=self.waited / seconds,
            eta_s=(settings.steps - state.step) * self.batch_size / max(rate, 1e-9),
        )
        self.since, self.waited, self.steps = now, 0.0, 0
        return progress
