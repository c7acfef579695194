"""What recipes and datasets can be called: a part of paths and of commands, which YAML reads as a word."""

from __future__ import annotations

import re

from experiments.yaml_files import load_yaml

NAME = re.compile(r"[a-z0-9_]{1,40}\Z")
ALLOWED = "use 1 to 40 of a-z, 0-9 and _"
"""What to say where ``NAME`` does not match."""
_DIGITS = re.compile(r"[0-9][0-9_]*$|0o")
"""More of what DVC takes for a number: 08, say, and 0o17."""


def unfit_name(name: str) -> str:
    """Why a new recipe or dataset cannot be called ``name``, such as 'YAML reads it as a number, not as a word'; '' where it can."""
    if not NAME.match(name):
        return ALLOWED
    said = load_yaml(name)
    if said == name and not _DIGITS.match(name):
        return ""
    kind = {bool: f"a {'yes' if said else 'no'}", type(None): "nothing"}.get(type(said), "a number")
    return f"YAML reads it as {kind}, not as a word"
