"""HTML in which text cannot become markup: `tag` escapes every string that is not itself made by `tag`."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

VOID = {"img", "br", "meta", "hr"}


class Markup(str):
    """HTML that is safe to write as it is."""


Content = Any
"""str (escaped), Markup, None (nothing), a number, or an iterable of these."""


def text(content: Content) -> Markup:
    """Content as HTML."""
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, Iterable) and not isinstance(content, str):
        return Markup("".join(text(part) for part in content))
    return Markup(html.escape(str(content)))


def tag(name: str, /, *content: Content, **attributes: Any) -> Markup:
    """An element. `class_` is class, `data_x` is data-x, `viewBox` stays; an attribute that is None is left out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{shown}>") if name in VOID else Markup(f"<{name}{shown}>{text(content)}</{name}>")


def table(
    columns: list[str], rows: list[list[Content]], numbers: Iterable[int] = (), caption: Content = None
) -> Markup:
    """A table in a box that scrolls by itself; `numbers` are the columns set to the right."""
    right = set(numbers)

    def cell(kind: str, i: int, content: Content) -> Markup:
        scope = "col" if kind == "th" else None
        return tag(kind, content, class_="n" if i in right else None, scope=scope)

    head = tag("thead", tag("tr", [cell("th", i, name) for i, name in enumerate(columns)]))
    body = tag("tbody", [tag("tr", [cell("td", i, part) for i, part in enumerate(row)]) for row in rows])
    over = tag("caption", caption) if caption else None
    return tag("div", tag("table", over, head, body), class_="scroll")


def details(summary: Content, *content: Content) -> Markup:
    """Something folded away."""
    return tag("details", tag("summary", summary), *content)


def page(title: str, style: str, *content: Content) -> str:
    """A whole document that loads nothing: its policy forbids scripts and every address but embedded pictures."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", *content), lang="en") + "\n"
