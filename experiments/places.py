"""Where runs are tracked and what they are called: names, identities and facts of this checkout, without MLflow itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

LONGEST_KEY = 250


class Place(NamedTuple):
    """Where runs go."""

    uri: str  # absolute
    artifacts: Path | None  # folder of the artifacts of a local database; None: the server knows
    note: str  # what to tell the user about it, '' for nothing
    home: Path


def place(root: Path, uri: str | None = None) -> Place:
    """``uri``, else MLFLOW_TRACKING_URI, else ``mlflow.db`` of the project.

    A queued DVC experiment runs in a copy below the project, and a database there would be lost: DVC_ROOT is its project.
    """
    home = root.resolve()
    project = os.environ.get("DVC_ROOT")
    if project and home.is_relative_to(Path(project).resolve()):
        home = Path(project).resolve()
    given = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
    note = ""
    if given.startswith("sqlite:///") and not given.startswith("sqlite:////"):
        given = f"sqlite:///{home / given.removeprefix('sqlite:///')}"
        note = f"MLFLOW_TRACKING_URI is relative, taken from the project: {given}"
    return Place(given, home / "mlartifacts" if given.startswith("sqlite:") else None, note, home)


def redacted(uri: str) -> str:
    """A URI without user name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def safe(name: object) -> str:
    """A key that MLflow accepts: a plain relative path of letters, digits and ``_ - . space``, at most 250 characters."""
    parts = re.sub(r"[^\w\-./ ]", "_", str(name))[:LONGEST_KEY].split("/")
    return "/".join(part for part in parts if part.strip(". ")) or "_"


def model_name(dataset: str) -> str:
    """The registered model of a dataset."""
    return safe(f"maestro-{dataset}").replace("/", "_")


def identity(*parts: str) -> str:
    """What a run is found by: a hash of its names, whatever characters these hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def weights_digest(folder: Path) -> str:
    """SHA-256 of a model folder's weights: which model a registered version is."""
    with open(folder / "model.safetensors", "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=8)
def _git(root: Path) -> dict[str, str]:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=5)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": commit, "mae.git_dirty": str(dirty).lower()} if commit else {}


def facts(root: Path, dataset: dict[str, Any] | None) -> dict[str, str]:
    """Tags every run carries: commit, whether tracked files differ from it, the DVC stage and experiment, the data's fingerprint."""
    dvc = {name: os.environ[name] for name in ("DVC_STAGE", "DVC_EXP_NAME") if name in os.environ}
    data = {"mae.data_fingerprint": str(dataset["fingerprint"])} if dataset and "fingerprint" in dataset else {}
    return {**_git(root), **dvc, **data}
