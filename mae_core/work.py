"""What a training step does, counted while one runs: calls, matrix products, bytes that other operations move, and the memory held.

Counts are of operations as torch carries them out, backward and optimiser included, so they hold for every modality, network and
objective alike. They are made at two small batches; all are straight lines in the number of samples, so they tell those of any batch.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mae_core.data.jpeg import JpegFiles
from mae_core.draws import Draws
from mae_core.flops import train_flops
from mae_core.training.loop import Settings, fit, pass_size, recomputed, start
from mae_core.training.world import World

LARGEST_STEP = 4e9
"""FLOPs of the larger batch that is counted: a fraction of a second."""
LOOKS = 64
"""Moments of a training, evenly apart, whose mask ratios stand for all of them."""
ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"


class Work(NamedTuple):
    """Of one step, or a mean over steps."""

    calls: float
    """Operations that compute something."""
    views: float
    """Operations that look at the same memory in another way."""
    low_flops: float
    """FLOPs of products in 16 bits; a multiply-add counts two."""
    full_flops: float
    """FLOPs of products in 32 bits."""
    product_bytes: float
    """Read and written by products."""
    curved: float
    """Values that GELU, softmax, exponentials and logarithms make."""
    picked_bytes: float
    """Read and written where indices or masks say which values."""
    plain_bytes: float
    """Read and written by everything else."""

    def line(self, other: Work, at: float) -> Work:
        """The straight line through this work (at 0) and another (at 1)."""
        return Work(*(max(a + (b - a) * at, 0.0) for a, b in zip(self, other)))


class Counted(NamedTuple):
    """A training, before it runs."""

    work: Work
    """Of a step, the mean over the mask ratios that the training draws."""
    peak_bytes: float
    """The most that tensors hold at once: weights, moments, gradients, activations."""
    state_bytes: float
    """What tensors hold between two steps: weights and moments."""


CURVED = ("gelu", "softmax", "exp", "log", "erf", "sigmoid", "tanh", "sin", "cos", "pow")
PICKED = ("gather", "index", "scatter", "embedding", "sort", "topk", "masked_fill", "where", "cumsum")
"""Words in the names of operations."""


class Counting(TorchDispatchMode):
    """While it is entered, every operation of torch in this thread is counted, and so is the memory of tensors made from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.found = dict.fromkeys(Work._fields, 0.0)
        self.held: list[int] = []
        """Bytes that tensors held after each operation."""
        self.live = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the operation and counts it."""
        made = func(*args, **(kwargs or {}))
        kind = _kind(func)
        if kind == "views":
            self.found["views"] += 1
        else:
            outputs = list(_tensors((made,)))
            for value in outputs:
                self._hold(value)
            self._count(kind, func, args, kwargs or {}, made, outputs)
        self.held.append(self.live)
        return made

    def take(self) -> tuple[Work, np.ndarray]:
        """What was counted since this was last asked for, and the bytes held after each operation."""
        work, held = Work(**self.found), np.array(self.held)
        self.found, self.held = dict.fromkeys(Work._fields, 0.0), []
        return work, held

    def _count(self, kind: str, func: Any, args: Any, kwargs: Any, made: Any, outputs: list[Tensor]) -> None:
        self.found["calls"] += 1
        if kind == "curved":
            self.found["curved"] += sum(value.numel() for value in outputs)
            return
        inputs = [*_tensors(args), *_tensors(kwargs.values())]
        moved = sum(value.numel() * value.element_size() for value in (*inputs, *outputs))
        if kind == "product":
            low = any(value.dtype in (torch.bfloat16, torch.float16) for value in inputs)
            self.found["low_flops" if low else "full_flops"] += _flops(func, args, kwargs, made)
            self.found["product_bytes"] += moved
        else:
            self.found[kind] += moved

    def _hold(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        if storage not in self._known:
            self._known.add(storage)
            size = storage.nbytes()
            self.live += size
            weakref.finalize(storage, self._let_go, size)

    def _let_go(self, size: int) -> None:
        self.live -= size


@cache
def _kind(func: Any) -> str:
    """Which count an operation belongs to: a field of ``Work``, or ``product``."""
    name = func.__name__
    if func.is_view or name.startswith(("_unsafe_view", "detach", "_reshape_alias", "lift")):
        return "views"
    if name.startswith(ATTENTION) or func._overloadpacket in flop_registry:
        return "product"
    if any(word in name for word in CURVED):
        return "curved"
    return "picked_bytes" if any(word in name for word in PICKED) else "plain_bytes"


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments or results, and in their lists."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _flops(func: Any, args: Any, kwargs: Any, made: Any) -> float:
    """FLOPs of matrix products, convolutions and fused attention."""
    name = func.__name__
    if name.startswith(ATTENTION):
        backward = "backward" in name
        query, keys = args[backward], args[1 + backward]
        return (10.0 if backward else 4.0) * prod(query.shape) * keys.shape[-2]
    if name.startswith("convolution_backward"):  # torch's own count of it forgets the groups of the weight's gradient
        grown, weight, wanted = args[0], args[2], args[10]
        return 2.0 * grown.numel() * weight[0].numel() * sum(wanted[:2])
    return float(flop_registry[func._overloadpacket](*args, **kwargs, out_val=made))


def count(
    config: dict[str, Any],
    settings: Settings,
    samples: np.ndarray | JpegFiles,
    workers: int = 1,
    labels: np.ndarray | None = None,
    features_from: str | None = None,
) -> Counted:
    """What a step of this training does in one of ``workers`` processes on a CPU. Trains two small copies for a few steps.

    The optimiser counts with each pass of a step that ``micro_batch`` cuts into several.
    """
    share = -(-settings.batch_size // workers)
    rows = pass_size(config, settings, share, torch.device("cpu"))
    passes = -(-share // rows)
    large = int(min(max(LARGEST_STEP // train_flops(config, share), 4), max(rows, 2)))
    small = max(large // 2, 1)
    settings = replace(settings, log_grad_norms=False)
    # of the batch that is trained, not of the small one
    blocks = recomputed(config, settings, rows, passes, torch.device("cpu"))
    few, many = (_looks(config, settings, samples, n, blocks, labels, features_from) for n in (small, large))
    at = (rows - small) / (large - small)
    weights = [look.weight for look in many]
    works = [a.work.line(b.work, at) for a, b in zip(few, many)]
    mean = Work(*(float(np.average(values, weights=weights)) * passes for values in zip(*works)))
    peak = max(_peak(a.held, b.held, at) for a, b in zip(few, many))
    return Counted(mean, peak, float(many[0].held[0]))


class _Look(NamedTuple):
    """At one step."""

    weight: float
    """How many of the ``LOOKS`` moments have its mask ratio, times the share of such steps among those of that ratio."""
    work: Work
    held: np.ndarray


def _looks(
    config: dict[str, Any],
    settings: Settings,
    samples: np.ndarray | JpegFiles,
    rows: int,
    blocks: bool | int,
    labels: np.ndarray | None,
    features_from: str | None,
) -> list[_Look]:
    """A step of ``rows`` samples at each mask ratio that the training has."""
    small = replace(settings, batch_size=rows, micro_batch=0, memory_budget_mb=0.0)
    counting = Counting()
    with counting:
        state = start(config, small, features_from=features_from)
        learner, arms_have_ratios = state.learner, bool(getattr(state.model.masker, "ratios", ()))
        moments = {0: 1} if arms_have_ratios else dict(_moments(state.model.ratios, small))
        cases = [(1.0, None)] if learner is None else learner.cases()
        small = replace(small, steps=max(small.steps, max(moments) + 2))
        run = fit(state, samples, small, World(), 1, labels, watched=False)
        _hold(learner, cases[-1][1])
        next(run)  # the optimisers make their moments
        state.model.recompute_activations(blocks)
        found = []
        for (share, case), (step, times) in product(cases, moments.items()):
            _hold(learner, case)
            state.step = step
            counting.take()
            next(run)
            found.append(_Look(share * times, *counting.take()))
        run.close()
    return found


def _hold(learner: Any, case: Any) -> None:
    """Whatever would be drawn, a learner of masks takes that ``case``."""
    if learner is not None:
        learner.held = case


def _moments(ratios: Any, settings: Settings) -> Iterator[tuple[int, int]]:
    """A step for each mask ratio that is drawn at ``LOOKS`` moments of the training, and at how many of them it is."""
    steps = sorted({settings.steps * k // LOOKS for k in range(LOOKS)})
    drawn = {step: ratios.at(Draws(settings.seed, step, torch.zeros(0)), step / settings.steps) for step in steps}
    counts = Counter(drawn.values())
    for ratio, weight in counts.items():
        yield next(step for step, found in drawn.items() if found == ratio), weight


def _peak(few: np.ndarray, many: np.ndarray, at: float) -> float:
    """The most held after any operation, each on its own line where both batches took the same ones."""
    if len(few) != len(many):
        return float(few.max() + (many.max() - few.max()) * at)
    return float((few + (many - few) * at).max())
