"""``python -m benchmarks.results``: what was measured, as docs/results.md.

Reads what ``dvc repro`` left in results/ and what the benchmarks left in benchmarks/out/; writes a table for each.
Nothing is measured here, and nothing that was not measured is written.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterator
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.performance import PAGES
from benchmarks.rows import OUT
from benchmarks.sections import renew, sections
from experiments import words
from experiments.params import read_params, recipe_row
from experiments.standings import DATA_BASELINES, LOWER_IS_BETTER, leaderboard
from experiments.transfer import pair_of
from mae_core.evaluation.statistics import Interval, wider

TASKS = (("linear", None), ("knn", None), ("few_label", 10), ("finetune", 10), ("reconstruction", None))
"""What is shown of a recipe, and with how many labels a class."""
QUALITY = ("psnr_hidden", "rmse_hidden", "rmse_db_hidden", "accuracy_hidden", "nll_hidden")
"""Measures of a reconstruction that are shown."""
OTHERS = ("untrained", "scratch", "pixels_logistic", "pixels_knn", "pca", "boosting")
AIMS = {
    ("spoken_digits", "linear"): 0.995,
    ("spoken_digits", "finetune"): 0.93,
    ("spoken_digits_unseen", "linear"): 0.88,
    ("text", "text_hidden_15_right_vs_two_sided_5gram"): 0.72,
    ("text", "text_hidden_15_bits_vs_two_sided_5gram"): 1.50,
    ("video", "direction_accuracy_vs_untrained"): 0.97,
    ("video", "speed_accuracy_vs_untrained"): 0.97,
    ("joint", "digit_drawn_from_speech_read_right_vs_chance"): 0.95,
}
"""By recipe and task, or by benchmark and row: the figure that a very good result has."""
RATIOS = {
    ("video", "last_4_frames_mse_vs_constant_velocity"): 0.5,
    ("joint", "emoji_words_by_picture_recall_10_vs_cca"): 2.0,
    ("joint", "emoji_picture_by_words_recall_10_vs_cca"): 2.0,
}
"""The same, of ours over theirs."""
SHARES = ("accuracy", "right", "recall")
"""Words in the names of rows that are shares, of which more is better; of all others less is."""
RECIPE, TRANSFER, BENCHMARK = "Recipe ", "Transfer ", "Benchmark "
"""What headings begin with, in the order of the page."""
VALIDATION = "Every figure is of the validation part."
UNCOUNTED = "Made before the rewards of learned masks were counted as cost; `led_masks-mnist-2000` counts them."
OWN_PAIRS = "Its policy masked the second views of random batches, too; in `led_masks-spoken_digits-1000-second_views` they are random."
NO_FINALISTS = "Short trials alone chose here: there were no finalists yet."
OVER_RECORDINGS = "Over recordings `line` gains between -0.3 and +2.7 points of k-NN: open."
FEW_ROWS = (
    "Ridge regression and the nearest rows learned from 2,000 of the 29,561 training rows; from all of them ridge regression does better "
    "(`docs/modalities/table.md`)."
)
EXACT = (
    "Its intervals take the accuracies of the others for exact and leave out which series and sets were tested: being ahead by two of "
    "the 105 series of `plane` is not decided by them (`docs/modalities/series.md`)."
)
FIVE_EACH = (
    "The 24 are configurations of the correlations; the picks and the best by hand were trained on five seeds, by an earlier version; "
    "the next section is of this one."
)
OVERLAPPING = (
    "A moment lies in up to twelve of its 1,449 test windows, which overlap, so its intervals are too narrow; by now the test part is of "
    "121 windows that share none."
)
OWN_FILLS = (
    "A fill that a part does not have is the constant that train knows of the part, under the name of another part's."
)
DROWNED_WORDS = (
    "Its plain features hold each part at its own scale, so that the picture drowned the words: with parts of unit length, as they are "
    "by now, k-NN of them reads 65.1 %, and the lead of 8.5 points is about -1."
)
DROWNED_PART = (
    "Its plain features hold each part at its own scale, so that the larger drowned the other; parts are of unit length by now. "
    "Where all of a part was hidden its fills were full-scale sound or black, so speech has 24.6 dB where its bands' means in train have "
    "13.1."
)
NOTES = {
    f"{RECIPE}adult": (FEW_ROWS,),
    f"{RECIPE}emoji": (DROWNED_WORDS, OWN_FILLS),
    f"{RECIPE}pollution": (OVERLAPPING,),
    f"{RECIPE}spoken_mnist": (DROWNED_PART, OWN_FILLS),
    f"{BENCHMARK}architectures-mnist5k": (VALIDATION,),
    f"{BENCHMARK}led_masks-mnist-746": (UNCOUNTED,),
    f"{BENCHMARK}led_masks-spoken_digits-1000": (OWN_PAIRS,),
    f"{BENCHMARK}mask_ratio-spoken_digits-1000-narrowed": (OVER_RECORDINGS,),
    f"{BENCHMARK}objectives-cifar10_subset-8000-recolored": (NO_FINALISTS,),
    f"{BENCHMARK}objectives-mnist-7666": (NO_FINALISTS,),
    f"{BENCHMARK}objectives-mnist-19200": (NO_FINALISTS,),
    f"{BENCHMARK}proxies-digits": (FIVE_EACH,),
    f"{BENCHMARK}table_adult": (FEW_ROWS,),
    f"{BENCHMARK}ucr": (EXACT,),
}
"""By heading: what is to be known of a table that was made when less was counted or said."""
SINCE = "--finalists"
"""Is in the commands of sweeps that were made since, and need no note."""
OF = {
    f"{RECIPE}adult": "| 66.4 % |",
    f"{RECIPE}emoji": "| 55.6 % |",
    f"{RECIPE}pollution": "1,449 test",
    f"{RECIPE}spoken_mnist": "| 24.6 dB |",
    f"{BENCHMARK}table_adult": "| 0.9329 |",
    f"{BENCHMARK}ucr": "× 1.030 [1.026, 1.035]",
}
"""By heading: a figure of the table that its notes are of; another one needs none."""
PAIRS_OF_SEEDS = ("architectures", "led_masks", "mask_ratio", "objectives", "proxies", "ucr")
"""Benchmarks whose n counts pretraining seeds."""
UNITS = ("items", "sets")
"""Of what is tested; where they were measured their intervals are facts, such as ``over_items_low``."""
WIDER = "Each interval is the wider of those over seeds and over what was tested."
"""Is in sections of which both were measured."""
SEEDS_ALONE = {"yes": "yes over seeds", "no": "no over seeds"}
"""What is ahead, or behind, by an interval that leaves out the chance of the test items."""
HEAD = "| what | ours | beside it | theirs | difference | ahead | aim |\n|---|---|---|---|---|---|---|\n"


class Line(NamedTuple):
    """One comparison as it is read."""

    what: str
    ours: str
    other: str
    theirs: str
    gap: str
    """With its 95 % interval, and what that is over where it is not over the pairs."""
    ahead: str
    """Whether the whole interval lies on the better side."""
    aim: str


def verdict(low: float, high: float, nothing: float, lower_is_better: bool) -> str:
    """``yes`` where the whole interval is better than ``nothing``, ``no`` where it is worse, else ``open``; '' without interval."""
    if math.isnan(low) or math.isnan(high):
        return ""
    better, worse = (high < nothing, low > nothing) if lower_is_better else (low > nothing, high < nothing)
    return "yes" if better else "no" if worse else "open"


def aimed(value: float, aim: float | None, lower_is_better: bool, metric: str) -> str:
    """The aim, and by how much it is missed."""
    if aim is None:
        return ""
    short = value - aim if lower_is_better else aim - value
    said = words.score(aim, metric)
    return f"{said}: met" if short <= 0 else f"{said}: missed by {words.score(short, metric)}"


def of_recipe(name: str, scores: pd.DataFrame) -> Iterator[Line]:
    """Comparisons of the pretrained model on the test split of its dataset."""
    test = scores[scores["split"] == "test"]
    dataset = str(test["dataset"].iloc[0])
    for task, labels in TASKS:
        asked = test[test["task"] == task]
        if labels is not None:
            asked = asked[asked["labels_per_class"] == labels]
        known = [metric for metric in dict.fromkeys(asked["metric"]) if words.MASK not in metric]
        for metric in ("accuracy",) if task != "reconstruction" else [m for m in known if words.plain(m) in QUALITY]:
            rows = asked[asked["metric"] == metric]
            others = [model for model in dict.fromkeys(rows["model"]) if model != "pretrained"]
            if task != "reconstruction":
                others = [model for model in OTHERS if model in others]
            for other in others if "pretrained" in set(rows["model"]) else ():
                yield _compared(name, scores, task, metric, dataset, labels, other)


def _compared(
    name: str, scores: pd.DataFrame, task: str, metric: str, dataset: str, labels: int | None, other: str
) -> Line:
    base = ("" if other in DATA_BASELINES else name, other)
    table = leaderboard(scores, task, metric, dataset, "test", labels, base).set_index("model")
    ours, theirs = table.loc["pretrained"].to_dict(), table.loc[other].to_dict()
    lower = words.plain(metric) in LOWER_IS_BETTER
    gap = words.score(ours["difference"], metric, signed=True)
    around = words.bounds(ours["difference_low"], ours["difference_high"], metric, signed=True)
    aim = AIMS.get((name, task)) if metric == "accuracy" else None
    return Line(
        words.task(task, labels) if task != "reconstruction" else words.metric(metric),
        words.score(ours["value"], metric),
        words.model(other),
        words.score(theirs["value"], metric),
        _around(gap, around),
        verdict(ours["difference_low"], ours["difference_high"], 0.0, lower),
        aimed(ours["value"], aim, lower, metric),
    )


def of_benchmark(name: str, content: dict[str, Any]) -> Iterator[Line]:
    """Comparisons of a benchmark: the paired gain where one was measured, else the ratio."""
    for row in content["rows"]:
        facts = row["facts"]
        if row["ratio"] is None and "gain_low" not in facts:
            continue
        what, _, other = row["name"].partition("_vs_")
        metric = "accuracy" if any(word in what for word in SHARES) else ""
        if "gain_low" in facts and (metric or row["ratio"] is None):
            found = gained(facts, row["n"])
            around = words.bounds(found.low, found.high, metric, signed=True)
            gap = _around(words.score(found.mean, metric, signed=True), f"{around} {found.covers}".strip())
            ahead = verdict(found.low, found.high, 0.0, lower_is_better=False)
        else:
            low, high = _number(row["low"]), _number(row["high"])
            gap = f"× {row['ratio']:.3f}" + ("" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]")
            ahead = verdict(low, high, 1.0, lower_is_better=not metric)
        if of_seeds(name) and not items_known(facts):
            ahead = SEEDS_ALONE.get(ahead, ahead)
        aim = aimed(row["ours"], AIMS.get((name, row["name"])), not metric, metric)
        if row["ratio"] is not None and (name, row["name"]) in RATIOS:
            aim = aimed(row["ratio"], RATIOS[name, row["name"]], not metric, "").replace(":", " times theirs:", 1)
        ours, theirs = (words.score(row[who], metric) if metric else f"{row[who]:.4g}" for who in ("ours", "baseline"))
        said = [facts["chosen"]] if "chosen" in facts else []
        said += [f"n = {row['n']}"] if row["n"] != content["rows"][0]["n"] else []
        yield Line(
            what.replace("_", " ") + (f" ({'; '.join(said)})" if said else ""),
            ours,
            other.replace("_", " "),
            theirs,
            gap,
            ahead,
            aim,
        )


def gained(facts: dict[str, Any], n: int) -> Interval:
    """A gain with the widest interval that was measured of it: over its n pairs, or, which ``covers`` says, over test items or sets.

    None where the pairs have none: one over test items alone would take the seeds for exact.
    """

    def interval(of: str, covers: str) -> Interval:
        return Interval(facts["gain"], _number(facts[f"{of}_low"]), _number(facts[f"{of}_high"]), n, covers)

    pairs = interval("gain", "")
    tested = [interval(f"over_{unit}", f"over {unit}") for unit in UNITS if f"over_{unit}" in facts]
    return pairs if math.isnan(pairs.low) else reduce(wider, tested, pairs)


def items_known(facts: dict[str, Any]) -> bool:
    """Whether the interval over what was tested was measured."""
    return any(facts.get(f"over_{unit}_low") is not None for unit in UNITS)


def of_seeds(name: str) -> bool:
    """Whether the pairs of a benchmark are of pretraining seeds."""
    return name.partition("-")[0] in PAIRS_OF_SEEDS


def _around(gap: str, interval: str) -> str:
    return f"{gap}, no interval" if interval == words.NONE else f"{gap} {interval}"


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def section(title: str, said: str, lines: list[Line]) -> str:
    """A heading, a sentence and a table."""
    return f"## {title}\n\n{said}\n\n{HEAD}" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


class Origin(NamedTuple):
    """What a folder of results/ is of."""

    heading: str
    said: str
    """Of which data, or of whose models on which."""
    command: str


def origin(name: str, root: Path) -> Origin | None:
    """Of results/<name>; None where params.yaml lists it neither under recipes nor under transfers."""
    params = read_params(root)
    if name in (params.get("recipes") or {}):
        row = recipe_row(name, root)
        return Origin(f"{RECIPE}{name}", f"`{row.modality}`, dataset `{row.dataset}`", f"of recipe `{name}`")
    if name in (params.get("transfers") or {}):
        pair = pair_of(name, root)
        said = f"Models of recipe `{pair.recipe}`, probed on dataset `{pair.dataset}`"
        return Origin(f"{TRANSFER}{name}", said, f"of transfer `{name}`")
    return None


def measured(root: Path, out: Path) -> dict[str, str]:
    """Heading → section, of every recipe and transfer that was evaluated below ``root`` and every benchmark of ``out``.

    Says what it leaves out of results/.
    """
    found = {}
    for path in sorted((root / "results").glob("*/scores.csv")):
        name = path.parent.name
        of, scores = origin(name, root), pd.read_csv(path)
        test = scores[scores["split"] == "test"]
        if of is None or test.empty:
            why = "it scores no test samples" if of else "params.yaml lists no recipe and no transfer of that name"
            print(f"{path} is left out: {why}")
            continue
        sizes = test[["n_train", "n_test"]].max()
        said = (
            f"{of.said}, {int(sizes['n_train']):,} training and {int(sizes['n_test']):,} test samples, "
            f"{scores['pretrain_seed'].nunique()} pretraining seed(s): `dvc repro` {of.command}."
        )
        found[of.heading] = section(of.heading, said, list(of_recipe(name, scores)))
    for path in sorted(out.glob("*.json")):
        if path.stem.partition("-")[0] in PAGES:  # speed has a page of its own
            continue
        content = json.loads(path.read_text())
        lines = list(of_benchmark(path.stem, content))
        if lines:
            title, first = f"{BENCHMARK}{path.stem}", content["rows"][0]
            stopped = f"; {first['facts']['stopped']}" if "stopped" in first["facts"] else ""
            split = f" {VALIDATION}" if first["facts"].get("split") == "validation" else ""
            both = f" {WIDER}" if any(items_known(row["facts"]) for row in content["rows"]) else ""
            found[title] = section(title, f"`{first['command']}`, n = {first['n']}{stopped}.{split}{both}", lines)
    return found


def place(heading: str, root: Path) -> tuple[bool, str] | None:
    """Recipes before transfers before benchmarks, each by name; None of a recipe that is no more."""
    recipe = heading.removeprefix(RECIPE)
    gone = recipe != heading and not (root / "experiments" / "recipes" / f"{recipe}.yaml").is_file()
    return None if gone else (heading.startswith(BENCHMARK), heading)


def noted(heading: str, text: str) -> str:
    """A section that was measured elsewhere, with what ``NOTES`` say of it before its table, and verdicts that say what they leave out."""
    if heading.startswith(BENCHMARK) and of_seeds(heading.removeprefix(BENCHMARK)) and WIDER not in text:
        text = re.sub(
            r"\| (yes|no) (\|[^|\n]*\|)$", lambda told: f"| {SEEDS_ALONE[told[1]]} {told[2]}", text, flags=re.M
        )
    lacking = [note for note in NOTES.get(heading, ()) if note not in text]
    if not lacking or SINCE in text or OF.get(heading, "") not in text:
        return text
    said, between, rest = text.partition(f"\n\n{HEAD}")
    return f"{' '.join([said, *lacking])}{between}{rest}"


INTRODUCTION = """# Results

