"""Rows of a table as pictures, drawn with Pillow's own font."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from mae_core.data.kinds import words_of_days
from mae_core.modalities.columns import Columns
from mae_core.modalities.panels import Row, Value

NAME, CELL, LINE, PAD = 128, 56, 15, 4
"""Pixels: width of the names, width of a sample's cell, height of a line of text, space around it."""
TEXT = 11
MOST_COLUMNS, MOST_SAMPLES = 30, 8
"""More of a table than this is cut off, and said to be."""
INK, FAINT, PAPER, LINES = (32, 36, 44), (120, 126, 138), (255, 255, 255), (222, 226, 232)
BEHIND = {"near": (214, 240, 219), "off": (255, 240, 204), "far": (252, 216, 214), "": (226, 232, 242)}
"""Colours behind a filled value, by its ``grade``."""
NEAR_ERROR, OFF_ERROR = 0.25**2, 1.0


def draw_rows(columns: Columns, raw: Tensor, filled: Tensor, hidden: Tensor, error: Tensor) -> np.ndarray:
    """RGB uint8 (height, width, 3): a line for each column, a cell for each of (n, F) samples.

    What was seen is faint, a hidden value is the model's on green, yellow or red, with the true one below; missing is a dot.
    """
    from PIL import Image, ImageDraw

    shown, samples = min(len(columns), MOST_COLUMNS), min(len(raw), MOST_SAMPLES)
    height = 2 * LINE + 2 * PAD
    foot = LINE + 2 * PAD
    picture = Image.new("RGB", (NAME + CELL * samples, height * shown + foot), PAPER)
    pen, font = ImageDraw.Draw(picture), _font()
    for i in range(shown):
        top = i * height
        pen.line((0, top, picture.width, top), fill=LINES)
        pen.text((PAD, top + PAD + LINE // 2), _cut(columns.names[i], NAME), fill=INK, font=font)
        for j in range(samples):
            left = NAME + j * CELL
            true = value_words(columns, i, float(raw[j, i]))
            if not hidden[j, i]:
                pen.text((left + PAD, top + PAD + LINE // 2), _cut(true, CELL), fill=FAINT, font=font)
                continue
            colour = BEHIND[grade(columns, i, float(error[j, i]))]
            pen.rectangle((left, top + 1, left + CELL - 2, top + height - 1), fill=colour)
            said = value_words(columns, i, float(filled[j, i]))
            pen.text((left + PAD, top + PAD), _cut(said, CELL), fill=INK, font=font)
            pen.text((left + PAD, top + PAD + LINE), _cut(true, CELL), fill=FAINT, font=font)
    rest = len(columns) - shown
    words = "coloured: filled in, true value below · faint: seen" + (f" · {rest} more columns" if rest else "")
    pen.text((PAD, height * shown + PAD), words, fill=FAINT, font=font)
    return np.asarray(picture)


def draw_card(columns: Columns, row: Tensor) -> np.ndarray:
    """RGB uint8: names and values of one row (F,)."""
    from PIL import Image, ImageDraw

    shown = min(len(columns), MOST_COLUMNS)
    picture = Image.new("RGB", (NAME + CELL, LINE * shown + 2 * PAD), PAPER)
    pen, font = ImageDraw.Draw(picture), _font()
    for i in range(shown):
        pen.text((PAD, PAD + i * LINE), _cut(columns.names[i], NAME), fill=FAINT, font=font)
        pen.text((NAME, PAD + i * LINE), _cut(value_words(columns, i, float(row[i])), CELL), fill=INK, font=font)
    return np.asarray(picture)


def grade(columns: Columns, i: int, error: float) -> str:
    """``near``, ``off`` or ``far``: squared error up to a quarter, up to one, above one standard deviation; a wrong category is far.

    '' where the truth is not known.
    """
    if np.isnan(error):
        return ""
    far = error > OFF_ERROR if columns.number[i] else error > 0
    return "far" if far else "near" if error <= NEAR_ERROR else "off"


def row_of(
    columns: Columns, row: Tensor, hidden: Tensor, true: Tensor, error: Tensor, sure: Tensor, low: Tensor, high: Tensor
) -> Row:
    """A row of (F,) values in words, with what is known of its hidden ones; NaN stands for what is not."""
    values = []
    for i, name in enumerate(columns.names):
        text = value_words(columns, i, float(row[i]))
        if not hidden[i]:
            values.append(Value(name, text))
            continue
        say = partial(value_words, columns, i)
        between = None if low[i].isnan() else (say(float(low[i])), say(float(high[i])))
        truth = "" if true[i].isnan() else say(float(true[i]))
        values.append(Value(name, text, True, truth, between, float(sure[i]), grade(columns, i, float(error[i]))))
    return Row(values)


def value_words(columns: Columns, i: int, value: float) -> str:
    """A value of column ``i`` as people read it; '·' where it is missing."""
    if np.isnan(value):
        return "·"
    if columns.sizes[i]:
        names = columns.categories[i]
        return names[int(value)] if int(value) < len(names) else "(unseen)"
    if columns.dates[i]:
        return words_of_days(value)
    # an integer of six digits is one; beyond, four digits say enough
    return f"{value:.0f}" if abs(value) < 1e6 and value == int(value) else f"{value:.4g}"


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(TEXT)


def _cut(text: str, width: int) -> str:
    """As much of ``text`` as fits into ``width`` pixels."""
    most = (width - 2 * PAD) // 6
    return text if len(text) <= most else text[: most - 1] + "…"
