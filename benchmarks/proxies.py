"""``python -m benchmarks.proxies``: which measure after a tenth of the training tells who will be best after all of it.

Twenty-four configurations, listed beforehand in ``benchmarks/proxies.yaml``, are trained at a tenth and at the whole of the final run's
FLOPs. Every proxy, and the training loss, is rank-correlated at a tenth with the linear probe of the whole run on test; the regret of
choosing by it stands beside the spread over seeds. Then the platform's own search is compared with the best of twenty configurations
made by hand, every run at equal FLOPs. Each training is a cell of ``benchmarks/out/proxies-<recipe>-<steps>.jsonl``: the same command
goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from benchmarks.rows import OUT, Row, publish
from benchmarks.variants import gain_facts, recipe_with
from experiments.goals import PROXIES, oriented
from experiments.halving import Job, Outcome, Player, halving, most
from experiments.params import recipe_row
from experiments.proxies import Subject, measure_proxies
from experiments.recipe import Recipe, SearchSection, load_recipe
from experiments.resolving import resolve
from experiments.runs import append_line
from experiments.space import narrow, parse_space
from mae_core.data.dataset import Dataset, open_dataset
from mae_core.evaluation.features import extract
from mae_core.evaluation.linear import fit_linear
from mae_core.evaluation.statistics import over_seeds, rank_correlation
from mae_core.flops import encode_flops, train_flops
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import fit, start

COMMAND = "python -m benchmarks.proxies"
LISTED = Path(__file__).with_name("proxies.yaml")
TENTH, WHOLE = 0.1, 1.0
SEEDS = (0, 1, 2)
"""Of the first that is listed, for the spread."""
FINALS = (0, 1, 2, 3, 4)
"""Seeds of the search's pick and of the best by hand; everything else is trained from the first."""


class Cell(NamedTuple):
    """One training."""

    chosen: dict[str, Any]
    share: float
    """FLOPs over those of the final run."""
    seed: int

    @property
    def name(self) -> str:
        """The same for the same work."""
        return json.dumps([self.chosen, round(self.share, 9), self.seed], sort_keys=True)


class Measured(NamedTuple):
    """What a cell gave."""

    proxies: dict[str, float]
    """On validation; ``loss`` among them."""
    test: float | None
    """Accuracy of the linear probe, its strength chosen on validation; None of shorter runs, which nobody chooses."""
    validation: float | None
    """Of the same probe."""
    flops: float
    encode_flops: float
    parameters: int
    steps: int
    seconds: float


