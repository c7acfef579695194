"""The one wrapper of every stage's command: ``python -m pipelines.STAGE NAME``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def run_stage(function: Callable[[str], object]) -> None:
    """Calls ``function`` with the command's one argument; errors that tell the user what to do are printed without a traceback.

    MAESTRO_TRACEBACK=1 shows them whole.
    """
    module = sys.modules["__main__"].__spec__
    command = module.name if module else sys.argv[0]
    if len(sys.argv) != 2:
        raise SystemExit(f"error: usage: python -m {command} NAME, of a row of params.yaml")
    try:
        function(sys.argv[1])
    except (ValueError, OSError, RuntimeError) as problem:
        if os.environ.get("MAESTRO_TRACEBACK"):
            raise
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(1) from None
