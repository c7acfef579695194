"""What a command of ``maestro`` left, and how one that failed has to end."""

from __future__ import annotations

import re
from typing import NamedTuple


class Said(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


def refused(said: Said, words: str) -> None:
    """Ends with 1, and with one line of reason instead of a traceback."""
    assert said.code == 1, said
    assert said.err.startswith("error: ") and "Traceback" not in said.err
    assert re.search(words, said.err), said.err
