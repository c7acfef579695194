"""The ``prepare`` stage: ``python -m pipelines.prepare DATASET`` → ``data/<dataset>``."""

from __future__ import annotations

import os
import sys

from experiments.datasets import prepare


def main(name: str) -> None:
    """Prepares one dataset and says what it holds."""
    info = prepare(name)
    splits = ", ".join(f"{split} {facts['samples']}" for split, facts in info["splits"].items())
    verified = "" if info["verified"] else " (unverified: no checksum was known for its files)"
    print(f"prepare {name}: {splits}; {len(info['classes'])} classes{verified}")
    print(
        f"  {info['quarantined']} set aside, {info['ignored']} ignored, {info['duplicates']['across_splits']} copies across splits"
    )
    for note in info["notes"]:
        print(f"  {note}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("use: python -m pipelines.prepare DATASET")
    try:
        main(sys.argv[1])
    except (ValueError, RuntimeError, OSError) as problem:
        if os.environ.get("MAESTRO_TRACEBACK"):
            raise
        sys.exit(f"error: {problem}")
