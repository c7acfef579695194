"""What a search found, as files and as words: ``best.yaml``, ``trials.parquet``, ``search.json``, ``proxies.csv``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from experiments.correlations import TAKEN_OVER, correlations
from experiments.goals import COLUMN, FEW_TRIALS, PROXIES
from experiments.halving import NOT_CONFIRMED, Confirmation, Found, Outcome, scores
from experiments.pareto import PICKED
from experiments.recipe import Recipe
from experiments.space import Space, Tried, importance
from experiments.trials import Metric
from mae_core.atomic import replace_file, write_text

SCHEMA = 2
COLUMNS = {
    "trial": "int64", "rung": "int64", "origin": "str", "status": "str", "seed": "int64", "steps": "int64",
    "flops": "float64", "parameters": "int64", "score": "float64", "loss": "float64", "encode_flops": "float64", "parent": "Int64",
    **{COLUMN + name: "float64" for name in PROXIES},
}  # fmt: skip
"""Of trials.parquet, before the searched keys."""
WHY_NOT_LOSS = "the loss is shown, never ranked by: what it measures changes with the mask and the patch, so the easiest task would win"


def write(folder: Path, summary: dict[str, Any], rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The four files; what proxies.csv says. They hold no times, hosts or paths, so the same search writes the same bytes."""
    won = (
        summary["chosen"] == "winner" and not summary["schedule"]
    )  # values that change on the way are no recipe values
    chosen = summary["winner"] if won else summary["default"]
    table = pd.DataFrame(rows, columns=[*COLUMNS, *summary["keys"]]).astype(COLUMNS)
    proxies = correlations(table, summary["metric"])
    write_text(folder / "best.yaml", yaml.safe_dump(chosen, sort_keys=True))
    write_text(folder / "proxies.csv", proxies.to_csv(index=False))
    with replace_file(folder / "trials.parquet") as staging:
        table.to_parquet(staging, index=False)
    write_text(folder / "search.json", json.dumps({"schema": SCHEMA, **summary}, indent=2, allow_nan=False) + "\n")
    return proxies


def rows_of(found: Found) -> list[dict[str, Any]]:
    """One row per trial and rung, then those that confirmed."""
    rows = []
    for rung, tried in enumerate([*found.rungs, found.confirming]):
        went_on = {o.job.trial for o in found.rungs[rung + 1]} if rung + 1 < len(found.rungs) else None
        for outcome, score in zip(tried, scores(tried)):
            job = outcome.job
            status = "complete" if went_on is None or job.trial in went_on else "stopped"
            rows.append(
                {
                    "trial": job.trial,
                    "rung": job.rung,
                    "origin": job.origin,
                    "status": "failed" if outcome.failure else status,
                    "seed": job.seed,
                    "steps": outcome.steps,
                    "flops": outcome.flops,
                    "parameters": outcome.parameters,
                    "score": math.nan if score is None else score,
                    "loss": math.nan if outcome.loss is None else outcome.loss,
                    "encode_flops": outcome.encode_flops,
                    "parent": job.parent,
                    **{COLUMN + name: outcome.proxies.get(name, math.nan) for name in PROXIES},
                    **job.chosen,
                }
            )
    return rows


def off(recipe: Recipe, why: str) -> dict[str, Any]:
    """search.json of a search that did not take place."""
    return {
        "metric": recipe.search.metric,
        "objectives": recipe.search.objectives,
        "split": "validation",
        "trials": 0,
        "keys": [],
        "default": {},
        "winner": {},
        "chosen": "default",
        "verdict": why,
        "confirm": NOT_CONFIRMED._asdict(),
        "importance": {},
        "importance_n": 0,
        "rank_correlation": {"loss_with_score": None, "n": 0},
        "picked": None,
        "front": [],
        "others": {},
        "schedule": None,
        "flops": 0.0,
    }


