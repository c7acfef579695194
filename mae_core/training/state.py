"""What a training run is at one step, and how it is saved so that it can go on exactly: safetensors and JSON, written atomically."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mae_core.atomic import replace_folder
from mae_core.cells import Taught
from mae_core.model import MaskedAutoencoder
from mae_core.teacher import Frozen, Teacher
from mae_core.training.optim import adamw, param_groups
from mae_core.training.schedule import averaging_at

SCHEMA = 1
META = {"schema", "step", "nonfinite_steps", "fingerprint", "sha256"}
KEEP = 2
"""Checkpoints kept; an older one is there in case the newest is damaged."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be resumed from."""


class TrainState:
    """Model, optimiser, averaged weights, teachers and step. Random draws need no state: they are functions of (seed, step, sample)."""

    def __init__(
        self,
        model: MaskedAutoencoder,
        optimizer: torch.optim.Optimizer,
        ema: dict[str, Tensor] | None,
        teacher: Teacher | None = None,
        frozen: Frozen | None = None,
    ) -> None:
        self.model, self.optimizer, self.ema = model, optimizer, ema
        self.teacher, self.frozen = teacher, frozen
        learns = hasattr(model.masker, "learner") and model.ratio > 0
        self.learner: Any = model.masker.learner(model) if learns else None
        """What trains the model's masks, where they are learned."""
        self.step = 0
        self.nonfinite_steps = 0

    @classmethod
    def fresh(
        cls,
        model: MaskedAutoencoder,
        weight_decay: float,
        betas: tuple[float, float],
        ema: bool,
        teacher: Teacher | None = None,
        frozen: Frozen | None = None,
    ) -> TrainState:
        """Step 0 of ``model``."""
        averaged = {n: p.detach().clone() for n, p in model.named_parameters()} if ema else None
        return cls(model, adamw(param_groups(model, weight_decay), betas), averaged, teacher, frozen)

    def taught(self, raw: Tensor) -> Taught | None:
        """What the teachers say of raw samples; None where there are none."""
        if self.teacher is None and self.frozen is None:
            return None
        said = Taught() if self.teacher is None else self.teacher(self.model.modality.split(raw))
        return said if self.frozen is None else said._replace(features=self.frozen(raw))

    def teach(self, momentum: float) -> None:
        """The averaged teacher keeps ``momentum`` of itself and takes the rest from the model."""
        if self.teacher is not None:
            self.teacher.follow(self.model, momentum)

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """Moves the averaged weights towards the present ones."""
        if self.ema is None:
            return
        kept = averaging_at(self.step, decay)
        for name, parameter in self.model.named_parameters():
            self.ema[name].lerp_(parameter.detach(), 1 - kept)

    def optimizer_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """Learned masks have their own."""
        learned = self.learner is not None and any(parameter is own for own in self.learner.parameters)
        return self.learner.optimizer if learned else self.optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Everything as whole CPU tensors by name. Every rank of a sharded model must call it."""
        found = {}
        for name, parameter in self.model.named_parameters():
            found[f"model.{name}"] = _whole(parameter)
            for key, value in self.optimizer_of(parameter).state.get(parameter, {}).items():
                found[f"optimizer.{key}.{name}"] = _whole(value)
            if self.ema is not None:
                found[f"ema.{name}"] = _whole(self.ema[name])
        for name, parameter in self._taught_parameters():
            found[f"teacher.{name}"] = _whole(parameter)
        return found

    def _taught_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return iter(()) if self.teacher is None else self.teacher.named_parameters()

    @torch.no_grad()
    def load_tensors(self, saved: dict[str, Tensor]) -> None:
        """The inverse of ``tensors``, into a model that may be spread otherwise than the saved one."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(_like(saved[f"model.{name}"], parameter))
            moments = {key: saved[f"optimizer.{key}.{name}"] for key in _moments(saved, name)}
            self.optimizer_of(parameter).state[parameter] = {
                key: value.to(parameter.device, copy=True) if value.ndim == 0 else _like(value, parameter)
                for key, value in moments.items()
            }
            if self.ema is not None:
                self.ema[name] = _like(saved[f"ema.{name}"], parameter)
        for name, parameter in self._taught_parameters():
            parameter.copy_(_like(saved[f"teacher.{name}"], parameter))

    @torch.no_grad()
    def load_model(self, saved: dict[str, Tensor]) -> None:
        """Weights of a whole model, by name, into one that may be sharded; averaged weights and the teacher start from them too."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(_like(saved[name], parameter))
            if self.ema is not None:
                self.ema[name] = _like(saved[name], parameter)
        self.teach(0.0)

    @torch.no_grad()
    def result(self) -> MaskedAutoencoder:
        """The trained model: with its averaged weights, where such are kept; what no gradient moves (a bandit's counts) as it is."""
        for name, parameter in self.model.named_parameters():
            if self.ema is not None and parameter.requires_grad:
                parameter.copy_(self.ema[name])
        return self.model


def save_checkpoint(state: TrainState, folder: Path, fingerprint: str) -> None:
    """Writes ``folder/step-<n>`` and forgets all but the last two."""
    with Saver(folder, fingerprint) as saver:
        saver.save(state)


class Saver:
    """Saves checkpoints while the training goes on: ``save`` copies the tensors and a thread writes the copy.

    Leaving the block waits for the last one. One is written at a time, so the next ``save`` waits for the one before it; what went wrong
    in the thread is raised there or at the end.
    """

    def __init__(self, folder: Path, fingerprint: str, write: bool = True) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self.write = write
        """Whether this rank writes; copying is work of all ranks."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, state: TrainState) -> None:
        """Writes ``folder/step-<n>`` of what ``state`` is now, and forgets all but the last two. Every rank calls it."""
        tensors = state.tensors()
        if not self.write:
            return
        self._wait()
        meta = {"schema": SCHEMA, "step": state.step, "nonfinite_steps": state.nonfinite_steps}
        self._pending = self._thread.submit(_write, tensors, meta | {"fingerprint": self.fingerprint}, self.folder)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True)
        self._wait()


def _write(tensors: dict[str, Tensor], meta: dict[str, Any], folder: Path) -> None:
    with replace_folder(folder / f"step-{meta['step']:08d}") as staging:
        path = staging / "state.safetensors"
        save_file(tensors, str(path))
        meta["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (staging / "meta.json").write_text(json.dumps(meta, indent=2))
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(state: TrainState, folder: Path, fingerprint: str) -> int:
    """Brings ``state`` to the newest whole checkpoint below ``folder``; returns its step, 0 where there is none.

    A damaged one is skipped with a warning. Raises CheckpointError where all are damaged or the fingerprint is another run's.
    """
    candidates = sorted(folder.glob("step-*"), reverse=True)
    problems = []
    for candidate in candidates:
        try:
            meta = _checked(candidate)
        except (OSError, ValueError) as problem:
            problems.append(f"{candidate.name}: {problem}")
            warnings.warn(f"checkpoint {candidate} is damaged and skipped: {problem}", stacklevel=2)
            continue
        if meta["fingerprint"] != fingerprint:
            raise CheckpointError(
                f"{candidate} belongs to another run (fingerprint {meta['fingerprint']}, this one is {fingerprint}): "
                "remove that folder or give this run another"
            )
        state.load_tensors(load_file(str(candidate / "state.safetensors")))
        state.step, state.nonfinite_steps = meta["step"], meta["nonfinite_steps"]
        return state.step
    if problems:
        raise CheckpointError(
            f"no checkpoint below {folder} is whole ({'; '.join(problems)}): remove it to start afresh"
        )
    return 0


def newest_step(folder: Path) -> int:
    """The step of the newest whole checkpoint below ``folder``; 0 where there is none."""
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        try:
            return int(_checked(candidate)["step"])
        except (OSError, ValueError, KeyError):
            continue
    return 0


def _checked(folder: Path) -> dict[str, Any]:
    meta = json.loads((folder / "meta.json").read_text())
    if not isinstance(meta, dict) or META - meta.keys():
        raise ValueError(f"its meta.json does not hold {', '.join(sorted(META))}")
    if meta["schema"] != SCHEMA:
        raise ValueError(f"schema {meta['schema']}, this version reads {SCHEMA}")
    found = hashlib.sha256((folder / "state.safetensors").read_bytes()).hexdigest()
    if found != meta["sha256"]:
        raise ValueError("its checksum does not match its content")
    return meta


def _moments(saved: dict[str, Tensor], name: str) -> list[str]:
    return [key.split(".")[1] for key in saved if key.startswith("optimizer.") and key.split(".", 2)[2] == name]


def _whole(value: Any) -> Tensor:
    """The full CPU tensor of a plain or sharded one."""
    value = value.detach()
    value = value.full_tensor() if hasattr(value, "full_tensor") else value
    return value.cpu().clone().contiguous()


def _like(value: Tensor, reference: nn.Parameter | Tensor) -> Tensor:
    """``value`` on the device, and sharded in the way, of ``reference``."""
    value = value.to(reference.device)
    mesh = getattr(reference, "device_mesh", None)
    if mesh is None:
        return value.clone()
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, mesh, reference.placements)  # type: ignore[union-attr]
