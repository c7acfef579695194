"""Keeping memory between steps: glibc gives large freed tensors back to the system, and every step then pays for the same pages again.

Training steps ask for the same sizes over and over, so a process that trains does best to keep what it had. On other C libraries
nothing is changed.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple


class Setting(NamedTuple):
    """One of glibc's, as ``mallopt(3)`` describes it."""

    variable: str
    """The environment variable that sets it before a process starts."""
    parameter: int
    """Its number in malloc.h, for ``mallopt``."""
    value: int


SETTINGS = (
    Setting("MALLOC_ARENA_MAX", -8, 1),  # heaps of further threads are small, and given back
    Setting("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1),
    Setting("MALLOC_TOP_PAD_", -2, 64 * 2**20),
    Setting("MALLOC_MMAP_MAX_", -4, 0),
)
ENVIRONMENT = {setting.variable: str(setting.value) for setting in SETTINGS}
"""For processes that are yet to be started; reaches threads too that would allocate before ``keep_pages`` is called."""


def keep_pages() -> bool:
    """Makes this process keep freed memory; True where the C library listened. Call it before the first large tensor is made."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    answers = [library.mallopt(setting.parameter, setting.value) for setting in SETTINGS]
    return all(answers)
