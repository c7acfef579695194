"""The training loop: a generator that trains and yields progress. The caller decides what to log, save or stop."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mae_core.cells import Context, Terms
from mae_core.data.augment import Augmentation
from mae_core.data.jpeg import JpegFiles
from mae_core.data.loader import Batch, Batches
from mae_core.data.shards import InMemory, Shards
from mae_core.draws import Draws
from mae_core.masking.ground import Ground
from mae_core.masking.making import looks_of
from mae_core.memory import AUTO, blocks_to_recompute, free_mb, largest_pass
from mae_core.model import MaskedAutoencoder
from mae_core.objectives.options import wanted
from mae_core.teacher import Frozen, Teacher, momentum_at
from mae_core.training.compiling import compile_blocks, compiles
from mae_core.training.graphs import Graphs, why_not
from mae_core.training.optim import set_lr
from mae_core.training.precision import Precision, choose_precision
from mae_core.training.progress import Clock, Progress, Said
from mae_core.training.schedule import lr_at
from mae_core.training.state import TrainState
from mae_core.training.watching import Watch
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
    """Largest number of samples in one forward pass of a worker; 0 = all at once, AUTO = what memory allows. Changes no
    results but those of objectives that compare samples, which see the samples of their own pass."""
    recompute: bool = False
    """Recompute activations in backward: less memory, about a third more time."""
    memory_budget_mb: float = 0.0
    """Of this worker: the estimate of ``memory`` is kept below it, by smaller passes where these are AUTO and else by recomputing as few
    blocks as that takes; 0 = unlimited, of AUTO what the GPU has."""
    crop: float = 1.0
    flip: bool = False
    color_jitter: float = 0.0
    """These three as of ``Augmentation``."""
    max_nonfinite: int = 10
    """Steps in a row that may be skipped for a loss or gradient that is not finite."""
    teacher_momentum: float = 0.996
    """What a teacher keeps of itself at the first step, where there is one."""
    teacher_momentum_end: float = 1.0
    """And at the last."""
    graphs: bool = True
    """Capture steps as CUDA graphs, where that can be done."""
    compiled: str = "auto"
    """Whether transformer blocks are compiled, as in ``compiling``."""
    log_grad_norms: bool = False
    """Report how hard each objective pulls at the encoder's output; at reports alone, each objective a backward pass more."""

    @property
    def augmentation(self) -> Augmentation:
        """How samples are changed."""
        return Augmentation(self.crop, self.flip, self.color_jitter)


class TrainingDiverged(RuntimeError):
    """Too many steps in a row without a finite gradient."""


def start(
    config: dict[str, Any],
    settings: Settings,
    device: torch.device | str = "cpu",
    world: World | None = None,
    features_from: str | Path | None = None,
) -> TrainState:
    """A fresh state: the model that ``config`` describes with the weights of ``settings.seed``, its optimiser, and its teachers.

    ``features_from`` is the folder of the frozen model, where a target asks for one; it may be left out by who does not train.
    """
    device = torch.device(device)
    model = MaskedAutoencoder.build(config, settings.seed).to(device)
    teacher = Teacher(model) if model.needs.copy else None
    frozen = None
    if model.needs.features and features_from is not None:
        frozen = Frozen(Path(features_from), config["objective"]["source"]["sha256"], model.modality.coords).to(device)
    shard(model, world or World(), device)
    if teacher is not None:
        shard(teacher, world or World(), device)
    return TrainState.fresh(model, settings.weight_decay, settings.betas, settings.ema > 0, teacher, frozen)


