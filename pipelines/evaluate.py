"""The ``evaluate`` stage: ``python -m pipelines.evaluate RECIPE`` → ``results/<recipe>/scores.csv`` and more, ``heads/<recipe>``."""

from __future__ import annotations

from experiments.evaluate import evaluate
from pipelines.stage import run_stage

if __name__ == "__main__":
    run_stage(evaluate)
