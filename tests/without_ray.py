"""Stages that train, in this process: Ray's part is tested in test_train.py and under faults."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

import experiments.train as train
from mae_core.training.world import World


def train_in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces Ray by the function its workers run; returns the names of what is trained, as it is."""
    monkeypatch.setenv("MAESTRO_MLFLOW", "off")
    monkeypatch.setattr("experiments.runs.end_with_parent", lambda: None)
    names: list[str] = []

    def here(job: train.Job, placement: object) -> None:
        names.append(job.name)
        train.train_here(job, World(), torch.device("cpu"))

    monkeypatch.setattr(train, "connected", lambda *_: nullcontext())
    monkeypatch.setattr(train, "Printer", lambda *_: nullcontext())
    monkeypatch.setattr(train, "_on_ray", here)
    return names
