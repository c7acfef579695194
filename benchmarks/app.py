"""How long a page of the app takes with 50 recipes of 3 seeds and a search of 1,000 trials: `python -m benchmarks.app`.

SYNTHETIC results, drawn by tests/dashboard/make_results.py in a temporary folder. Each page is opened by a fresh visitor of a running app
(AppTest, no browser): first with nothing cached, then n times.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import tempfile
import time
from pathlib import Path
from types import ModuleType

from benchmarks.rows import Row, compare, publish

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "overview",
    "leaderboard",
    "reconstructions",
    "embeddings",
    "training",
    "search",
    "masks",
    "data",
    "try_it",
    "models",
)
LIMIT = 1.5
"""Seconds; longer feels slow."""


def tree(root: Path, recipes: int, trials: int) -> None:
    """Writes the results that the pages show."""
    made = _make_results()
    made.many_runs(root, recipes)
    made.search(root / "results" / "digits", "digits", trials)


def _make_results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "tests" / "dashboard" / "make_results.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(page: str) -> float:
    """Seconds that a fresh session takes to open a page. Raises RuntimeError where the page could not be drawn."""
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(ROOT / "dashboard" / "app.py", default_timeout=120)
    app.switch_page(f"views/{page}.py")
    began = time.perf_counter()
    app.run()
    seconds = time.perf_counter() - began
    if app.exception or not app.title:
        raise RuntimeError(f"{page}: {[e.value for e in app.exception] or 'nothing was drawn'}")
    return seconds


def measured(page: str, n: int, of: str) -> Row:
    """The median of n visits, beside the limit; the first visit, with nothing cached, is among the facts."""
    first, *others = [opened(page) for _ in range(n + 1)]
    row = compare(f"app_{page}_vs_limit_s", others, [LIMIT] * n, "python -m benchmarks.app")
    return row._replace(facts={"first_s": first, "slowest_s": max(others), "tree": of})


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=5, help="times each page is opened after the first")
    parser.add_argument("--recipes", type=int, default=50)
    parser.add_argument("--trials", type=int, default=1000)
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # Streamlit warns at every visit that AppTest is no server
    with tempfile.TemporaryDirectory() as folder:
        tree(Path(folder), given.recipes, given.trials)
        os.environ["MAESTRO_ROOT"] = folder
        of = f"{given.recipes} recipes, {given.trials} trials"
        publish("app", [measured(page, given.n, of) for page in PAGES])


if __name__ == "__main__":
    main()
