"""The report's scores: what each champion beats and by how much, every leaderboard with intervals, and the few-label curve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments import standings, words
from experiments.markup import Markup, details, table, tag, text
from experiments.results import Champion, Store
from experiments.svg import Line, lines, whisker

SPLITS = ("test", "validation")
MOST_ROWS = 40
MOST_OURS = 4
"""Recipes whose curve is drawn."""
OURS, OTHERS = "s0", "s7"


class Question(NamedTuple):
    """What one leaderboard answers."""

    dataset: str
    task: str
    metric: str
    labels: int | None
    """Per class; None = all."""
    split: str


class Board(NamedTuple):
    """A question and its leaderboard (columns of `standings.COLUMNS`)."""

    question: Question
    rows: pd.DataFrame


class Gap(NamedTuple):
    """The champion's score minus that of one contender, with a 95 % interval (NaN where there is none)."""

    recipe: str
    model: str
    value: float
    low: float
    high: float
    covers: str
    other: Any
    """The contender's own row of the leaderboard."""


def boards(scores: pd.DataFrame) -> Iterator[Board]:
    """Every leaderboard that the scores hold: by dataset, task as `words` lists them, metric, labels; test before validation."""
    known = {name: i for i, name in enumerate(words.TASK_WORDS)}
    columns = ["dataset", "task", "metric", "labels_per_class", "split"]
    for dataset, task, metric, labels, split in sorted(
        scores[columns].drop_duplicates().itertuples(index=False, name=None),
        key=lambda q: (
            q[0],
            known.get(q[1], len(known)),
            q[1],
            words.metric_order(q[2]),
            -1 if pd.isna(q[3]) else q[3],
            q[4],
        ),
    ):
        if split in SPLITS:
            one = Question(dataset, task, metric, None if pd.isna(labels) else int(labels), split)
            yield Board(one, standings.leaderboard(scores, task, metric, dataset, split, one.labels))


# Headline


def headline(found: Store, scores: pd.DataFrame) -> Markup:
    """A card per dataset: the model that validation ranks first, its test score, and its distance to all it should beat."""
    champions = found.champions()
    if not champions:
        return tag("p", "No trained model has a score yet. ", tag("code", "dvc repro"), " makes them.", class_="none")
    return text(_card(found, champion, scores) for champion in champions)


def _card(store: Store, champion: Champion, scores: pd.DataFrame) -> Markup:
    task, metric, dataset = champion.task, champion.metric, champion.dataset
    rows = standings.leaderboard(scores, task, metric, dataset, "test")
    mine = rows[rows["recipe"].eq(champion.recipe) & rows["model"].eq("pretrained")]
    title = tag("h3", words.short(dataset, 80))
    if mine.empty:
        return tag("div", title, tag("p", "The champion has no test score yet.", class_="none"), class_="card")
    best = mine.iloc[0]
    where = f"{words.task(task)} {words.metric(metric)} on {words.count(best['n_test'])} test samples"
    found = gaps(champion, scores)
    return tag(
        "div",
        title,
        tag("p", words.score(best["value"], metric), tag("small", where), class_="big"),
        tag(
            "p",
            tag("strong", words.short(champion.recipe, 80)),
            f" is first on validation ({words.score(champion.validation, metric)}). {_interval(best, metric)} ",
            _sentence(found, metric),
        ),
        _caveats(store, champion.recipe),
        _gap_table(found, metric),
        class_="card",
    )


def _caveats(found: Store, recipe: str) -> Markup | None:
    told = [tag("p", f"{words.short(one, 300)}.") for one in words.caveats(found.skipped(recipe)["reason"])]
    return tag("div", told, class_="note warn") if told else None


def gaps(champion: Champion, scores: pd.DataFrame) -> list[Gap]:
    """Of the champion and every control and baseline of its own table, widest first."""
    own = scores[scores["recipe"].eq(champion.recipe)]
    asked = (own, champion.task, champion.metric, champion.dataset, "test", None)
    found = []
    for other in standings.leaderboard(*asked).to_dict("records"):
        if other["model"] == "pretrained":
            continue
        base = (other["recipe"], other["model"])
        rows = standings.leaderboard(*asked, base)
        row = rows[rows["recipe"].eq(champion.recipe) & rows["model"].eq("pretrained")].iloc[0]
        numbers = (row["difference"], row["difference_low"], row["difference_high"])
        found.append(Gap(*base, *numbers, row["difference_covers"], other))
    return sorted(found, key=lambda gap: -gap.value if math.isfinite(gap.value) else math.inf)


