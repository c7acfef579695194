"""The ``controls`` stage: ``python -m pipelines.controls RECIPE`` → ``controls/<recipe>``."""

from __future__ import annotations

from experiments.controls import controls
from pipelines.stage import run_stage

if __name__ == "__main__":
    run_stage(controls)
