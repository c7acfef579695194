"""What a training reports, and the clock that measures its steps between two reports."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from mae_core.training.state import TrainState


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
    parts: dict[str, float] = {}  # noqa: RUF012 - read, never written to
    """Of the loss, each without its weight."""
    grad_norms: dict[str, float] = {}  # noqa: RUF012
    """Of each objective with its weight, with respect to what the encoder gives; empty unless asked for."""
    masks: dict[str, float] = {}  # noqa: RUF012
    """What learned masks showed at the last step that taught them something, and a probe of the features now, by name."""

    def row(self) -> dict[str, Any]:
        """Everything as plain columns: a part is ``loss_of/<part>``, a norm ``grad_norm_of/<objective>``."""
        flat = {name: value for name, value in self._asdict().items() if not isinstance(value, dict)}
        flat |= {f"loss_of/{name}": value for name, value in self.parts.items()}
        flat |= {f"grad_norm_of/{name}": value for name, value in self.grad_norms.items()}
        return flat | self.masks


class Said(NamedTuple):
    """What is reported of the whole batch."""

    loss: float
    parts: dict[str, float]
    grad_norms: dict[str, float]
    masks: dict[str, float] = {}  # noqa: RUF012


class Clock:
    """Times steps between reports."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.since = time.perf_counter()
        self.waited = 0.0
        self.steps = 0

    def waiting(self) -> Clock:
        """To be entered around the wait for a step's samples."""
        return self

    def __enter__(self) -> None:
        self._entered = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.waited += time.perf_counter() - self._entered
        self.steps += 1

    def progress(self, state: TrainState, steps: int, n: int, said: Said, lr: float, norm: float) -> Progress:
        """A report after ``state.step`` of ``steps`` on ``n`` samples; the next one counts from here."""
        now = time.perf_counter()
        seconds = max(now - self.since, 1e-9)
        rate = self.steps * self.batch_size / seconds
        progress = Progress(
            step=state.step,
            steps=steps,
            samples=state.step * self.batch_size,
            epoch=state.step * self.batch_size / n,
            loss=said.loss,
            lr=lr,
            grad_norm=norm,
            nonfinite_steps=state.nonfinite_steps,
            samples_per_s=rate,
            data_wait=self.waited / seconds,
            eta_s=(steps - state.step) * self.batch_size / max(rate, 1e-9),
            parts=said.parts,
            grad_norms=said.grad_norms,
            masks=said.masks,
        )
        self.since, self.waited, self.steps = now, 0.0, 0
        return progress
