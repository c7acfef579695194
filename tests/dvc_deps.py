"""What each stage of dvc.yaml runs. ``PYTHONPATH=. python tests/dvc_deps.py`` writes it there, after an import has changed."""

import re
from pathlib import Path

from import_closure import ROOT, closure

from mae_core.decoders import DECODERS
from mae_core.encoders import ENCODERS
from mae_core.masking import MASKERS
from mae_core.modalities import MODALITIES
from mae_core.objectives import OBJECTIVES
from mae_core.targets import TARGETS


def files_of(table: dict[str, str]) -> set[str]:
    """The modules of a registry table's rows, as paths."""
    return {row.split(":")[0].replace(".", "/") + ".py" for row in table.values()}


TABLES = frozenset(
    f"mae_core/{name}/__init__.py"
    for name in ("modalities", "masking", "encoders", "decoders", "targets", "objectives", "data/sources")
)
"""Registry tables: a new row changes no existing result. The modules of the rows that recipes may name are listed one by one."""
VIEWS = frozenset({"experiments/publish.py", "experiments/tracking.py"})
"""MLflow is a view of the files; it changes none."""
ROWS = {row for table in (MASKERS, ENCODERS, DECODERS, TARGETS, OBJECTIVES) for row in files_of(table)}
MODALITY_ROWS = files_of(MODALITIES)
MODALITY = "mae_core/modalities/${item.modality}.py"


def reached(path: str) -> set[str]:
    """Relative paths of everything that one file runs, itself included."""
    module = path.removesuffix(".py").replace("/", ".")
    return {str(found.relative_to(ROOT)) for found in closure(module, TABLES | VIEWS)}


def wanted(stage: str) -> set[str]:
    """Of ``stage``: what it runs, and every row that a recipe may name."""
    files = reached(f"pipelines/{stage}.py")
    rows = ROWS
    if stage == "prepare":
        rows = {
            str(path.relative_to(ROOT)) for path in (ROOT / "mae_core/data/sources").glob("[a-z]*.py")
        } | MODALITY_ROWS
    elif stage == "report":
        rows = set()
    for path in rows:
        files |= reached(path)
    if stage not in ("prepare", "report"):
        used = set().union(*(reached(path) for path in MODALITY_ROWS)) - MODALITY_ROWS
        files |= used | {MODALITY}
    if stage == "transfer":  # from one recipe to another, of images alone
        files = files - {MODALITY} | {"mae_core/modalities/image.py"}
    return files


def rewrite(text: str) -> str:
    """``text`` of dvc.yaml with the code under each stage's deps as it should be."""
    lines, stage, told = [], "", False
    for line in text.split("\n"):
        if heading := re.match(r"^  (\w+):", line):
            stage, told = heading[1], False
        if code := re.match(r"^(\s+)- (mae_core|experiments|pipelines)/\S*\.py$", line):
            lines += [] if told else [f"{code[1]}- {path}" for path in sorted(wanted(stage))]
            told = True
        else:
            lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    file = Path(ROOT) / "dvc.yaml"
    file.write_text(rewrite(file.read_text()))