Made by `python -m benchmarks.results` from what `dvc repro` and the benchmarks had measured; edit nothing here by hand. A section is
written anew where its figures were measured, and stays elsewhere. Every figure is of the test part, unless its section says otherwise.

A difference is ours less theirs with its 95 % interval: the wider of those over pairs of pretraining seeds, where there are three, and over
test samples (of a mean over sets: over sets), whichever were measured; benchmarks name it where it is not that over seeds. Of recipes and
transfers, accuracies beside plain features, PCA, gradient boosting, the untrained encoder and the network from scratch are paired over test
samples; of all else, such as reconstructions (and PCA in older sections), the interval is made of both sides' own as if they had been
measured on different samples, which is wider than it need be. Probe seeds count where they make it wider, and where there is nothing to
make an interval of none is given. A × is the ratio ours / theirs.

*Ahead* says whether the whole interval lies on the better side: `yes`, `no` where it lies on the worse one, `open` where it holds both.
`over seeds` after it: so it is with other seeds, and whether with other test items was not measured. *Aim* is what a very good result
would be.
"""


def main(root: Path = Path()) -> None:
    """Writes docs/results.md."""
    path = root / "docs" / "results.md"
    before = sections(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kept = {heading: noted(heading, text) for heading, text in before.items()}
    renew(path, INTRODUCTION, {**kept, **measured(root, OUT)}, partial(place, root=root))
    print(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, nargs="?", default=Path(), help="of the project whose results/ are read")
    main(parser.parse_args().root)
