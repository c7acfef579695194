"""Pages of which each section is one measurement: what was measured here is written anew, what another machine had measured stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mae_core.atomic import write_text


def sections(text: str) -> dict[str, str]:
    """Heading → section of a page, the heading's line included; what stands before the first one is left out."""
    _, *found = re.split(r"^## ", text, flags=re.MULTILINE)
    return {one.partition("\n")[0]: f"## {one.rstrip()}\n" for one in found}


def renew(path: Path, introduction: str, measured: Mapping[str, str], place: Callable[[str], Any]) -> None:
    """Writes the page in one step: ``introduction``, then the sections that it had and those of ``measured``, which replace theirs.

    ``place`` gives a heading's place among all; a heading without one (None) is left out.
    """
    before = sections(path.read_text(encoding="utf-8")) if path.is_file() else {}
    places = {heading: place(heading) for heading in {**before, **measured}}
    order = sorted((heading for heading, one in places.items() if one is not None), key=places.__getitem__)
    write_text(path, "\n".join([introduction, *({**before, **measured}[heading] for heading in order)]))
