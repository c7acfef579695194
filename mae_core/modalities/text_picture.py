"""Text as a picture: every character in a slot of its own, hidden tokens as boxes, guesses in the colour of right and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mae_core.data.texts import PADDING
from mae_core.modalities.panels import Piece
from mae_core.modalities.text_pieces import Token, pieces_of

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

WIDTH, COLUMNS, LINE, SIZE, MARGIN = 560, 64, 18, 13, 4
"""Pixels of a picture, characters of a line, pixels of a line, of the letters, and around a text."""
SLOT = (WIDTH - 2 * MARGIN) / COLUMNS
"""Pixels of a character."""
INK, PAPER, RULE = (26, 26, 26), (255, 255, 255), (214, 214, 214)
HIDDEN, RIGHT, WRONG = (196, 196, 196), (184, 226, 196), (247, 190, 176)
"""Behind a token that is not shown, that was guessed right, and that was guessed wrong."""
TRUE = (176, 48, 32)
"""What should have been there, in the line below a wrong guess."""


class Run(NamedTuple):
    """Letters to draw."""

    text: str
    back: tuple[int, int, int] | None = None
    true: str = ""
    """Written small below, where it differs."""


def draw(spelt: Sequence[bytes], raw: np.ndarray) -> np.ndarray:
    """(n, H, W, 3) uint8 of (n, L) token ids with the bytes ``spelt``; ids below −1 are boxes, −1 is nothing."""
    texts = [_seen(spelt, row, row) for row in raw]
    lines = max((_lines(text) for text in texts), default=1)
    return np.stack([_block(text, lines, LINE) for text in texts])


def draw_pair(spelt: Sequence[bytes], raw: np.ndarray, masked: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: for each of n texts what was seen, then the reconstruction."""
    blocks = []
    for true, seen, guess in zip(raw, masked, filled):
        above, below = _seen(spelt, seen, true), _guessed(spelt, seen, true, guess)
        blocks += [_block(above, _lines(above), LINE), _block(below, _lines(below), LINE + SIZE), _rule()]
    return np.concatenate(blocks[:-1])


def _seen(spelt: Sequence[bytes], seen: np.ndarray, true: np.ndarray) -> list[Run]:
    """What is visible; a hidden token takes the room of the true one, so that lines of a pair agree where they can."""
    pairs = zip(seen.tolist(), true.tolist())
    pieces = pieces_of(spelt, [Token(t if s < PADDING else s, s < PADDING) for s, t in pairs if s != PADDING])
    return [Run(" " * len(piece.text), HIDDEN) if piece.hidden else Run(piece.text) for piece in pieces]


def _guessed(spelt: Sequence[bytes], seen: np.ndarray, true: np.ndarray, guess: np.ndarray) -> list[Run]:
    """The text with what was guessed in its place."""
    rows = zip(seen.tolist(), true.tolist(), guess.tolist())
    tokens = [Token(g, True, t) if s < PADDING else Token(t) for s, t, g in rows if t != PADDING]
    return [_guess(piece) if piece.hidden else Run(piece.text) for piece in pieces_of(spelt, tokens)]


def _guess(piece: Piece) -> Run:
    return Run(piece.text.ljust(len(piece.true)), WRONG, piece.true) if piece.wrong else Run(piece.text, RIGHT)


def _lines(text: Sequence[Run]) -> int:
    return max(-(-sum(len(run.text) for run in text) // COLUMNS), 1)


def _block(text: Sequence[Run], lines: int, height: int) -> np.ndarray:
    """(lines · height, W, 3) uint8."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, lines * height + 2 * MARGIN), PAPER)
    pen = ImageDraw.Draw(image)
    at = 0
    for run in text:
        for i, letter in enumerate(run.text):
            x, y = MARGIN + at % COLUMNS * SLOT, MARGIN + at // COLUMNS * height
            if run.back:
                pen.rectangle((round(x), y, round(x + SLOT) - 2, y + LINE - 2), run.back)
            _letter(pen, x, y + 1, letter, INK, SIZE)
            if i < len(run.true):
                _letter(pen, x, y + LINE - 3, run.true[i] if run.true[i] != " " else "_", TRUE, SIZE - 1)
            at += 1
    return np.asarray(image)


def _letter(pen: ImageDraw.ImageDraw, x: float, y: int, letter: str, colour: tuple[int, int, int], size: int) -> None:
    """Centred in its slot; a newline is a bent arrow, for which the font has no glyph."""
    if letter == "\n":
        left, right, low = round(x) + 1, round(x + SLOT) - 3, y + size - 3
        pen.line([(right, y + 4), (right, low), (left, low)], colour)
        pen.line([(left + 2, low - 2), (left, low), (left + 2, low + 2)], colour)
    elif not letter.isspace():
        font = _font(size)
        pen.text((x + (SLOT - 1 - pen.textlength(letter, font)) / 2, y), letter, colour, font)


@lru_cache(maxsize=2)
def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)  # type: ignore[return-value]


def _rule() -> np.ndarray:
    """A line between two texts."""
    line = np.full((9, WIDTH, 3), PAPER, np.uint8)
    line[4] = RULE
    return line
