"""What every page shares: the store, the URL, and the one way to show a problem, an empty page, a table or a chart."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from experiments import words
from experiments.results import Champion, Store

MOST_COMPARED = 4


def store() -> Store:
    """The project that the app shows: the folder of MAESTRO_ROOT, else the current one."""
    return Store(Path(os.environ.get("MAESTRO_ROOT") or Path.cwd()))


@st.cache_data(max_entries=128, show_spinner=False)
def _leaderboard(root: Path, stamp: tuple[tuple[str, int, int], ...], *question: Any) -> pd.DataFrame:
    return Store(root).leaderboard(*question)


def leaderboard(found: Store, *question: Any) -> pd.DataFrame:
    """`Store.leaderboard`, computed once for as long as no score changes."""
    return _leaderboard(found.root, found.scores_stamp(), *question)


@st.cache_data(max_entries=8, show_spinner=False)
def _headlines(root: Path, stamp: tuple[tuple[str, int, int], ...]) -> list[dict[str, Any]]:
    return Store(root).headlines()


def headlines(found: Store) -> list[dict[str, Any]]:
    """`Store.headlines`, computed once for as long as no score changes."""
    return _headlines(found.root, found.scores_stamp())


@st.cache_data(max_entries=8, show_spinner=False)
def _champions(root: Path, stamp: tuple[tuple[str, int, int], ...]) -> list[Champion]:
    return Store(root).champions()


def champions(found: Store) -> list[Champion]:
    """`Store.champions`, computed once for as long as no score changes."""
    return _champions(found.root, found.scores_stamp())


def plain(text: object, longest: int = 60) -> str:
    """A name that came from a file, safe inside Markdown: nothing in it is a link, an image, a colour or a formula."""
    return re.sub(r"([\\`*_{}\[\]()#+\-!$:<>|~&])", r"\\\1", words.short(text, longest))


def header(title: str, sentence: str) -> None:
    st.title(title, anchor=False)
    st.caption(sentence)


def empty(sentence: str, command: str = "dvc repro") -> None:
    """The empty state: one sentence, one command."""
    with st.container(border=True):
        st.markdown(sentence)
        st.code(command, language="bash")


def unusable(path: str, why: object, command: str) -> None:
    """Names a file that cannot be used, and what makes it anew."""
    st.error(f"**{plain(path)}** cannot be used: {plain(why, 240)}", icon=":material/error:")
    st.code(command, language="bash")


def problems(found: Store) -> None:
    """What could not be read while the page was drawn; corrupt files are shown at once, absent ones on request."""
    corrupt = [p for p in found.problems if p.kind == "corrupt"]
    missing = [p for p in found.problems if p.kind == "missing"]
    if corrupt:
        count = "One file" if len(corrupt) == 1 else f"{len(corrupt)} files"
        st.error(f"{count} could not be used; everything else on this page is unaffected.", icon=":material/error:")
        for problem in corrupt[:20]:
            with st.container(border=True):
                st.markdown(f"**{plain(problem.path, 160)}**: {plain(problem.what, 240)}")
                st.code(problem.command, language="bash")
    if missing:
        count = "One file is" if len(missing) == 1 else f"{len(missing)} files are"
        with st.expander(f"{count} not there yet", icon=":material/hourglass_empty:"):
            shown = pd.DataFrame([(p.path, p.command) for p in missing], columns=["file", "made by"])
            st.dataframe(shown, hide_index=True)


def choose(label: str, options: Sequence[Any], key: str, help: str | None = None, **more: Any) -> Any:
    """A menu whose choice lives in the URL. `options` must not be empty."""
    return st.selectbox(label, options, key=key, help=help, bind="query-params", **more)


def choose_several(label: str, options: Sequence[Any], key: str, first: int = 2, **more: Any) -> list[Any]:
    """Up to four of `options`, the first two to begin with; the choice lives in the URL."""
    return st.multiselect(
        label, options, list(options[:first]), key=key, max_selections=MOST_COMPARED, bind="query-params", **more
    )


def chart(figure: go.Figure, data: pd.DataFrame, name: str, **more: Any) -> Any:
    """A chart and the numbers behind it."""
    settings = {"displaylogo": False, "toImageButtonOptions": {"filename": name, "scale": 2}}
    with st.container(gap=None):
        event = st.plotly_chart(figure, key=f"chart-{name}", config=settings, **more)
        download(data, name)
    return event


def download(data: pd.DataFrame, name: str, label: str = "CSV") -> None:
    """A button that saves a table; it is written when it is asked for."""

    def write() -> bytes:
        return data.to_csv(index=False).encode()

    st.download_button(
        label, write, f"{name}.csv", "text/csv", key=f"csv-{name}", icon=":material/download:", type="tertiary"
    )


def contender(recipe: str, model: str) -> str:
    """'digits · pretrained'; a data baseline has no recipe. Menus choose by it, so no recipe's name is cut."""
    return words.contender(words.short(recipe) if recipe else "", words.short(model))


def whisker_rows(table: pd.DataFrame, metric: str, labels: Sequence[str]) -> pd.DataFrame:
    """A leaderboard as `figures.whiskers` draws it, in the unit of `score`."""
    scale = 100 if words.fraction(metric) else 1
    numbers = table[["value", "low", "high"]]
    hover = [
        f"{label}: {words.score(value, metric)}, 95 % interval {words.bounds(low, high, metric)} over {covers}"
        for label, (value, low, high), covers in zip(labels, numbers.itertuples(index=False), table["covers"])
    ]
    return (scale * numbers).assign(label=list(labels), hover=hover, main=table["model"].eq("pretrained"))


def guarded(page: Callable[[Store], None]) -> None:
    """Draw a page, then say what of it could not be read; one bad file never takes the page down."""
    found = store()
    try:
        page(found)
    except (
        Exception
    ) as error:  # a file that parses can still hold nonsense; the visitor gets words, the log the traceback
        logging.getLogger(__name__).exception("page %s", page.__module__)
        what = f"{type(error).__name__}: {plain(error, 300)}"
        st.error(f"The rest of this page could not be drawn. {what}", icon=":material/error:")
        st.caption("A file holds something its format does not allow. Making the results anew should mend it:")
        st.code("dvc repro", language="bash")
    problems(found)
