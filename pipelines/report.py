"""The ``report`` stage: ``python -m pipelines.report`` → ``report/index.html`` and ``report/leaderboard.json``."""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.report import write_report
from experiments.report_text import scores_text


def main(root: Path = Path()) -> None:
    """Writes the report and prints the scores in short, then where the page is."""
    page = write_report(root)
    print(scores_text(root))
    print(f"\n{page}")


if __name__ == "__main__":
    try:
        main()
    except OSError as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(1) from None
