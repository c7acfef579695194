"""The ``transfer`` stage: ``python -m pipelines.transfer NAME`` → ``results/<name>/scores.csv`` and more."""

from __future__ import annotations

from experiments.transfer import transfer
from pipelines.stage import run_stage

if __name__ == "__main__":
    run_stage(transfer)
