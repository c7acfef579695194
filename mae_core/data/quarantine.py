"""What was set aside: counted by reason, never lost, and a stop when it is too much."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Refused(NamedTuple):
    """One item that is not used."""

    file: str
    reason: str
    detail: str


class ItemProblem(ValueError):
    """An item that is not used; ``str`` begins with the reason, short enough to count by."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class TooManyRefused(ValueError):
    """More bad items than the dataset allows."""


def check_share(refused: list[Refused], used: int, max_bad: float, name: str, items: int | None = None) -> None:
    """Raises TooManyRefused with the top reasons where more than ``max_bad`` (a share) of the items were refused.

    There are as many ``items`` as were read, ``used`` and refused ones by default.
    """
    total = len(refused) + used if items is None else max(items, len(refused))
    if not total:
        raise TooManyRefused(f"{name} holds no items at all: check its source")
    share = len(refused) / total
    if share > max_bad or not used:
        top = Counter(item.reason for item in refused).most_common(3)
        reasons = "; ".join(f"{count} × {reason}" for reason, count in top)
        first = ", ".join(item.file for item in refused[:3])
        raise TooManyRefused(
            f"{name}: {len(refused)} of {total} items are bad ({share:.0%}, at most {max_bad:.0%} may be): {reasons}. "
            f"First: {first}. Mend or remove them, or raise `max_bad`"
        )


def write_quarantine(path: Path, refused: list[Refused]) -> None:
    """``file,reason,detail``, sorted."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Refused._fields)
        writer.writerows(sorted(refused))