def _interval(row: Any, metric: str) -> str:
    if row["covers"] == standings.NOTHING:
        return "There is no interval: one seed and no bootstrap."
    return f"95 % interval {words.bounds(row['low'], row['high'], metric)} over {row['covers']}."


def _sentence(found: Sequence[Gap], metric: str) -> Markup:
    """What it beats, what it is level with and what beats it, by the intervals of the differences."""
    named = {
        "It beats": [g for g in found if g.low > 0],
        "Not told apart from": [g for g in found if g.low <= 0 <= g.high],
        "Behind": [g for g in found if g.high < 0],
        "No interval against": [g for g in found if math.isnan(g.low) or math.isnan(g.high)],
    }
    parts = [
        f"{start} "
        + ", ".join(f"{words.model(g.model)} by {words.score(abs(g.value), metric, True)[1:]}" for g in some)
        if start in ("It beats", "Behind")
        else f"{start} " + ", ".join(f"{words.model(g.model)} ({words.score(g.value, metric, True)})" for g in some)
        for start, some in named.items()
        if some
    ]
    return tag("span", ". ".join(parts) + "." if parts else "There is no baseline to compare it with.")


def _gap_table(found: Sequence[Gap], metric: str) -> Markup | None:
    if not found:
        return None
    ends = [v for g in found for v in (g.value, g.low, g.high, 0.0) if math.isfinite(v)]
    span = _span(np.array(ends))
    body = [
        [
            words.short(words.model(g.model), 60),
            words.score(g.other["value"], metric),
            _signed(g, metric),
            whisker(g.value, g.low, g.high, span, f"{g.model}: {words.score(g.value, metric, True)}", zero=0.0)
            if math.isfinite(g.value)
            else words.NONE,
            words.bounds(g.low, g.high, metric, True),
            g.covers,
        ]
        for g in found
    ]
    columns = ["compared with", "its score", "difference", "zero is dashed", "95 % interval", "interval covers"]
    return table(columns, body, numbers=(1, 2, 4))


def _span(ends: np.ndarray) -> tuple[float, float]:
    """The scale of a column of whiskers: all of them, and a little air."""
    low, high = float(ends.min()), float(ends.max())
    air = 0.03 * (high - low) or 0.1 * abs(high) or 1.0
    return low - air, high + air


def _signed(gap: Gap, metric: str) -> Markup:
    kind = "up" if gap.low > 0 else "down" if gap.high < 0 else None
    return tag("span", words.score(gap.value, metric, True), class_=kind)


# Leaderboards


def leaderboards(found: Sequence[Board]) -> Markup:
    """Per dataset and task: a table with whiskers, ours and every baseline together; what is not the first of its task is folded away."""
    if not found:
        return tag("p", "No scores yet.", class_="none")
    tested = {b.question._replace(split="") for b in found if b.question.split == "test"}
    shown = [b for b in found if b.question.split == "test" or b.question._replace(split="") not in tested]
    parts: list[Markup] = []
    for dataset, of_dataset in groupby(shown, lambda b: b.question.dataset):
        parts.append(tag("h3", words.short(dataset, 80)))
        for _, of_task in groupby(of_dataset, lambda b: b.question.task):
            first, *others = of_task
            parts += [tag("h4", _asked(first.question)), _board(first)]
            for kind, some in groupby(others, lambda b: _kind_of(b.question.metric)):
                folded = [details(_asked(b.question), _board(b)) for b in some]
                parts.append(details(kind, *folded) if kind else text(folded))
    return text(parts)


def _kind_of(metric: str) -> str:
    """Under what a leaderboard is folded away; '' where it stands by itself."""
    return (
        "Each mask by itself" if words.MASK in metric else "Gains, paired item by item" if words.GAIN in metric else ""
    )


def _asked(question: Question) -> str:
    split = "" if question.split == "test" else f" ({question.split} split: there is no test score)"
    return f"{words.task(question.task, question.labels)}: {words.short(words.metric(question.metric), 80)}{split}"