def summary_of(found: Found, space: Space, metric: Metric, objectives: list[str]) -> dict[str, Any]:
    """search.json of a search that did. Importance and rank correlation are over the first rung, where all trials cost the same.

    Of a population they are over its first part, where all members make equal steps.
    """
    first = found.rungs[0]
    winner = next((o.job.chosen for o in first if o.job.trial == found.winner), {})
    if found.schedule:
        winner = found.schedule["pieces"][-1]["chosen"]
    shares, n = importance(space, [Tried(o.job.chosen, score) for o, score in zip(first, scores(first))])
    return {
        "metric": metric.name,
        "objectives": objectives,
        "split": "validation",
        "trials": len(first),
        "keys": list(space.keys),
        "default": space.defaults,
        "winner": winner,
        "chosen": found.chosen,
        "verdict": found.verdict,
        "confirm": _rounded(found.confirmation),
        "importance": shares,
        "importance_n": n,
        "rank_correlation": _rank_correlation(first),
        "picked": found.winner,
        "front": found.front,
        "others": {name: _rounded(one) for name, one in found.others.items()},
        "schedule": found.schedule,
        "flops": sum(o.flops for o in [*(o for rung in found.rungs for o in rung), *found.confirming]),
    }


def _rounded(confirmation: Confirmation) -> dict[str, Any]:
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in confirmation._asdict().items()}


def _rank_correlation(tried: list[Outcome]) -> dict[str, Any]:
    """Spearman's, of loss and score; None where fewer than three trials have both, or all of one are alike."""
    pairs = [(o.loss, score) for o, score in zip(tried, scores(tried)) if o.loss is not None and score is not None]
    losses, scored = [loss for loss, _ in pairs], [score for _, score in pairs]
    if len(pairs) < 3 or len(set(losses)) < 2 or len(set(scored)) < 2:
        return {"loss_with_score": None, "n": len(pairs)}
    from scipy.stats import spearmanr

    return {"loss_with_score": round(float(spearmanr(losses, scored).statistic), 4), "n": len(pairs)}


def report(summary: dict[str, Any], proxies: pd.DataFrame) -> None:
    """What was found, in words."""
    print("\n".join(f"  {line}" for line in lines(summary, proxies)))


def lines(summary: dict[str, Any], proxies: pd.DataFrame) -> list[str]:
    """What a search found, a sentence each: of ``search.json`` and ``proxies.csv``."""
    said = [str(summary["verdict"])]
    if summary.get("schedule"):
        told = ", ".join(
            f"ratio {c['ratio']:g} and rate {c['lr']:g} from step {c['step']}" for c in summary["schedule"]["changes"]
        )
        said.append(f"its schedule, in steps of a final run: {told}; best.yaml keeps the defaults, which are constant")
    if summary.get("front"):
        trials = ", ".join(map(str, summary["front"]))
        said.append(f"trials that none dominates in {', '.join(summary['objectives'])}: {trials}; picked: {PICKED}")
    rank = summary.get("rank_correlation") or {"loss_with_score": None, "n": 0}
    value = "unknown" if rank["loss_with_score"] is None else f"{rank['loss_with_score']:+.2f}"
    name = {"knn": "k-NN", "label_free": "label-free"}.get(summary["metric"], summary["metric"])
    said.append(f"rank correlation of the reconstruction loss with the {name} score over {rank['n']} trials: {value}")
    said.append(WHY_NOT_LOSS)
    ranked = proxies[proxies["spearman"].notna()] if len(proxies) else proxies
    said += [_trusted(row) for row in ranked.to_dict("records")]
    if few := len(proxies) - len(ranked):
        said.append(
            f"{few} more rank correlations are unknown: of fewer than three trials, or of values that are all alike"
        )
    if len(proxies) and summary.get("schedule"):
        said.append(TAKEN_OVER)
    shares = sorted(summary["importance"].items(), key=lambda pair: (-pair[1], pair[0]))
    n = summary["importance_n"]
    noise = f" (noise below {FEW_TRIALS} trials)" if n < FEW_TRIALS else ""
    told = ", ".join(f"{key} {share:.2f}" for key, share in shares) or "unknown"
    return [*said, f"importance over {n} trials{noise}: {told}"]


def _trusted(row: dict[Any, Any]) -> str:
    """One proxy at one rung: how it ranked the trials, and the better half of them."""

    def number(prefix: str) -> str:
        value, low, high = (float(row[prefix + name]) for name in ("spearman", "low", "high"))
        around = "" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]"
        return f"{'unknown' if math.isnan(value) else f'{value:+.2f}'}{around} (n = {int(row[prefix + 'n'])})"

    what = PROXIES[row["proxy"]].what if row["proxy"] in PROXIES else "training loss"
    where = f"at rung {row['rung']} with the score at rung {row['target_rung']}"
    return f"{what} {where}: {number('')}, of the better half {number('top_')}"
