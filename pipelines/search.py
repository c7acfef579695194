"""The ``search`` stage: ``python -m pipelines.search RECIPE`` → ``results/<recipe>/{best.yaml,trials.parquet,search.json,proxies.csv}``."""

from __future__ import annotations

from experiments.search import search
from pipelines.stage import run_stage

if __name__ == "__main__":
    run_stage(search)
