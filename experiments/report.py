"""The report: everything the pipeline found, as one page that loads nothing and as `leaderboard.json`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import report_runs as runs
from experiments import report_samples as samples
from experiments import report_scores as scored
from experiments import words
from experiments.markup import Markup, page, table, tag, text
from experiments.report_style import STYLE
from experiments.results import Store
from mae_core.atomic import write_text

SCHEMA = 1
MOST_DRAWN = 8
"""Recipes with pictures of their own; tables hold all."""
MOST_PROBLEMS = 60


def write_report(root: Path = Path()) -> Path:
    """Writes report/index.html and report/leaderboard.json below ``root`` and returns the page's path.

    Whatever is absent or broken is named on the page with the command that makes it; only an unwritable folder raises (OSError).
    """
    found = Store(root)
    scores = found.scores()
    boards = list(scored.boards(scores))
    rows = {"schema": SCHEMA, "rows": scored.rows_of(boards)}
    folder = root / "report"
    write_text(folder / "leaderboard.json", json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(folder / "index.html", whole(found, scores, boards))
    return folder / "index.html"


def whole(found: Store, scores: pd.DataFrame, boards: list[scored.Board]) -> str:
    """The page."""
    names = first_by_validation(found, boards)
    sections: dict[str, Callable[[], Any]] = {
        "Headline": lambda: scored.headline(found, scores),
        "Leaderboards": lambda: scored.leaderboards(
            [b for b in boards if b.question.task not in ("rank", "reconstruction")]
        ),
        "Few labels": lambda: scored.few_labels(boards),
        "Reconstructions": lambda: [
            _each(names, lambda name: samples.reconstructions(found, name), "No reconstruction is rendered yet."),
            scored.leaderboards([b for b in boards if b.question.task == "reconstruction"]) if boards else None,
        ],
        "Search": lambda: _each(names, lambda name: runs.search(found, name), "No search has run."),
        "Training": lambda: runs.training(found, names),
        "Features": lambda: [
            _each(names, lambda name: samples.feature_map(found, name), "No map of the features is made yet."),
            scored.leaderboards([b for b in boards if b.question.task == "rank"]) if boards else None,
        ],
        "Skipped and caveats": lambda: skipped(found),
        "Data": lambda: samples.datasets(found),
        "Provenance": lambda: runs.provenance(found, scores),
        "Cost": lambda: runs.cost(found),
    }
    drawn = [
        tag("section", tag("h2", title, id=_anchor(title)), _drawn(title, draw)) for title, draw in sections.items()
    ]
    broken = problems(found)
    links = [tag("a", title, href=f"#{_anchor(title)}") for title in [*sections, *(["Problems"] if broken else [])]]
    return page("MAEstro report", STYLE, _header(found, scores, links), tag("main", drawn, broken), FOOTER)


FOOTER = tag(
    "footer",
    tag(
        "p",
        "Ranks and choices come from the validation split; the test split is opened once. An interval says what it covers: pretraining "
        "seeds, probe seeds or test samples. Every number is made by ",
        tag("code", "dvc repro"),
        " from the files in ",
        tag("code", "results/"),
        "; the rows of every table are in ",
        tag("code", "report/leaderboard.json"),
        ".",
    ),
)


def _header(found: Store, scores: pd.DataFrame, links: list[Markup]) -> Markup:
    recipes = found.recipes()
    scored_ones = scores["recipe"].nunique()
    counts = (
        f"{len(recipes)} recipe{'s' * (len(recipes) != 1)}, {scored_ones} scored, "
        f"on {scores['dataset'].nunique()} dataset{'s' * (scores['dataset'].nunique() != 1)}; {len(scores):,} scores."
    )
    lacking = [r.name for r in recipes if not r.has_results]
    waiting = None
    if lacking:
        listed = ", ".join(words.short(name, 40) for name in lacking[:8]) + (", …" if len(lacking) > 8 else "")
        waiting = tag("p", f"Without results so far: {listed}. ", tag("code", "dvc repro"), " goes on.")
    corrupt = sum(p.kind == "corrupt" for p in found.problems)
    broken = None
    if corrupt:
        count = "One file is" if corrupt == 1 else f"{corrupt} files are"
        link = tag("a", "Which, and what mends them", href="#problems")
        broken = tag("div", tag("p", f"{count} broken; all the rest is unaffected. ", link, "."), class_="note warn")
    said = tag(
        "p",
        "Masked autoencoders, pretrained without labels and judged by what their frozen features can do. ",
        counts,
        class_="lead",
    )
    return tag("header", tag("h1", "MAEstro report"), said, waiting, broken, tag("nav", *links))


def first_by_validation(found: Store, boards: Iterable[scored.Board]) -> list[str]:
    """Recipes that trained models; those that lead a leaderboard on validation come first."""
    ranked: dict[str, float] = {}
    for board in boards:
        for recipe, rank in zip(board.rows["recipe"], board.rows["rank"]):
            if recipe and not pd.isna(rank):
                ranked[recipe] = min(ranked.get(recipe, rank), rank)
    return sorted(found.trained_names(), key=lambda name: ranked.get(name, float("inf")))


def _each(names: list[str], draw: Callable[[str], Markup | None], nothing: str) -> Markup:
    """What a section shows of each of the first recipes."""
    parts = [part for name in names[:MOST_DRAWN] if (part := _drawn(name, partial(draw, name)))]
    if not parts:
        return tag("p", nothing, class_="none")
    more = f"{MOST_DRAWN} of {len(names)} recipes are drawn, those that lead on validation; the app shows all."
    return text([*parts, tag("p", more, class_="soft") if len(names) > MOST_DRAWN else None])


def _drawn(what: str, draw: Callable[[], Any]) -> Markup:
    """One part; a file that parses and yet holds nonsense costs its part, not the page."""
    try:
        return text(draw())
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, OSError) as error:
        logging.getLogger(__name__).exception("%s could not be drawn", what)
        said = f"This part could not be drawn: {type(error).__name__}: {words.short(error, 300)}. A file holds what its format forbids: "
        return tag("div", tag("p", said, tag("code", "dvc repro"), " makes it anew."), class_="note warn")


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def skipped(found: Store) -> Markup:
    """Tasks that did not run, and why, and what to know of those that ran."""
    rows = [
        [words.short(name, 60), words.task(words.short(task, 40)), words.short(reason, 300)]
        for name in found.recipe_names()
        for task, reason in found.skipped(name)[["task", "reason"]].itertuples(index=False)
    ]
    if not rows:
        return tag("p", "No task was skipped, and none ran with a caveat.", class_="none")
    said = tag("p", "These did not run, or ran with a caveat.", class_="soft")
    return text([said, table(["recipe", "task", "why"], rows)])


def problems(found: Store) -> Markup | None:
    """Files that could not be read while the page was made, broken ones first, each with the command that makes it anew."""
    listed = sorted(found.problems, key=lambda p: (p.kind != "corrupt", p.path))
    if not listed:
        return None
    rows = [
        [tag("code", words.short(p.path, 120)), words.short(p.what, 240), tag("code", words.short(p.command, 160))]
        for p in listed[:MOST_PROBLEMS]
    ]
    more = f"{len(listed)} files could not be used; everything else is unaffected." + (
        f" The first {MOST_PROBLEMS} are listed." if len(listed) > MOST_PROBLEMS else ""
    )
    return tag(
        "section",
        tag("h2", "Problems", id="problems"),
        tag("p", more),
        table(["file", "what is wrong", "made anew by"], rows),
    )