class Bench(NamedTuple):
    """A recipe on its dataset, and the cells that are known."""

    recipe: Recipe
    dataset: Dataset
    modality: str
    ledger: Path
    known: dict[str, Measured]
    rate: float = 1.0
    """Times the recipe's peak learning rate."""

    def get(self, cell: Cell) -> Measured:
        """Trains a cell, or reads it."""
        if cell.name not in self.known:
            self.known[cell.name] = found = self._train(cell)
            append_line(self.ledger, json.dumps({"cell": cell._asdict(), **found._asdict()}))
            print(
                f"  {cell.chosen} × {cell.share:g} seed {cell.seed}: knn {found.proxies.get('knn', np.nan):.4f}, {found.seconds:.0f} s",
                flush=True,
            )
        return self.known[cell.name]

    def _train(self, cell: Cell) -> Measured:
        began = time.perf_counter()
        resolved = resolve(self.recipe, self.dataset.info, cell.chosen, self.modality)
        steps = max(round(cell.share * resolved.settings.steps), 1)
        settings = replace(resolved.settings, steps=steps, seed=cell.seed, lr=self.rate * resolved.settings.lr)
        state = start(resolved.config, settings, "cuda" if torch.cuda.is_available() else "cpu")
        every = max(steps // 100, 1)
        losses = [
            (p.step, p.loss) for p in fit(state, self.dataset.split("train").samples, settings, report_every=every)
        ]
        model = state.result()
        proxies = measure_proxies(Subject(model, self.dataset, settings.precision), [], list(PROXIES)).values
        proxies["loss"] = float(np.mean([loss for step, loss in losses if step > 0.9 * steps]))
        test, validation = self._probe(model, settings.precision) if cell.share == WHOLE else (None, None)
        return Measured(
            proxies,
            test,
            validation,
            steps * settings.batch_size * train_flops(resolved.config),
            encode_flops(resolved.config),
            sum(p.numel() for p in model.parameters()),
            steps,
            time.perf_counter() - began,
        )

    def _probe(self, model: MaskedAutoencoder, precision: str) -> tuple[float, float]:
        """Accuracies on test and on validation."""
        x, y = {}, {}
        for name in ("train", "validation", "test"):
            split = self.dataset.split(name)
            rows = np.flatnonzero(split.labels >= 0)
            x[name], y[name] = extract(model, split.samples[rows], precision=precision), split.labels[rows]
        probe = fit_linear(x["train"], y["train"], x["validation"], y["validation"])
        return float(np.mean(probe.predict(x["test"]) == y["test"])), probe.validation

    def final(self, chosen: dict[str, Any], seed: int = SEEDS[0]) -> tuple[float, float]:
        """Accuracies of a whole run on test and on validation."""
        found = self.get(Cell(chosen, WHOLE, seed))
        assert found.test is not None and found.validation is not None, "every whole run is probed"
        return found.test, found.validation


def opened(
    recipe: str,
    steps: int | None,
    root: Path = Path(),
    out: Path = OUT,
    batch: int | None = None,
    rate: float = 1.0,
) -> Bench:
    """The bench of a recipe; ``steps`` and ``batch`` stand in for the recipe's, another batch with steps that see as many samples.

    What had been measured with the same is read again.
    """
    described, row = load_recipe(recipe, root), recipe_row(recipe, root)
    pretrain = described.pretrain if steps is None else described.pretrain.model_copy(update={"steps": steps})
    ledger = f"proxies-{recipe}-{pretrain.steps}"
    if batch is not None:
        length = {"steps": pretrain.steps * pretrain.batch_size // batch, "batch_size": batch}
        pretrain, ledger = pretrain.model_copy(update=length), f"{ledger}-batch-{batch}"
    ledger += f"-rate-{rate:g}" if rate != 1 else ""
    listed = yaml.safe_load(LISTED.read_text())
    named = {key for one in (*listed["listed"], *listed["handmade"], listed["space"]) for key in one}
    free: dict[str, Any] = dict.fromkeys([*named, "model.encoder.heads", "model.decoder.heads"], "auto")
    free |= {"pretrain": pretrain.model_dump(), "search": {"space": recipe}}
    path, known = out / f"{ledger}.jsonl", {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found = json.loads(line)
            cell = Cell(**found.pop("cell"))
            known[cell.name] = Measured(**found)
        except (ValueError, TypeError, KeyError):
            continue  # the writer was killed inside this line: that cell is trained again
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = open_dataset(root / "data" / row.dataset)
    return Bench(recipe_with(described, free), dataset, row.modality, path, known, rate)


def ranking(bench: Bench, configurations: list[dict[str, Any]], short: Bench) -> Iterator[Row]:
    """A row per proxy: its rank correlation at a tenth with the whole run's probe, and the regret of choosing by it in points.

    ``short`` trains the tenths: ``bench`` itself, or one with another batch or rate.
    """
    early = [short.get(Cell(one, TENTH, SEEDS[0])) for one in configurations]
    final = np.array([bench.final(one)[0] for one in configurations])
    noise = 100 * float(np.std([bench.final(configurations[0], seed)[0] for seed in SEEDS], ddof=1))
    found: dict[str, dict[str, Any]] = {}
    for name in (*PROXIES, "loss"):
        values = np.array([oriented(name, one.proxies.get(name, np.nan)) for one in early])
        if not np.isfinite(values).any():
            continue
        whole, top = rank_correlation(values, final), final >= np.median(final)
        if not np.isfinite(whole.mean):  # a proxy that is the same everywhere ranks nothing
            continue
        better = rank_correlation(values[top], final[top])
        regret = 100 * float(final.max() - final[int(np.nanargmax(values))])
        facts = {"top_half": better.mean, "top_low": better.low, "top_high": better.high, "regret_points": regret}
        found[name] = {"whole": whole, "facts": {**facts, "seed_sd_points": noise}}
    for name, one in found.items():
        whole, told = one["whole"], {key: _none(value) for key, value in one["facts"].items()}
        against = _none(found["loss"]["whole"].mean) if name != "loss" and "loss" in found else None
        row = f"{name}_at_a_tenth_rank_correlation" + ("_vs_training_loss" if name != "loss" else "")
        yield Row(row, float(whole.mean), against, None, _none(whole.low), _none(whole.high), whole.n, COMMAND, told)


def _none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def against_hand(
    bench: Bench, handmade: list[dict[str, Any]], space: dict[str, Any], name: str, rules: SearchSection
) -> Row:
    """The choice of the search ``name`` beside the best of the handmade on validation, both trained whole on several seeds, on test.

    What each cost in final runs stands beside them; seeds after the first are for the comparison, and in no cost.
    """
    narrowed = narrow(parse_space(space, str(LISTED)), bench.recipe, bench.dataset.info, bench.modality)
    player = Player(halving(narrowed, rules), {})
    spent = 0.0
    while player.found is None:
        job = player.next()
        assert job is not None, "a batch is whole when its jobs are"
        spent += job.share
        player.take(_outcome(job, bench.get(Cell(job.chosen, job.share, job.seed)), rules))
    won = next((o.job.chosen for o in player.found.rungs[0] if o.job.trial == player.found.winner), {})
    pick = won if player.found.chosen == "winner" else narrowed.defaults
    by_hand = max(handmade, key=lambda one: bench.final(one)[1])
    ours, theirs = (np.array([bench.final(one, seed)[0] for seed in FINALS]) for one in (pick, by_hand))
    facts = {
        **gain_facts("gain", over_seeds(ours - theirs, "paired, pretraining seeds")),
        "chosen": str(pick), "by_hand": str(by_hand), "verdict": player.found.verdict,
        "ours_final_runs": spent + 1, "theirs_final_runs": float(len(handmade)),
    }  # fmt: skip
    title = f"pick_of_{name}_accuracy_vs_best_of_{len(handmade)}_handmade"
    ratio = float(ours.mean() / theirs.mean())
    return Row(title, float(ours.mean()), float(theirs.mean()), ratio, None, None, len(FINALS), COMMAND, facts)


def _outcome(job: Job, found: Measured, rules: SearchSection) -> Outcome:
    measures = {rules.metric: found.proxies[rules.metric]}
    loss, numbers = found.proxies["loss"], (found.parameters, found.steps, found.flops)
    return Outcome(job, measures, loss, *numbers, "", found.proxies, found.encode_flops)


def cost(searches: Iterable[SearchSection], listed: int, handmade: int) -> float:
    """The largest cost of everything, in final runs."""
    finals = len(FINALS) - 1 + sum(most(rules) + len(FINALS) for rules in searches)
    return listed * (1 + TENTH) + len(SEEDS) - 1 + handmade + finals


def main() -> None:
    """Measures, prints, writes benchmarks/out/proxies.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="digits", help="whose data, batch and defaults; labels are needed")
    parser.add_argument("--steps", type=int, help="of a final run; default: the recipe's")
    parser.add_argument("--ranking-alone", action="store_true", help="without the search and what was made by hand")
    parser.add_argument("--first", type=int, help="of each list alone: shows that it runs, says nothing")
    parser.add_argument("--short-batch", type=int, help="of the tenths: samples of a step, as many in all")
    parser.add_argument("--short-rate", type=float, default=1.0, help="of the tenths: times the learning rate")
    given = parser.parse_args()
    lists = yaml.safe_load(LISTED.read_text())
    listed, handmade = lists["listed"][: given.first], lists["handmade"][: given.first]
    bench = opened(given.recipe, given.steps)
    short = bench
    if given.short_batch or given.short_rate != 1:
        short = opened(given.recipe, given.steps, batch=given.short_batch, rate=given.short_rate)
    few = {"trials": given.first} if given.first else {}
    alone = given.ranking_alone or short is not bench
    searches = {
        name: SearchSection(space=given.recipe, **rules | few)
        for name, rules in ({} if alone else lists["searches"]).items()
    }
    whole = cost(searches.values(), len(listed), 0 if alone else len(handmade))
    print(
        f"at most {whole:.1f} final runs of {bench.recipe.pretrain.steps} steps; {len(bench.known)} trainings are known"
    )
    rows = list(ranking(bench, listed, short))
    rows += [against_hand(bench, handmade, lists["space"], *one) for one in searches.items()]
    words = {"recipe": given.recipe, "steps": given.steps, "short-batch": given.short_batch}
    words |= {"short-rate": given.short_rate if given.short_rate != 1 else None}
    command = COMMAND + "".join(f" --{option} {value}" for option, value in words.items() if value is not None)
    name = "proxies-first" if given.first else "proxies" if short is bench else short.ledger.stem
    publish(name, [row._replace(command=command) for row in rows])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
