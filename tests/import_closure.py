"""Which first-party files a module runs: its import closure, imports inside functions included."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mae_core", "experiments", "pipelines", "dashboard")


def imports(path: Path) -> set[str]:
    """Dotted names of the first-party modules that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {name for name in names if name.split(".")[0] in PACKAGES}
    return found


def file_of(module: str) -> Path | None:
    """The file of a dotted module name, or None where it names something inside a module."""
    base = ROOT / Path(*module.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def closure(module: str, leave_out: frozenset[str] = frozenset()) -> set[Path]:
    """Files reached from ``module``; those named in ``leave_out`` (relative paths) are neither listed nor followed."""
    start = file_of(module)
    assert start is not None, module
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in seen or str(path.relative_to(ROOT)) in leave_out:
            continue
        seen.add(path)
        for name in imports(path):
            target = file_of(name)
            if target is not None:
                waiting.append(target)
    return {path for path in seen if path.stat().st_size}
