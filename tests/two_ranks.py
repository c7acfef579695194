"""Training on two gloo ranks in processes of their own, and the same alone. Importable, since a spawned process starts with nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.multiprocessing.spawn import spawn

from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start
from mae_core.training.state import Saver, TrainState, load_checkpoint
from mae_core.training.world import World, replicate

CONFIG: dict[str, Any] = {
    "modality": {"kind": "image", "channels": 1, "size": [8, 8], "patch": 2},
    "encoder": {"kind": "vit", "width": 16, "depth": 2, "heads": 2},
    "decoder": {"kind": "joint", "width": 8, "depth": 2, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.75},
    "objective": {"reconstruction": 1.0, "target": "pixels"},
}


def _ramps() -> np.ndarray:
    """(22, 1, 8, 8) uint8: slopes of many directions, which can be learned."""
    y, x = np.mgrid[:8, :8] / 7
    angles = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    waves = [0.5 + 0.35 * (np.cos(a) * (x - 0.5) + np.sin(a) * (y - 0.5)) for a in angles]
    return (255 * np.stack(waves)[:, None]).astype(np.uint8)


SAMPLES = _ramps()


def _halves() -> np.ndarray:
    """(22, 64) float: of most ramps one half is missing, the lower one more often."""
    flat = SAMPLES.reshape(22, 64).astype(np.float32)
    flat[0::2, 32:], flat[1::6, :32] = np.nan, np.nan
    return flat


HALVES = _halves()
NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all options": {
        "encoder": {**CONFIG["encoder"], "registers": 2, "qk_norm": True, "drop_path": 0.3, "positions": "rope"},
        "decoder": {"kind": "cross", "width": 8, "depth": 2, "heads": 2, "share": 0.5},
    },
    "convolutions": {
        "encoder": {"kind": "conv", "width": 16, "depth": 2, "stages": 1, "kernel": 3, "drop_path": 0.3},
        "decoder": {"kind": "unet", "width": 8, "depth": 1, "kernel": 3},
    },
    "joint": {
        "modality": {
            "kind": "joint",
            "parts": [
                {"name": name, "kind": "image", "channels": 1, "size": [4, 8], "patch": 2}
                for name in ("upper", "lower")
            ],
        }
    },
}
"""What differs from ``CONFIG``, by name."""


class Case(NamedTuple):
    """One way to spread a training over two ranks."""

    strategy: str
    micro_batch: int = 0
    ema: float = 0.0
    crop: float = 1.0
    flip: bool = False
    color_jitter: float = 0.0
    recompute: bool = False
    saved_at: int = 5
    network: str = "plain"
    masking: dict[str, Any] | None = None
    """Instead of the config's."""
    objective: dict[str, Any] | None = None
    """What it changes of the config's objective."""
    log_grad_norms: bool = False
    memory_budget_mb: float = 0.0

    def config(self) -> dict[str, Any]:
        """Of the model."""
        masking = {} if self.masking is None else {"masking": self.masking}
        objective = {"objective": {**CONFIG["objective"], **(self.objective or {})}}
        return {**CONFIG, **NETWORKS[self.network], **masking, **objective}

    @property
    def samples(self) -> np.ndarray:
        """What is trained on."""
        return HALVES if self.network == "joint" else SAMPLES

    def settings(self) -> Settings:
        """9 samples a batch of 22: an odd split, and batches over the epoch's end."""
        return Settings(
            steps=12,
            batch_size=9,
            lr=3e-3,
            precision="fp32",
            micro_batch=self.micro_batch,
            ema=self.ema,
            crop=self.crop,
            flip=self.flip,
            color_jitter=self.color_jitter,
            recompute=self.recompute,
            teacher_momentum=0.9,
            log_grad_norms=self.log_grad_norms,
            memory_budget_mb=self.memory_budget_mb,
        )


class Outcome(NamedTuple):
    """What a training left."""

    losses: list[float]
    norms: list[float]
    tensors: dict[str, Tensor]
    parts: list[float]
    """Of the last step: the parts of the loss, then the norms of their gradients, where they were asked for."""
    checkpoint: Path | None = None


def alone(case: Case, resume: Path | None = None, samples: np.ndarray | None = None) -> Outcome:
    """The training on one rank, from the start or from the checkpoint in ``resume``, on the case's ``samples`` or others."""
    state = start(case.config(), case.settings())
    if resume is not None:
        load_checkpoint(state, resume, "two")
    return _train(state, case, World(), case.samples if samples is None else samples, None)


def together(cases: list[Case], folder: Path) -> list[Outcome]:
    """The trainings on two ranks, one after another in one pair of processes."""
    spawn(_rank, (cases, str(folder)), nprocs=2)
    return [_read(folder / f"case-{number}") for number in range(len(cases))]


def _rank(rank: int, cases: list[Case], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for number, case in enumerate(cases):
        world = World(rank, 2, case.strategy)
        state = start(case.config(), case.settings(), world=world)
        found = _train(state, case, world, case.samples, Path(folder) / f"case-{number}")
        if rank == 0:
            curves = {"losses": found.losses, "norms": found.norms, "parts": found.parts}
            whole = {name: torch.tensor(curve, dtype=torch.float64) for name, curve in curves.items()}
            save_file({**found.tensors, **whole}, f"{folder}/case-{number}/outcome.safetensors")
    dist.destroy_process_group()


def _read(folder: Path) -> Outcome:
    tensors = load_file(str(folder / "outcome.safetensors"))
    losses, norms, parts = (tensors.pop(name).tolist() for name in ("losses", "norms", "parts"))
    return Outcome(losses, norms, tensors, parts, folder)


def _train(state: TrainState, case: Case, world: World, samples: np.ndarray, folder: Path | None) -> Outcome:
    losses, norms, parts = [], [], []
    for progress in fit(state, samples, case.settings(), world, report_every=1):
        losses.append(progress.loss)
        norms.append(progress.grad_norm)
        parts = [*progress.parts.values(), *progress.grad_norms.values()]
        if folder is not None and state.step == case.saved_at:
            with Saver(folder, "two", write=world.rank == 0) as saver:
                saver.save(state)
    return Outcome(losses, norms, state.tensors(), parts, folder)


def gradient_bytes(folder: Path) -> tuple[int, int]:
    """How many bytes of gradients two ranks sum in one backward pass, and how many parameters learn."""
    spawn(_summed, (str(folder),), nprocs=2)
    told, parameters = np.load(folder / "told.npy").tolist()
    return told, parameters


def _summed(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = MaskedAutoencoder.build(CONFIG)
    runner: Any = replicate(model, World(rank, 2), torch.device("cpu"))
    told = [0]

    def counting(state, bucket):  # type: ignore[no-untyped-def] # torch looks at annotations
        told[0] += bucket.buffer().numel() * bucket.buffer().element_size()
        return allreduce_hook(state, bucket)

    runner.register_comm_hook(None, counting)
    raw = torch.from_numpy(SAMPLES[:4])
    runner(raw, plan=model.plan(raw, 0.75, "random", 0)).total.backward()
    if rank == 0:
        np.save(f"{folder}/told.npy", [told[0], sum(p.numel() for p in model.parameters() if p.requires_grad)])
    dist.destroy_process_group()
