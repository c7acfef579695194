"""A small project, commands in it, a model and some pictures."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from commanding import Said
from PIL import Image
from project import make_project

from mae_core.model import MaskedAutoencoder
from pipelines import cli


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project as the current folder, without MLflow."""
    root = make_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.setenv("MAESTRO_MLFLOW", "off")
    monkeypatch.delenv("MAESTRO_TRACEBACK", raising=False)
    return root


@pytest.fixture
def maestro(project, monkeypatch, capsys):
    """Runs one command in this process."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["maestro", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def model(make_config, project):
    """A saved model of the small project's pictures."""
    config = make_config()
    return MaskedAutoencoder.build(config, seed=4).save(project / "models" / "tiny" / "seed-0")


@pytest.fixture
def make_config():
    def make() -> dict:
        return {
            "modality": {"kind": "image", "channels": 1, "size": [8, 8], "patch": 2, "mean": [0.5], "std": [0.3]},
            "encoder": {"kind": "vit", "width": 16, "depth": 2, "heads": 2},
            "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
            "masking": {"strategy": "random", "ratio": 0.75},
            "objective": {"reconstruction": 1.0, "target": "pixels"},
        }

    return make


@pytest.fixture
def pictures(project):
    """Three pictures of other sizes, one of them in colour, and a file that is none."""
    folder = project / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number, shape in enumerate([(8, 8), (20, 13), (9, 30, 3)]):
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG not really")
    return folder
