"""The scores in short, for a terminal: what ``maestro scores`` and the report stage print."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments import standings, words
from experiments.results import Store

LABELS = 10
"""Labels a class of the few-label tasks that are shown; where these were not scored, the fewest that were."""
TASKS = ("linear", "knn", "few_label", "finetune")
WIDEST = 58
MOST_ROWS = 12


def scores_text(root: Path) -> str:
    """Test accuracy of every dataset and task, each with its interval, models and baselines together, best on validation first.

    Below each stands what to know of it, as in the app; at the end, of every recipe, what did not run, or ran with a caveat, and the files
    that cannot be read.
    """
    store = Store(root)
    scores = store.scores()
    wanted = scores[scores["metric"].eq("accuracy") & scores["split"].eq("test")]
    lines = []
    for dataset in sorted(wanted["dataset"].unique()):
        for task in TASKS:
            rows = wanted[wanted["dataset"].eq(dataset) & wanted["task"].eq(task)]
            if rows.empty:
                continue
            labels = _labels(rows)
            board = standings.leaderboard(scores, task, "accuracy", dataset, "test", labels)
            lines.append(f"\n{words.short(dataset)}: {words.task(task, labels)}, test accuracy with its 95 % interval")
            lines += [_line(row) for row in board.head(MOST_ROWS).to_dict("records")]
            if len(board) > MOST_ROWS:
                lines.append(f"  and {len(board) - MOST_ROWS} more: see report/index.html")
            lines += [f"  {one}" for one in standings.remarks(board)]
    lines += _skipped(store)
    broken = [f"not read: {p.path}: {p.what}; run `{p.command}`" for p in store.problems if p.kind == "corrupt"]
    return "\n".join([*lines, *broken]).strip() or "no scores yet: run `dvc repro`"


def _skipped(store: Store) -> list[str]:
    """What did not run and why, and what to know of what ran: a line each, below a heading."""
    found = [
        f"  {words.short(recipe, 24)}, {words.task(words.short(task))}: {words.short(reason, 300)}"
        for recipe in store.recipe_names()
        for task, reason in store.skipped(recipe)[["task", "reason"]].itertuples(index=False)
    ]
    return ["\nDid not run, or ran with a caveat:", *found] if found else []


def _labels(rows: pd.DataFrame) -> int | None:
    counts = sorted({int(n) for n in rows["labels_per_class"].dropna()})
    return None if rows["labels_per_class"].isna().any() else LABELS if LABELS in counts else counts[0]


def _line(row: dict) -> str:
    who = words.short(words.contender(words.short(row["recipe"], 24), row["model"]), WIDEST)
    bounds = words.bounds(row["low"], row["high"], "accuracy")
    return f"  {who:<{WIDEST}} {words.score(row['value'], 'accuracy'):>7}  {bounds:<15} {row['covers']}"
