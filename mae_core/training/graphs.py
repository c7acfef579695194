"""A training step as a CUDA graph: it is launched whole, so that a small model does not wait for Python, and nothing waits for the GPU.

What is captured is what ``fit`` does eagerly: forward, backward, clipping and AdamW, which leaves the weights alone where the gradient is
not finite. What changes from step to step lies in tensors that are filled before a replay: samples, ids, the step and the rate.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from mae_core.data.loader import Batch
from mae_core.model import MaskedAutoencoder
from mae_core.training.optim import set_lr
from mae_core.training.state import TrainState

WARM = 3
"""Steps of each shape that are run as they are: libraries and allocator set themselves up."""


Share = TypeVar("Share")


class Stepped(NamedTuple, Generic[Share]):
    """What a step leaves, on the device until somebody asks."""

    share: Share
    """What the backward pass returned."""
    norm: Tensor
    """() of the gradient, before clipping."""


class Graph(NamedTuple, Generic[Share]):
    """A captured step and where its outcome lies."""

    replay: Callable[[], None]
    stepped: Stepped[Share]


def why_not(model: MaskedAutoencoder, device: torch.device, workers: int, learned: bool) -> str:
    """What keeps steps from being captured; empty where nothing does. ``learned``: masks are trained beside the model."""
    if device.type != "cuda":
        return "there is no CUDA device"
    for what, found in (
        ("several workers exchange gradients", workers > 1),
        ("learned masks decide on the host", learned),
        ("masks follow the training's progress", getattr(model.masker, "taught", "") == "difficulty"),
        ("recomputing reads the state of generators", model.encoder.recompute + model.decoder.recompute > 0),
        ("gradient norms are traced", model.objectives.traced),
    ):
        if found:
            return what
    return ""


class Graphs(Generic[Share]):
    """The steps of one training, a graph for each mask ratio that is drawn.

    Args:
        state: model and optimiser, on a CUDA device; its learning rates become tensors.
        clip: largest gradient norm; infinite = unlimited.
        backward: (batch, clock) → anything; leaves the gradients of the batch, every draw made with ``clock``, and touches no generator.
    """

    def __init__(self, state: TrainState, clip: float, backward: Callable[[Batch, Tensor], Share]) -> None:
        self.state, self.clip, self.backward = state, clip, backward
        device = next(state.model.parameters()).device
        self.clock = torch.zeros((), dtype=torch.long, device=device)
        self.skipped, self.row, self.worst = (torch.zeros((), device=device) for _ in range(3))
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()
        self.batch: Batch | None = None
        self.warmed: dict[float, int] = {}
        self.graphs: dict[float, Graph[Share]] = {}
        self.refused = ""
        """What a step did that cannot be captured; then all go on as they are."""
        for group in state.optimizer.param_groups:
            group["capturable"] = True
            group["lr"] = torch.zeros((), device=device)

    def __call__(self, batch: Batch, lr: float, ratio: float) -> Stepped[Share]:
        """One step; ``ratio`` is that of its masks."""
        self.clock.fill_(self.state.step)
        set_lr(self.state.optimizer, lr)
        if self.batch is None:
            self.batch = Batch(*(value.clone() for value in batch))
        for own, new in zip(self.batch, batch):
            own.copy_(new)
        self.warmed[ratio] = self.warmed.get(ratio, 0) + 1
        if self.warmed[ratio] > WARM and ratio not in self.graphs and not self.refused:
            try:
                self.graphs[ratio] = self._capture()
            except RuntimeError as problem:
                self.refused = str(problem).partition("\n")[0]
                warnings.warn(f"steps are not captured as CUDA graphs: {self.refused}", stacklevel=2)
        graph = self.graphs.get(ratio)
        if graph is None or self.refused:
            return self._beside()
        graph.replay()
        return graph.stepped

    def bad_steps(self) -> tuple[int, int]:
        """Steps that were skipped since this was last asked, and the most in a row; waits for the GPU."""
        skipped, worst = int(self.skipped), int(self.worst)
        self.skipped.zero_()
        self.worst.copy_(self.row)
        return skipped, worst

    def _beside(self) -> Stepped[Share]:
        """As it is, on the stream that capturing wants."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a capturable optimiser runs outside of a graph
            found = self._step()
        torch.cuda.current_stream().wait_stream(self.stream)
        return found

    def _capture(self) -> Graph[Share]:
        self.state.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            found = self._step()
        return Graph(graph.replay, found)

    def _step(self) -> Stepped[Share]:
        assert self.batch is not None
        optimizer = self.state.optimizer
        optimizer.zero_grad(set_to_none=True)
        share = self.backward(self.batch, self.clock)
        norm = nn.utils.clip_grad_norm_(self.state.model.parameters(), self.clip)
        bad = (~torch.isfinite(norm)).float()
        optimizer.found_inf = bad  # type: ignore[attr-defined]  # as a gradient scaler tells fused optimisers to leave the weights
        optimizer.step()
        del optimizer.found_inf  # type: ignore[attr-defined]
        self.skipped.add_(bad)
        self.row.add_(1).mul_(bad)
        torch.maximum(self.worst, self.row, out=self.worst)
        return Stepped(share, norm)
