"""Text that nobody vouches for: bytes to characters, and a long text to windows."""

from __future__ import annotations

import numpy as np

from mae_core.data.quarantine import ItemProblem

PADDING = -1
"""In an array of token ids: behind the end of a text."""
INVALID = ("refuse", "replace")
BOM = "\ufeff"


class TextProblem(ItemProblem):
    """A text that is not used."""


def decode_text(data: bytes, invalid: str = "refuse") -> str:
    """UTF-8 bytes as text: without a byte order mark, every line end as a newline. Raises TextProblem with the offset of a wrong byte.

    ``invalid: replace`` turns each wrong byte into U+FFFD instead.
    """
    if not data:
        raise TextProblem("empty file")
    try:
        text = data.decode("utf-8", "replace" if invalid == "replace" else "strict")
    except UnicodeDecodeError as problem:
        found = data[problem.start : problem.end].hex(" ")
        raise TextProblem(
            "not UTF-8", f"byte {problem.start} ({found}); convert the file, or say `invalid: replace`"
        ) from None
    text = text.removeprefix(BOM).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise TextProblem("no text", "white space alone")
    return text


def windows(ids: np.ndarray, context: int, stride: int) -> np.ndarray:
    """(n,) ids → (w, context) int32: windows at 0, stride, 2 · stride, … that lie whole in it. Raises TextProblem where none does."""
    if len(ids) < context:
        raise TextProblem("shorter than one context", f"{len(ids)} tokens, the context is {context}")
    return np.lib.stride_tricks.sliding_window_view(ids, context)[::stride].astype(np.int32)


def padded(ids: np.ndarray, context: int) -> np.ndarray:
    """(context,) int32: the first ids, padded behind their end."""
    row = np.full(context, PADDING, np.int32)
    row[: min(len(ids), context)] = ids[:context]
    return row
