"""The report's runs: what was searched and why the winner won, training curves, where every number comes from, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments import words
from experiments.columns import masks_of, parts_of
from experiments.goals import FEW_TRIALS
from experiments.markup import Markup, details, table, tag, text
from experiments.reading import number
from experiments.report_proxies import front, percent, schedule, trusted
from experiments.results import Store, best_trial, last_rungs
from experiments.svg import Line, bars, lines, scatter

PAPER_RATIO = 0.75
ORIGINS = {"default": "s1", "sampled": "s0"}
MOST_CURVES = 6
HEX = 12
"""Digits of a fingerprint that are shown."""


def _value(value: Any) -> str:
    """A setting as a person writes it."""
    value = value.item() if isinstance(value, np.generic) else value
    return words.short(f"{value:.4g}" if isinstance(value, float) else value, 60)


# Search


def search(found: Store, recipe: str) -> Markup | None:
    """Verdict, confirming runs, importance with its n, the mask ratio, and whether the loss would have chosen the same."""
    summary, trials = found.search_summary(recipe), found.trials(recipe)
    if not summary and trials.empty:
        return None
    metric = str(summary.get("metric", "score"))
    name = f"{words.task(metric)} accuracy" if percent(metric) else words.metric(metric)
    axis = words.short(name, 36) + (", %" if percent(metric) else "")
    scale = 100 if percent(metric) else 1
    verdict = words.short(summary.get("verdict") or "The search gives no verdict.", 500)
    return tag(
        "div",
        tag("h3", words.short(recipe, 80)),
        tag("div", tag("p", tag("strong", verdict[:1].upper() + verdict[1:].rstrip(".") + ".")), class_="note"),
        tag("p", _what_was_tried(summary, trials, name), class_="soft"),
        tag(
            "div",
            tag("div", _choice(summary), _importance(summary, name)),
            _confirmation(summary, metric),
            class_="pair",
        ),
        tag("div", _ratios(summary, trials, axis, scale), _against_loss(summary, trials, axis, scale), class_="pair"),
        front(summary, trials),
        schedule(summary),
        trusted(found.proxies(recipe), summary),
    )


def _what_was_tried(summary: dict[str, Any], trials: pd.DataFrame, metric: str) -> str:
    tried = trials[trials["origin"].ne("confirm")].sort_values(["trial", "rung"]).drop_duplicates("trial", keep="last")
    if tried.empty:
        return "No trial was run."
    status = tried["status"].value_counts()
    counted = ", ".join(f"{status[s]} {s}" for s in ("complete", "stopped", "failed") if s in status)
    keys = ", ".join(words.short(k, 40) for k in summary.get("keys") or []) or "nothing"
    flops = number(summary.get("flops"))
    cost = "" if math.isnan(flops) else f" All trials together cost {words.amount(flops, 'FLOP')}."
    return (
        f"{len(tried)} trials ({counted}) over {keys}, ranked by {metric} on the {summary.get('split', 'validation')} split, "
        f"never by the reconstruction loss.{cost}"
    )


def _choice(summary: dict[str, Any]) -> Markup | None:
    default, winner = summary.get("default") or {}, summary.get("winner") or {}
    rows: list[list[Any]] = [
        [tag("code", words.short(key, 60)), _value(default.get(key, words.NONE)), _value(winner.get(key, words.NONE))]
        for key in sorted({*default, *winner})
    ]
    return table(["searched key", "defaults", words.winner(summary)], rows) if rows else None


def _confirmation(summary: dict[str, Any], metric: str) -> Markup | None:
    confirm = summary.get("confirm") or {}
    seeds, default, winner = (confirm.get(key) or [] for key in ("seeds", "default", "winner"))
    if not seeds or not len(seeds) == len(default) == len(winner):
        return None
    by = "accuracy" if percent(metric) else metric
    rows: list[list[Any]] = [
        [seed, words.score(a, by), words.score(b, by), words.score(b - a, by, True)]
        for seed, a, b in zip(seeds, default, winner)
    ]
    gain, error = number(confirm.get("gain")), number(confirm.get("standard_error"))
    note = f"Run again from {len(seeds)} fresh seed{'s' * (len(seeds) != 1)} {words.length(confirm.get('share'))}."
    if math.isfinite(gain) and math.isfinite(error):
        note += (
            f" Mean gain {words.score(gain, by, True)}, standard error {words.score(error, by, True)[1:]}: "
            "the winner counts as better only if its gain exceeds its standard error."
        )
    return table(["seed", "defaults", words.winner(summary), "gain"], rows, numbers=(1, 2, 3), caption=note)


def _importance(summary: dict[str, Any], metric: str) -> Markup:
    shares = {str(k): float(v) for k, v in (summary.get("importance") or {}).items() if isinstance(v, int | float)}
    n = int(number(summary.get("importance_n") or 0))
    if not shares:
        return tag("p", f"No importance: it needs more finished trials than {n}, or two searched keys.", class_="none")
    ranked = sorted(shares.items(), key=lambda share: (-share[1], share[0]))
    noisy = f" Fewer than {FEW_TRIALS} trials: the order may change with the next one." if n < FEW_TRIALS else ""
    note = tag("figcaption", f"Importance: share of the variance of {metric} over n = {n} trials.{noisy}")
    return tag("figure", bars([k for k, _ in ranked], [v for _, v in ranked], f"importance, n = {n}"), note)


def _ratios(summary: dict[str, Any], trials: pd.DataFrame, axis: str, scale: int) -> Markup | None:
    """The score by mask ratio; None of a population, whose members change theirs on the way."""
    if summary.get("schedule"):
        return None
    if "masking.ratio" not in trials or last_rungs(trials).empty:
        return tag("p", "The mask ratio was not searched: the recipe pins it.", class_="none")
    last = last_rungs(trials)
    x, y = last["masking.ratio"].to_numpy(dtype=float), scale * last["score"].to_numpy(dtype=float)
    drawn = scatter(x, y, _kinds(last), "score by mask ratio", "mask ratio", axis, PAPER_RATIO)
    best = best_trial(trials)
    said = "" if best is None else f" Best of the longest schedule: {float(best['masking.ratio']):.3g}."
    note = f"Dashed: {PAPER_RATIO}, He et al. (2021). Orange is the defaults; pale trials were stopped on a shorter schedule.{said}"
    return tag("figure", drawn, tag("figcaption", f"{note} n = {len(last)}."))


def _against_loss(summary: dict[str, Any], trials: pd.DataFrame, axis: str, scale: int) -> Markup | None:
    last = last_rungs(trials)
    if last.empty:
        return None
    x, y = last["loss"].to_numpy(dtype=float), scale * last["score"].to_numpy(dtype=float)
    drawn = scatter(x, y, _kinds(last), "score by reconstruction loss", "reconstruction loss", axis)
    rank = summary.get("rank_correlation") or {}
    value = number(rank.get("loss_with_score"))
    said = (
        ""
        if math.isnan(value)
        else f"Rank correlation of the loss with the score: {value:+.2f} (n = {rank.get('n')}). "
    )
    why = "Only near −1 would the lowest loss choose the best features; losses of other mask ratios or targets do not compare."
    return tag("figure", drawn, tag("figcaption", said + why))


def _kinds(rows: pd.DataFrame) -> list[str]:
    return [
        f"{ORIGINS.get(str(origin), 's7')}{'' if status == 'complete' else ' faint'}"
        for origin, status in zip(rows["origin"], rows["status"])
    ]


# Training


def training(found: Store, recipes: Sequence[str]) -> Markup:
    """Loss and learning rate by step, a curve per recipe and seed."""
    losses: list[Line] = []
    rates: list[Line] = []
    pieces: list[Line] = []
    masks: list[Line] = []
    ends: list[list[Any]] = []
    for recipe in recipes:
        history = found.history(recipe)
        for seed, rows in history.groupby("seed", sort=True):
            step, loss, rate = (rows[c].to_numpy(dtype=float) for c in ("step", "loss", "lr"))
            name = f"{words.short(recipe, 18)}, seed {seed:g}"
            losses.append(Line(name, step, loss, len(losses)))
            rates.append(Line(name, step, rate, len(rates)))
            first = seed == history["seed"].min()
            for into, parts in ((pieces, parts_of(rows.columns)), (masks, masks_of(rows.columns))):
                for part in parts:
                    label = f"{words.short(recipe, 18)}: {words.short(part.partition('/')[2], 24)}"
                    if first and rows[part].notna().any():
                        into.append(Line(label, step, rows[part].to_numpy(dtype=float), len(into)))
            last = rows.iloc[-1]
            bad = int(rows["nonfinite_steps"].max())
            ends.append(
                [
                    name,
                    f"{last['step']:,.0f}",
                    f"{last['samples']:,.0f}",
                    f"{last['epoch']:.1f}",
                    f"{last['loss']:.4f}",
                    bad,
                ]
            )
    if not losses:
        return tag("p", "There is no training curve yet.", class_="none")
    some = f" {MOST_CURVES} of {len(losses)} runs are drawn." if len(losses) > MOST_CURVES else ""
    note = "Losses of recipes with different mask ratios, patch sizes or targets cannot be compared: scores can."
    drawn = lines(losses[:MOST_CURVES], "training loss by step", "step", "loss", log_y=True)
    schedule = lines(rates[:MOST_CURVES], "learning rate by step", "step", "learning rate")
    columns = ["run", "steps", "samples seen", "epochs", "last loss", "steps skipped, not finite"]
    return tag(
        "div",
        tag(
            "div",
            tag("figure", drawn, tag("figcaption", note + some)),
            tag(
                "figure",
                schedule,
                tag("figcaption", "Peak and decay as they were, after the search's choice and the equal-FLOPs rule."),
            ),
            class_="pair",
        ),
        _of_first_seed(
            pieces,
            "parts of the training loss by step",
            "without weight",
            "What the loss is made of, before weighting",
            True,
        ),
        _of_first_seed(
            masks, "measures of learned masks by step", "as docs/masks.md says", "What learned masks do", False
        ),
        details("Where each run ended", table(columns, ends, numbers=range(1, 6))),
    )


def _of_first_seed(curves: list[Line], title: str, y: str, about: str, log_y: bool) -> Markup | None:
    """What only some recipes log, of the first seed."""
    if not curves:
        return None
    drawn = lines(curves[:MOST_CURVES], title, "step", y, log_y=log_y)
    more = f" {MOST_CURVES} of {len(curves)} are drawn." if len(curves) > MOST_CURVES else ""
    return tag("figure", drawn, tag("figcaption", f"{about}, of the first seed.{more}"))


# Provenance and cost


def provenance(found: Store, scores: pd.DataFrame) -> Markup:
    """What made every model and every score: fingerprints, recipes, seeds, sample counts, library versions, precision."""
    models = found.models()
    rows = [_model(model.name, model.origin, model.parameters, model.config) for model in models]
    columns = [
        "model",
        "dataset",
        "encoder",
        "patch",
        "masking",
        "target",
        "steps",
        "parameters",
        "precision",
        "torch",
        "processor",
        "made by",
    ]
    made = table(columns, rows, numbers=(6, 7)) if rows else tag("p", "No model folder is here.", class_="none")
    return tag("div", tag("h3", "Models"), made, _origins(models), tag("h3", "Scores"), _scores(scores))


def _model(name: str, origin: str, parameters: int, config: dict[str, Any]) -> list[Any]:
    def part(section: str) -> dict[str, Any]:
        found = config.get(section)
        return found if isinstance(found, dict) else {}

    made, encoder, masking = part("provenance"), part("encoder"), part("masking")
    return [
        words.short(f"{origin}/{name}", 80),
        _value(made.get("dataset", words.NONE)),
        f"{encoder.get('kind', words.NONE)} {encoder.get('width', '')} × {encoder.get('depth', '')}",
        _value(part("modality").get("patch", words.NONE)),
        f"{masking.get('strategy', words.NONE)} {_value(masking.get('ratio', ''))}",
        _value(part("objective").get("target", words.NONE)),
        _value(made.get("steps", words.NONE)),
        words.amount(parameters, ""),
        _value(made.get("precision", words.NONE)),
        _value(made.get("torch", words.NONE)),
        _value(made.get("cpu", words.NONE)),
        tag("code", words.short(made.get("fingerprint") or "not recorded", HEX + 1)),
    ]


def _origins(models: Sequence[Any]) -> Markup | None:
    """Who set each value: the file, the search, or the default."""
    rows: list[list[Any]] = []
    for model in {m.recipe: m for m in reversed(models) if m.origin == "models"}.values():
        recorded = model.config.get("provenance")
        origins = recorded.get("origins") if isinstance(recorded, dict) else None
        if isinstance(origins, dict):
            rows += [
                [words.short(model.recipe, 60), tag("code", words.short(k, 60)), words.short(v, 60)]
                for k, v in origins.items()
            ]
    return details("Who set each value", table(["recipe", "key", "set by"], rows)) if rows else None


def _scores(scores: pd.DataFrame) -> Markup:
    if scores.empty:
        return tag("p", "No scores yet.", class_="none")
    rows: list[list[Any]] = []
    for (recipe, dataset, task, mark), part in scores.groupby(["recipe", "dataset", "task", "fingerprint"], sort=True):
        tested = part[part["split"].eq("test")]
        rows.append(
            [
                words.short(recipe, 60),
                words.short(dataset, 60),
                words.task(words.short(task, 40)),
                _listed(part["pretrain_seed"]),
                _listed(part["probe_seed"]),
                _range(part["n_train"]),
                _range(tested["n_test"]),
                tag("code", words.short(mark, HEX + 1)),
            ]
        )
    columns = ["recipe", "dataset", "task", "pretraining seeds", "probe seeds", "labelled", "test samples", "made by"]
    return details(f"{len(rows)} groups of scores", table(columns, rows, numbers=(5, 6)))


def _listed(seeds: pd.Series) -> str:
    return ", ".join(str(s) for s in sorted({int(s) for s in seeds.dropna()})) or words.NONE


def _range(counts: pd.Series) -> str:
    values = sorted({int(n) for n in counts.dropna()})
    return words.NONE if not values else f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def cost(found: Store) -> Markup:
    """Seconds and samples a second of the newest run of each stage, from runs/*/timing.json: the only figures here that a rerun changes."""
    timings = found.timings()
    if timings.empty:
        return tag("p", "No timing is recorded on this machine (runs/ is not part of a clone).", class_="none")
    newest = timings.drop_duplicates(["stage", "recipe"], keep="last").sort_values(["recipe", "stage"])
    columns = {
        "stage": "stage", "recipe": "recipe", "seconds": "time", "samples_per_s": "samples/s", "data_wait": "waiting for data",
        "device": "device", "workers": "workers", "precision": "precision", "flops": "FLOPs",
    }  # fmt: skip
    shown = [c for c in columns if c in newest]
    rows = [[_cost_cell(c, row[c]) for c in shown] for row in newest.to_dict("records")]
    total = sum(v for v in map(number, newest["seconds"]) if math.isfinite(v)) if "seconds" in newest else 0.0
    note = f"{words.seconds(total)} in all. Wall-clock figures of this machine; they never decide anything."
    right = [i for i, c in enumerate(shown) if c in ("seconds", "samples_per_s", "data_wait", "workers", "flops")]
    return text([table([columns[c] for c in shown], rows, numbers=right), tag("p", note, class_="soft")])


def _cost_cell(column: str, value: Any) -> str:
    found = number(value)
    if column in ("stage", "recipe", "device", "precision"):
        return words.NONE if isinstance(value, float) and math.isnan(value) else words.short(value, 60)
    if math.isnan(found):
        return words.NONE
    if column == "seconds":
        return words.seconds(found)
    if column == "data_wait":
        return f"{100 * found:.0f} %"
    return words.amount(found, "FLOP") if column == "flops" else f"{found:,.0f}"
