"""``maestro doctor``: is this machine fit to train?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

NEEDED_GB = 2.0
PACKAGES = ("torch", "ray", "mlflow", "dvc", "optuna", "streamlit", "safetensors")


class Finding(NamedTuple):
    """One line of the doctor's report."""

    name: str
    ok: bool
    detail: str


def check(root: Path) -> Iterator[Finding]:
    """Runs every check; one that raises is a finding, not a crash."""
    for name, probe in PROBES.items():
        try:
            yield Finding(name, True, probe(root))
        except Exception as problem:  # a doctor reports whatever is wrong
            yield Finding(name, False, f"{type(problem).__name__}: {problem}")


def _python(root: Path) -> str:
    return sys.version.split()[0]


def _packages(root: Path) -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            raise RuntimeError(f"{name} is not installed: run `make install`") from None
    return ", ".join(found)


def _space(root: Path) -> str:
    free = shutil.disk_usage(root.resolve()).free / 1e9
    if free < NEEDED_GB:
        raise RuntimeError(f"{free:.1f} GB free at {root.resolve()}, {NEEDED_GB} GB are needed: make room")
    return f"{free:.0f} GB free"


def _shared_memory(root: Path) -> str:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return "no /dev/shm: Ray will use /tmp"
    free = shutil.disk_usage(folder).free / 1e9
    if free < 0.5:
        raise RuntimeError(f"{free:.2f} GB free in /dev/shm: start the container with --shm-size=2g")
    return f"{free:.1f} GB free"


def _home(root: Path) -> str:
    home = Path.home()
    if not os.access(home, os.W_OK):
        raise RuntimeError(f"{home} cannot be written: Ray keeps its token there; set HOME to a folder that can")
    return str(home)


def _compute(root: Path) -> str:
    from mae_core.training.precision import choose_precision

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    precision = choose_precision("auto", device)
    where = torch.cuda.get_device_name() if cuda else f"{os.cpu_count()} CPU cores, no GPU"
    return f"{where}; trains in {precision.name}: {precision.reason}"


def _train(root: Path) -> str:
    import numpy as np

    from mae_core.model import MaskedAutoencoder
    from mae_core.training.loop import Settings, fit, start

    config = {
        "modality": {"kind": "image", "channels": 1, "size": [16, 16], "patch": 4},
        "encoder": {"kind": "vit", "width": 32, "depth": 1, "heads": 2},
        "decoder": {"kind": "joint", "width": 32, "depth": 1, "heads": 2},
        "masking": {"strategy": "random", "ratio": 0.75},
        "objective": {"reconstruction": 1.0, "target": "pixels"},
    }
    settings = Settings(steps=2, batch_size=8, lr=1e-3)
    state = start(config, settings)
    samples = np.arange(8 * 256, dtype=np.uint8).reshape(8, 1, 16, 16)
    losses = [progress.loss for progress in fit(state, samples, settings, report_every=1)]
    with tempfile.TemporaryDirectory() as folder:
        again = MaskedAutoencoder.load(state.model.save(Path(folder) / "model"))
    raw = torch.from_numpy(samples)
    if not torch.allclose(again.encode(raw), state.model.eval().encode(raw)):
        raise RuntimeError("a saved model does not encode as it did before saving")
    return f"2 steps, loss {losses[0]:.3f} → {losses[1]:.3f}; saved and loaded"


PROBES: dict[str, Callable[[Path], str]] = {
    "python": _python,
    "packages": _packages,
    "disk": _space,
    "shared memory": _shared_memory,
    "home": _home,
    "compute": _compute,
    "train, save, load": _train,
}
