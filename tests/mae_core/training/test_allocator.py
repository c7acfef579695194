"""A process that keeps its pages does not ask for them again at every step."""

import os
import platform
import subprocess
import sys

import pytest

from mae_core.training import allocator

FAULTS = """
import resource, sys
import torch
from mae_core.training.allocator import keep_pages
if sys.argv[1] == "kept":
    assert keep_pages()
def step():
    parts = [torch.ones(9_000_000 + 1000 * n) for n in range(3)]
    return sum(float(part[0]) for part in parts)
for _ in range(8):  # until the heap has found its shape
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def faults(how: str, **variables: str) -> int:
    command = [sys.executable, "-c", FAULTS, how]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    return int(done.stdout)


@glibc
def test_pages_are_kept():
    as_it_is = faults("as it is")
    assert as_it_is > 1000, "the test needs tensors that are given back"
    assert faults("kept") < as_it_is / 20
    assert faults("as it is", **allocator.ENVIRONMENT) < as_it_is / 20


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert allocator.keep_pages() is False
