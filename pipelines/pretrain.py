"""The ``pretrain`` stage: ``python -m pipelines.pretrain RECIPE`` → ``models/<recipe>``, ``results/<recipe>/history.csv``."""

from __future__ import annotations

from experiments.pretrain import pretrain
from pipelines.stage import run_stage

if __name__ == "__main__":
    run_stage(pretrain)
