"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real and hostile files; skips where a checkout has none beside it."""
    folder = Path(os.environ.get("MAESTRO_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set MAESTRO_TEST_DATA")
    return folder.resolve()