def _board(board: Board) -> Markup:
    metric, rows = board.question.metric, board.rows
    top = rows.head(MOST_ROWS)
    ends = top[["value", "low", "high"]].to_numpy(dtype=float)
    ends = ends[np.isfinite(ends)]
    zero = 0.0 if words.GAIN in metric else None
    span = _span(ends if zero is None else np.append(ends, zero))
    validated = board.question.split == "test" and top["validation"].notna().any()
    columns = ["#", "model", words.unit(metric) or "value", "with 95 % interval", "95 % interval", "interval covers"]
    columns += [*(["validation"] if validated else []), "seeds", "labelled", board.question.split]
    body = [
        [
            words.NONE if pd.isna(row["rank"]) else row["rank"],
            _name(row),
            words.score(row["value"], metric),
            whisker(row["value"], row["low"], row["high"], span, row["model"], _kind(row["model"]), zero),
            words.bounds(row["low"], row["high"], metric),
            row["covers"],
            *([words.score(row["validation"], metric)] if validated else []),
            row["n_seeds"] or words.NONE,
            words.count(row["n_train"]),
            words.count(row["n_test"]),
        ]
        for row in top.to_dict("records")
    ]
    right = {0, 2, 4, *range(6, len(columns))}
    cut = None
    if len(rows) > MOST_ROWS:
        cut = tag("p", f"The first {MOST_ROWS} of {len(rows)} rows; all are in leaderboard.json.", class_="soft")
    told = standings.disagreement(rows)
    return tag("div", table(columns, body, numbers=right), tag("p", told, class_="soft") if told else None, cut)


def _name(row: dict[Any, Any]) -> Markup:
    shown = words.contender(words.short(row["recipe"], 40), words.short(words.model(row["model"]), 40))
    return tag("strong" if row["model"] == "pretrained" else "span", shown)


def _kind(model: str) -> str:
    return OURS if model == "pretrained" else OTHERS


# Curves


def few_labels(found: Sequence[Board]) -> Markup:
    """Accuracy over labels a class, a chart per dataset and task, with the band of each interval."""
    charts: list[Markup] = []
    asked = {(b.question.dataset, b.question.task, b.question.metric): None for b in found}
    for dataset, task, metric in asked:
        some = [
            b
            for b in found
            if b.question[:3] == (dataset, task, metric) and b.question.split == "test" and b.question.labels
        ]
        if len(some) < 2 or words.GAIN in metric:
            continue
        curves = _curves(some, metric)
        unit = words.unit(metric)
        title = f"{words.task(task)} on {words.short(dataset)}: {words.metric(metric)} by labels a class"
        name = f"test {words.short(words.metric(metric), 30)}" + (f", {unit}" if unit else "")
        said = f"{words.short(dataset, 60)}, {words.task(task)}. Bands are the 95 % intervals of the tables."
        drawn = lines(curves, title, "labels a class", name, log_x=True)
        charts.append(tag("figure", drawn, tag("figcaption", said)))
    if not charts:
        return tag("p", "No task was scored at two numbers of labels.", class_="none")
    return tag("div", *charts, class_="pair")


def _curves(some: Sequence[Board], metric: str) -> list[Line]:
    """A curve per recipe's pretrained model, then what the first of them has to beat."""
    long = pd.concat([b.rows.assign(labels=b.question.labels) for b in some])
    scale = 100 if words.fraction(metric) else 1
    names = list(dict.fromkeys(zip(long["recipe"], long["model"])))
    ours = [name for name in names if name[1] == "pretrained"][:MOST_OURS]
    first = ours[0][0] if ours else ""
    curves = []
    for i, (recipe, model) in enumerate(
        [*ours, *(name for name in names if name[1] != "pretrained" and name[0] in ("", first))]
    ):
        rows = long[long["recipe"].eq(recipe) & long["model"].eq(model)].sort_values("labels")
        x, y, low, high = (rows[c].to_numpy(dtype=float) for c in ("labels", "value", "low", "high"))
        name = words.contender(words.short(recipe, 14) if len(ours) > 1 and model == "pretrained" else "", model)
        curves.append(Line(name, x, scale * y, i, scale * low, scale * high, True))
    return curves


def rows_of(found: Sequence[Board]) -> list[dict[str, Any]]:
    """Every row of every leaderboard in plain values for JSON: six digits, null for what is missing."""
    rows = []
    for board in found:
        for row in board.rows.drop(columns=["is_baseline"]).to_dict("records"):
            asked = board.question._asdict()
            rows.append({**{k if k != "labels" else "labels_per_class": v for k, v in asked.items()}, **_plain(row)})
    return rows


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    kept = {str(k): v for k, v in row.items() if not str(k).startswith("difference")}
    whole = ("rank", "n_seeds", "n_probe_seeds", "n_train", "n_test")
    return {
        k: v if isinstance(v, str) else None if pd.isna(v) else int(v) if k in whole else round(float(v), 6)
        for k, v in kept.items()
    }
