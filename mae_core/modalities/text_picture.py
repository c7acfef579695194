"""Text as a picture: every character in a slot of its own, hidden tokens as boxes, guesses in the colour of right and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mae_core.data.texts import PADDING

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


class Token(NamedTuple):
    """One token to draw."""

    text: str
    back: tuple[int, int, int] | None = None
    true: str = ""
    """Written small below, where it differs."""


def draw(pieces: Sequence[str], raw: np.ndarray) -> np.ndarray:
    """(n, H, W, 3) uint8 of (n, L) token ids; ids below −1 are boxes, −1 is nothing."""
    texts = [_seen(pieces, row, row) for row in raw]
    lines = max((_lines(text) for text in texts), default=1)
    return np.stack([_block(text, lines, LINE) for text in texts])


def draw_pair(pieces: Sequence[str], raw: np.ndarray, masked: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: for each of n texts what was seen, then the reconstruction."""
    blocks = []
    for true, seen, guess in zip(raw, masked, filled):
        above = _seen(pieces, seen, true)
        below = [
            _guess(pieces[t], pieces[g]) if s < PADDING else Token(pieces[t])
            for t, s, g in zip(true.tolist(), seen.tolist(), guess.tolist())
            if t != PADDING
        ]
        blocks += [_block(above, _lines(above), LINE), _block(below, _lines(below), LINE + SIZE), _rule()]
    return np.concatenate(blocks[:-1])


def _seen(pieces: Sequence[str], seen: np.ndarray, true: np.ndarray) -> list[Token]:
    """What is visible; a hidden token takes the room of the true one, so that lines of a pair agree where they can."""
    return [
        Token(" " * (len(pieces[t]) if t >= 0 else 1), HIDDEN) if s < PADDING else Token(pieces[s])
        for s, t in zip(seen.tolist(), true.tolist())
        if s != PADDING
    ]


def _guess(true: str, guess: str) -> Token:
    return Token(guess, RIGHT) if guess == true else Token(guess.ljust(len(true)), WRONG, true)


def _lines(text: Sequence[Token]) -> int:
    return max(-(-sum(len(token.text) for token in text) // COLUMNS), 1)


def _block(text: Sequence[Token], lines: int, height: int) -> np.ndarray:
    """(lines · height, W, 3) uint8."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, lines * height + 2 * MARGIN), PAPER)
    pen = ImageDraw.Draw(image)
    at = 0
    for token in text:
        for i, letter in enumerate(token.text):
            x, y = MARGIN + at % COLUMNS * SLOT, MARGIN + at // COLUMNS * height
            if token.back:
                pen.rectangle((round(x), y, round(x + SLOT) - 2, y + LINE - 2), token.back)
            _letter(pen, x, y + 1, letter, INK, SIZE)
            if i < len(token.true):
                _letter(pen, x, y + LINE - 3, token.true[i] if token.true[i] != " " else "_", TRUE, SIZE - 1)
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
