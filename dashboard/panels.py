"""How the records of ``mae_core.modalities.panels`` are drawn: one function for each kind of panel, whatever the modality."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import figures
from mae_core.modalities.panels import Curves, Panel, Picture, Piece, Row, Sound, Text

SIDE = 420  # pixels: more than a page gives a picture, so that a browser shrinks, never blurs
WHOLE = (
    Text,
    Row,
    Curves,
)  # they show what was filled in beside the truth; anything else is looked at beside the original
MOST_LINES = 16  # of a table before it scrolls
GRADES = {"near": "#d6f0db", "off": "#fff0cc", "far": "#fcd8d6", "": "#e2e8f2"}
INK = "#20242c"
TEXT = "font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; max-height: 24rem; overflow-y: auto"
KEYS = {
    Text: "Marked: filled in, darker where the model is surer; green is right, red is wrong, with the true token after it in small.",
    Row: "Green: right, or within a quarter of the standard deviation; yellow: within one; red: further off, or a wrong category.",
    Curves: "Dark: seen. Orange: filled in, over shaded gaps. Grey: the truth.",
}


def enlarge(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Whole-number enlargement of a small picture, pixel by pixel, so that nothing is invented between pixels."""
    times = max(1, -(-side // max(picture.shape[:2])))
    return picture.repeat(times, 0).repeat(times, 1)


def show(picture: np.ndarray, caption: str = "", side: int = SIDE, width: int | Literal["stretch"] = "stretch") -> None:
    """Draw a picture, enlarged without blur and stored without loss. The caption must be safe Markdown."""
    st.image(enlarge(picture, side), caption or None, width=width, output_format="PNG")


def whole(panels: Sequence[Panel]) -> bool:
    """Whether a sample needs no original beside it, and a wide place."""
    return all(isinstance(panel, WHOLE) for panel in panels)


def key(panels: Sequence[Panel]) -> str:
    """What the colours of panels mean, '' where they need no words."""
    return " ".join(dict.fromkeys(KEYS[type(panel)] for panel in panels if type(panel) in KEYS))


def draw(panels: Sequence[Panel], name: str, details: bool = True) -> None:
    """One sample's panels below each other; ``name`` keeps charts of a page apart. Without ``details`` no pictures of errors."""
    for i, panel in enumerate(panels):
        if details or not getattr(panel, "name", ""):
            DRAW[type(panel)](panel, f"{name}-{i}")


def thumbnails(items: Sequence[tuple[list[Panel], str]], name: str, most: int) -> int:
    """Samples with safe captions: ``most`` small pictures or rows of one table, else a third as many; how many were drawn."""
    if all(isinstance(panel, Picture) for panels, _ in items for panel in panels):
        with st.container(horizontal=True, gap="small"):
            for panels, caption in items[:most]:
                for panel in panels:
                    show(panel.rgb, caption, 192, 96)  # type: ignore[union-attr]
        return len(items[:most])
    if all(isinstance(panel, Row) for panels, _ in items for panel in panels):
        _rows(items[:most])
        return len(items[:most])
    across = 2 if items and whole(items[0][0]) else 4
    some = items[: max(most // 3 // across, 1) * across]
    for start in range(0, len(some), across):
        for i, place in enumerate(st.columns(across, gap="medium")[: len(some) - start]):
            panels, caption = some[start + i]
            with place:
                st.caption(caption)
                draw(panels, f"{name}-{start + i}")
    return len(some)


def _rows(items: Sequence[tuple[list[Panel], str]]) -> None:
    """Rows of one table below each other."""
    lines = []
    for panels, caption in items:
        values = (value for panel in panels if isinstance(panel, Row) for value in panel.values)
        lines.append({"": caption.replace("\\", ""), **{value.name: value.text for value in values}})
    st.dataframe(pd.DataFrame(lines), hide_index=True)


def _picture(panel: Picture, name: str) -> None:
    show(panel.rgb, panel.name)


def _sound(panel: Sound, name: str) -> None:
    st.audio(_wav(panel), format="audio/wav")


@st.cache_data(max_entries=256, show_spinner=False)
def _wav(panel: Sound) -> bytes:
    return panel.wav()


def _text(panel: Text, name: str) -> None:
    st.html(f'<div style="{TEXT}">{"".join(map(marked, panel.pieces))}</div>')


def marked(piece: Piece) -> str:
    """One token as HTML; whatever it holds is words."""
    text = html.escape(piece.text)
    if not piece.hidden:
        return text
    sure = "" if np.isnan(piece.probability) else f"{100 * piece.probability:.0f} %"
    strength = 0.5 if np.isnan(piece.probability) else 0.15 + 0.6 * piece.probability
    colour = "120,130,145" if not piece.true else "200,60,40" if piece.wrong else "30,150,80"
    # a wrong line break would tear a line apart
    shown = text.replace("\n", "↵" if piece.wrong else "↵\n")
    found = f'<mark title="{sure}" style="background: rgba({colour},{strength:.2f}); color: inherit; border-radius: 3px">{shown}</mark>'
    true = html.escape(piece.true).replace("\n", "↵").replace(" ", "␣")
    return found + (f'<sub style="color: #b03020">{true}</sub>' if piece.wrong else "")


def _row(panel: Row, name: str) -> None:
    table = pd.DataFrame(
        [(one.name, one.text if not one.hidden else "", one.text if one.hidden else "", one.sure, one.true) for one in panel.values],
        columns=["column", "seen", "filled in", "90 % interval, or how sure", "truth"],
    )  # fmt: skip
    if not any(one.hidden for one in panel.values):
        table = table[["column", "seen"]].rename(columns={"seen": "value"})
    grades = [one.grade if one.hidden else None for one in panel.values]
    height = 38 + 35 * min(len(table), MOST_LINES)
    st.dataframe(table.style.apply(_shades(grades), axis=1), hide_index=True, height=height)


def _shades(grades: Sequence[str | None]) -> Callable[[pd.Series], list[str]]:
    """The style of each cell of a line: what was filled in stands on the colour of its grade."""

    def of(line: pd.Series) -> list[str]:
        grade = grades[int(line.name)]  # type: ignore[call-overload]
        shade = "" if grade is None else f"background-color: {GRADES[grade]}; color: {INK}"
        return [shade if column == "filled in" else "" for column in line.index]

    return of


def _curves(panel: Curves, name: str) -> None:
    st.plotly_chart(figures.channels(panel.seen, panel.filled, panel.true), key=name, config={"displaylogo": False})


DRAW: dict[type, Callable[[Any, str], None]] = {
    Picture: _picture,
    Sound: _sound,
    Text: _text,
    Row: _row,
    Curves: _curves,
}