def fit(
    state: TrainState,
    samples: np.ndarray | JpegFiles | Shards | InMemory,
    settings: Settings,
    world: World | None = None,
    report_every: int = 50,
    labels: np.ndarray | None = None,
    watched: bool = True,
) -> Generator[Progress, None, None]:
    """Trains ``state`` in place from ``state.step`` to ``settings.steps``; yields after every ``report_every`` steps and at the end.

    Args:
        state: model, optimiser and step, on the device to train on; at a yield it may be saved, and later resumed exactly.
        samples: (n, …) raw samples, usually memory-mapped, in shards, or photographs that are decoded as they are read.
        world: this rank. Every draw depends on (seed, step, sample) and every loss on the global batch, so results do not depend on it.
        labels: (n,) of the samples, −1 where there is none; a probe looks at them while masks are learned, and nothing else does.
        watched: whether that probe is measured at reports.

    Raises TrainingDiverged after ``max_nonfinite`` skipped steps in a row, ValueError for settings that this model cannot be trained with.
    """
    if problem := state.model.modality.cannot_change(settings.augmentation):
        raise ValueError(problem)
    if settings.batch_size > len(samples) and (names := wanted(state.model.config["objective"]).opposing):
        raise ValueError(
            f"{names[0]} asks samples to differ, of which a batch of {settings.batch_size} has no more than the {len(samples)} of the "
            f"train split: lower pretrain.batch_size to {len(samples)} or less"
        )
    world = world or World()
    device = next(state.model.parameters()).device
    precision = choose_precision(settings.precision, device)
    rows = pass_size(state.model.config, settings, -(-settings.batch_size // world.size), device)
    settings = replace(settings, micro_batch=world.least(rows))  # from here on a number, the same on every rank
    watch = None
    if state.learner is not None:
        check_learner(state.learner, world)
        state.learner.prepare(Ground(samples, labels, state.taught, settings.micro_batch))
        watch = Watch(samples, labels) if watched else None
    with closing(Batches(samples, settings.batch_size, settings.seed, world, device)) as batches:
        yield from _train(state, batches, settings, world, precision, report_every, watch)


def _train(
    state: TrainState,
    batches: Batches,
    settings: Settings,
    world: World,
    precision: Precision,
    report_every: int,
    watch: Watch | None,
) -> Generator[Progress, None, None]:
    """The steps of ``fit``."""
    device, learner = batches.device, state.learner
    passes = world.passes(settings.batch_size, settings.micro_batch)
    state.model.recompute_activations(recomputed(state.model.config, settings, settings.micro_batch, passes, device))
    state.model.objectives.traced = settings.log_grad_norms
    state.model.train()
    if compiles(settings.compiled, state.model, settings.steps * settings.batch_size, device):
        compile_blocks(state.model)
    runner = replicate(state.model, world, device)
    backward = partial(_backward, runner, state, settings, world, precision)
    clip = settings.clip or float("inf")
    graphs = None
    if settings.graphs and not why_not(state.model, device, world.size, learner is not None):
        graphs = Graphs(state, clip, lambda batch, step: backward(batch, True, step))
    clock = Clock(settings.batch_size)
    bad_in_a_row = 0
    while state.step < settings.steps:
        lr = lr_at(state.step, settings.steps, settings.lr, settings.warmup)
        with clock.waiting():
            batch = batches(state.step)
        reports = (state.step + 1) % report_every == 0 or state.step + 1 == settings.steps
        if graphs is not None:
            share, norm = graphs(batch, lr, _ratio(state, settings, batch))
            finite = True  # as far as is known: a captured step leaves the weights alone where its gradient is not
            if reports:
                skipped, bad_in_a_row = graphs.bad_steps()
                state.nonfinite_steps += skipped
        else:
            share = backward(batch, reports)
            set_lr(state.optimizer, lr)
            # gradients are already averaged over the ranks, so every rank sees the same norm and takes the same branch
            norm = _whole(nn.utils.clip_grad_norm_(state.model.parameters(), clip))
            finite = bool(torch.isfinite(norm))
            if finite:
                state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            state.nonfinite_steps += not finite
            bad_in_a_row = 0 if finite else bad_in_a_row + 1
        if learner is not None:
            learner.learn(state.step, world, finite)
        if finite:
            state.update_ema(settings.ema)
            state.teach(
                momentum_at(state.step, settings.steps, settings.teacher_momentum, settings.teacher_momentum_end)
            )
        if bad_in_a_row > settings.max_nonfinite:
            raise TrainingDiverged(
                f"{bad_in_a_row} steps in a row up to step {state.step} had no finite gradient (lr {lr:.2g}, last samples "
                f"{batch.ids[:8].tolist()}…): lower pretrain.lr or set pretrain.precision to fp32"
            )
        state.step += 1
        if reports:
            masks = {} if watch is None else watch.says(state.model, learner.parts)
            said = _said(share, world)._replace(masks=masks)
            yield clock.progress(state, settings.steps, len(batches.samples), said, lr, float(norm))


class _Share(NamedTuple):
    """A rank's share of the global batch, detached: sums over the ranks are the whole."""

    loss: Tensor
    parts: dict[str, Tensor]
    counts: dict[str, Tensor]
    """Of parts that are not shares yet, but sums over so many cells."""
    pulls: dict[str, Tensor]
    """By objective, squared norms."""


def _said(share: _Share, world: World) -> Said:
    """Summed over the ranks, in one piece; a part that hid nothing in the whole batch is 0."""
    tensors = [share.loss, *share.parts.values(), *share.counts.values(), *share.pulls.values()]
    loss, *rest = world.sum(torch.stack(tensors)).tolist()
    told = iter(rest)
    parts, counts, pulls = (dict(zip(names, told)) for names in (share.parts, share.counts, share.pulls))
    parts |= {name: parts[name] / max(count, 1) for name, count in counts.items()}
    return Said(loss, parts, {name: pull**0.5 for name, pull in pulls.items()})


def pass_size(config: dict[str, Any], settings: Settings, share: int, device: torch.device) -> int:
    """Samples of a forward pass of a worker that has ``share`` of a step: what the settings say or, where they are AUTO, what fits."""
    if settings.micro_batch != AUTO:
        return min(settings.micro_batch or share, share)
    budget = settings.memory_budget_mb or free_mb(device)
    precision = choose_precision(settings.precision, device).name
    return largest_pass(config, share, budget, precision, device.type, settings.ema > 0, settings.recompute)


def recomputed(config: dict[str, Any], settings: Settings, rows: int, passes: int, device: torch.device) -> bool | int:
    """What is recomputed where a worker cuts its samples into ``passes`` of ``rows``: all blocks, or as few as the budget asks for."""
    precision = choose_precision(settings.precision, device).name
    passes *= looks_of(config["masking"])
    budget, ema = settings.memory_budget_mb, settings.ema > 0
    return settings.recompute or blocks_to_recompute(config, rows, budget, precision, device.type, ema, passes)


def _ratio(state: TrainState, settings: Settings, batch: Batch) -> float:
    """Of this step's masks."""
    return state.model.ratio_at(Draws(settings.seed, state.step, batch.ids), Context(state.step / settings.steps))


def _backward(
    runner: nn.Module,
    state: TrainState,
    settings: Settings,
    world: World,
    precision: Precision,
    batch: Batch,
    reports: bool,
    clock: Tensor | None = None,
) -> _Share:
    """Gradients of the global batch's mean loss; returns this rank's share of that mean, and of its parts where it ``reports``.

    Every pass is looked at under as many masks as the config says, drawn or planned by a learner of masks; their losses count alike.
    """
    learner, progress = state.learner, Context(state.step / settings.steps)
    looks = looks_of(state.model.config["masking"])
    rows = len(batch.ids)
    passes = world.passes(settings.batch_size, settings.micro_batch)
    total, counted = torch.zeros((), device=batch.raw.device), torch.zeros((), device=batch.raw.device)
    ragged, expected = False, 1
    parts: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    pulls: dict[str, Tensor] = {}
    for i in range(passes):
        part = slice(rows * i // passes, rows * (i + 1) // passes)
        draws = Draws(settings.seed, state.step, batch.named[part], clock)
        gather = partial(world.gather, rows=world.rows(settings.batch_size, i, passes))
        augment = partial(state.model.modality.augment, batch.raw[part], how=settings.augmentation)
        raw = augment(draws)
        again = augment(draws.apart("augmented")) if "augmented" in state.model.objectives.views else None
        waiting = getattr(runner, "no_sync", nullcontext)
        with precision.autocast(raw.device):
            context = progress._replace(teacher=state.taught(raw), again=again)
        for look in range(looks):
            led, plan = (context, None) if learner is None else learner.lead(raw, draws, context, look)
            with nullcontext() if (i, look) == (passes - 1, looks - 1) else waiting():
                with precision.autocast(raw.device):
                    terms = runner(raw, draws._replace(look=look), plan, led, gather)
                expected = settings.batch_size * looks * terms.per_cell.shape[1]
                weight = terms.hidden / expected
                share = terms.total * weight
                if reports:
                    _add(parts, {name: v if name in terms.counts else v * weight for name, v in terms.parts.items()})
                    _add(counts, {name: count.float() for name, count in terms.counts.items()})
                    _add(pulls, _pulls(terms, weight))
                (share * world.size).backward()  # the ranks' gradients are averaged, their losses are to be summed
            if plan is not None:
                learner.saw(plan, terms.per_cell)
            total += share.detach()
            if isinstance(terms.hidden, Tensor):
                ragged, counted = True, counted + terms.hidden
    if ragged:  # how many cells the whole batch hid is known only now
        correction = expected / world.sum(counted).clamp_min(1)
        for parameter in runner.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(correction)
        total = total * correction
        parts = {name: value if name in counts else value * correction for name, value in parts.items()}
        pulls = {name: value * correction**2 for name, value in pulls.items()}
    return _Share(total, parts, counts, pulls)


def _add(sums: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    for name, value in more.items():
        sums[name] = sums[name] + value if name in sums else value


def _pulls(terms: Terms, weight: Tensor | float) -> dict[str, Tensor]:
    """By objective: the squared norm of its gradient with respect to the encoder's output (Sener & Koltun 2018, §3.3), where asked for.

    That output is what all objectives have in common, so the norms compare; the encoder's own weights would cost a pass of it for each.
    """
    found = {}
    for name, term in terms.each.items():
        grads = torch.autograd.grad(term * weight, terms.latents, retain_graph=True, allow_unused=True)
        found[name] = sum((g.float().square().sum() for g in grads if g is not None), torch.zeros_like(terms.total))
    return found


def check_learner(learner: Any, world: World) -> None:
    """Raises ValueError where learned masks cannot be trained."""
    if world.strategy != "ddp":
        raise ValueError(f"learned masks do not train under {world.strategy}: set resources.strategy to ddp")


def _whole(norm: Any) -> Tensor:
    """The plain tensor of a norm that may be sharded."""
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
