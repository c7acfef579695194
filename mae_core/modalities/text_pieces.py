"""From token ids to pieces that people can read: bytes that are a character together are shown as that, others as ``<C3>``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from mae_core.data.texts import PADDING
from mae_core.modalities.panels import Piece

UNSEEN = "▁"
"""What stands for a hidden token."""
LONGEST = 8
"""Tokens that may make a run of characters together; a character has four bytes at most."""


class Token(NamedTuple):
    """One token of a text and what is known of it."""

    id: int
    """Below 0: not shown."""
    hidden: bool = False
    true: int = PADDING
    """Of a hidden one: what should be there; ``PADDING`` where that is not known."""
    probability: float = math.nan

    @property
    def state(self) -> tuple[bool, bool, bool, bool]:
        """What tokens that are shown as one have in common."""
        return self.hidden, self.id >= 0, self.true >= 0, self.id == self.true


def pieces_of(spelt: Sequence[bytes], tokens: Sequence[Token]) -> list[Piece]:
    """The pieces of a text; ``spelt`` holds the bytes of each id.

    Neighbours become one piece where they are no characters alone but together, and are equally visible, right or wrong. Its probability is
    that of all.
    """
    found, at = [], 0
    while at < len(tokens):
        run = _run(spelt, tokens[at : at + LONGEST])
        found.append(_piece(spelt, run))
        at += len(run)
    return found


def _run(spelt: Sequence[bytes], tokens: Sequence[Token]) -> Sequence[Token]:
    """The first of the tokens, with as many of the next as it takes to make characters."""
    for end in range(1, len(tokens) + 1):
        run = tokens[:end]
        if run[-1].state != run[0].state:
            break
        if all(_whole(_bytes(spelt, ids)) for ids in _sides(run)):
            return run
    return tokens[:1]


def _sides(run: Sequence[Token]) -> list[list[int]]:
    """The ids that are shown, and those of the truth."""
    return [[token.id for token in run], [token.true for token in run]]


def _piece(spelt: Sequence[bytes], run: Sequence[Token]) -> Piece:
    ids, true = _sides(run)
    text = _shown(_bytes(spelt, ids)) if ids[0] >= 0 else UNSEEN
    if not run[0].hidden:
        return Piece(text)
    probability = math.prod(token.probability for token in run)
    return Piece(text, True, _shown(_bytes(spelt, true)), probability, ids == true if true[0] >= 0 else None)


def _bytes(spelt: Sequence[bytes], ids: Sequence[int]) -> bytes:
    return b"".join(spelt[i] for i in ids if i >= 0)


def _whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(data: bytes) -> str:
    """Characters, and bytes that are none as ``<C3>``."""
    text = data.decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda byte: f"<{ord(byte[0]) - 0xDC00:02X}>", text)
