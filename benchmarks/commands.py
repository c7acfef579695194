"""What a benchmark says of the options that it was given: the command that makes its table again, and the table's name."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from mae_core.draws import key

LONGEST = 100
"""Letters of a table's name, at most: it is a file's, too."""


def again(command: str, given: argparse.Namespace, options: Sequence[str]) -> str:
    """``command`` and behind it those of ``options`` that have a value, as a shell takes them."""
    said = [command]
    for option in options:
        value = getattr(given, option)
        if value is not None and value is not False and value not in ("", []):
            said += [f"--{option.replace('_', '-')}", *map(shlex.quote, _words(value))]
    return " ".join(said)


def table_name(name: str, parser: argparse.ArgumentParser, given: argparse.Namespace, options: Sequence[str]) -> str:
    """``name``, and behind it those of ``options`` that are not what they are by default: other questions have other tables.

    One that is longer than ``LONGEST`` ends in a number made of it.
    """
    said = [name]
    for option in options:
        value = getattr(given, option)
        if value != parser.get_default(option):
            said += [option.replace("_", "-"), *_words(value)]
    whole = "-".join(said).replace(" ", "_")
    return whole if len(whole) <= LONGEST else f"{name}-{key(whole):016x}"


def _words(value: Any) -> list[str]:
    """None of a flag."""
    return [] if value is True else [str(one) for one in (value if isinstance(value, list) else [value])]
