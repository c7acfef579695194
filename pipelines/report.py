"""The ``report`` stage: ``python -m pipelines.report`` → ``report/index.html`` and ``report/leaderboard.json``."""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.report import write_report


def main(root: Path = Path()) -> None:
    """Writes the report and says where it is."""
    print(write_report(root))


if __name__ == "__main__":
    try:
        main()
    except OSError as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(1) from None
