"""The ``pretrain`` stage: one model per pretraining seed, with the recipe's values, the search's choice and equal FLOPs."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from experiments.best import read_best
from experiments.cluster import machines
from experiments.columns import HISTORY_COLUMNS, PART_PREFIXES
from experiments.params import Row, recipe_row
from experiments.placement import Placement, ResourceError, place, read_resources
from experiments.publish import publish
from experiments.recipe import Recipe, RecipeError, load_recipe
from experiments.resolving import Resolved, resolve
from experiments.runs import Run, claim, fingerprint
from experiments.train import Job, train
from mae_core.atomic import replace_folder, write_text
from mae_core.data.dataset import Dataset, open_dataset, samples_file
from mae_core.flops import geometry, train_flops
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings
from mae_core.training.precision import Precision, choose_precision


class Context(NamedTuple):
    """Everything a stage that trains has resolved before it starts."""

    recipe: Recipe
    row: Row
    dataset: Dataset
    resolved: Resolved
    placement: Placement
    precision: Precision


def prepare_context(name: str, root: Path = Path()) -> Context:
    """Recipe, data, the search's choice and the machines of one recipe. Raises the errors of each, before anything runs."""
    recipe, row = load_recipe(name, root), recipe_row(name, root)
    dataset = open_dataset(root / "data" / row.dataset)
    resolved = resolve(recipe, dataset.info, read_best(root, name), row.modality, root)
    model = MaskedAutoencoder.build(resolved.config)
    if getattr(model.masker, "needs_labels", False) and model.ratio and not dataset.labelled:
        raise RecipeError(
            f"masking.options.reward {model.masker.reward} needs labelled samples of two classes in train, which {dataset.name} does "
            "not have: choose error or progress"
        )
    placement = place(read_resources(root), machines(), recipe.pretrain.batch_size)
    if placement.gpu and recipe.pretrain.precision == "auto" and not torch.cuda.is_available():
        raise ResourceError(
            "pretrain.precision auto asks the GPU of the machine that the command runs on, which has none: write bf16 or fp32, whichever "
            "the GPUs of the cluster are made for"
        )
    precision = choose_precision(recipe.pretrain.precision, torch.device(placement.device))
    return Context(recipe, row, dataset, resolved, placement, precision)


def pretrain(name: str, root: Path = Path()) -> None:
    """Trains every seed of a recipe into ``models/<name>/seed-<k>`` and writes ``results/<name>/history.csv``.

    A killed run goes on from its last checkpoint; one that had finished is delivered without training.
    """
    root = root.resolve()
    context = prepare_context(name, root)
    mark = fingerprint("pretrain", name, context.precision.name, root)
    with claim("pretrain", name, mark, root) as run:
        began = time.perf_counter()
        _say(name, context)
        with replace_folder(root / "models" / name) as models:
            for seed in context.recipe.pretrain.seeds:
                model = _one_seed(name, seed, context, run, root)
                model.config["provenance"] = provenance(name, seed, context, mark)
                model.save(models / f"seed-{seed}", card=card(name, seed, context))
        write_text(root / "results" / name / "history.csv", history(run))
        run.timing(**timing(run, context, time.perf_counter() - began))
        run.delivered()
    publish(root, "pretrain", name, mark)


def _one_seed(name: str, seed: int, context: Context, run: Run, root: Path) -> MaskedAutoencoder:
    settings = replace(context.resolved.settings, seed=seed, precision=context.precision.name)
    job = job_of(name, f"seed-{seed}", context.resolved.config, settings, context, run, root)
    return train(job, context.placement, root).result()


def job_of(
    recipe: str, name: str, config: dict[str, Any], settings: Settings, context: Context, run: Run, root: Path
) -> Job:
    """A training of a stage, called ``name`` within its run."""
    init_from, features_from = context.recipe.pretrain.init_from, context.recipe.objective.features_from
    return Job(
        config=config,
        settings=settings.__dict__,
        samples=str(samples_file(context.dataset.folder, "train").resolve()),
        run=str(run.folder.resolve()),
        stage=run.stage,
        recipe=recipe,
        name=name,
        fingerprint=run.fingerprint,
        checkpoint_every=context.recipe.pretrain.checkpoint_every,
        init_from=str((root / init_from).resolve()) if init_from else None,
        features_from=str((root / features_from).resolve()) if features_from else None,
    )


def _say(name: str, context: Context) -> None:
    settings, placement = context.resolved.settings, context.placement
    values = ", ".join(f"{key} {v.value} ({v.origin})" for key, v in context.resolved.values.items())
    print(f"pretrain {name}: {values}")
    print(
        f"  {settings.steps} steps of {settings.batch_size} on {placement.workers} {placement.device} worker(s), {placement.backend}, "
        f"{placement.strategy} ({placement.reason}); {context.precision.name}: {context.precision.reason}",
        flush=True,
    )


def provenance(name: str, seed: int, context: Context, mark: str) -> dict[str, Any]:
    """Where a model came from; nothing in it changes from one equal run to the next on one type of machine."""
    settings = context.resolved.settings
    return {
        "recipe": name,
        "dataset": context.row.dataset,
        "dataset_fingerprint": context.dataset.fingerprint,
        "fingerprint": mark,
        "seed": seed,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "lr": settings.lr,
        "origins": {key: value.origin for key, value in context.resolved.values.items()},
        "init_from": context.recipe.pretrain.init_from,
        "precision": context.precision.name,
        "precision_reason": context.precision.reason,
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "train_flops": train_flops(context.resolved.config, settings.batch_size) * settings.batch_size * settings.steps,
    }


def card(name: str, seed: int, context: Context) -> str:
    """The model card: what it is, what it saw, how to use it."""
    config, settings, data = context.resolved.config, context.resolved.settings, context.dataset
    encoder, masking, cells = config["encoder"], config["masking"], geometry(config)
    return f"""# {name}, pretraining seed {seed}

A masked autoencoder ({encoder["kind"]}, width {encoder["width"]}, depth {encoder["depth"]}) pretrained without labels on the train split of
`{data.name}` ({data.info["splits"]["train"]["samples"]:,} samples; licence of the data: {data.info["licence"]}).

| | |
|---|---|
| masking | {masking["strategy"]}, {masking["ratio"]:.0%} hidden |
| cells | {cells.cells} of {cells.inputs} values, {config["modality"]["kind"]} |
| target | {config["objective"]["target"]} |
| training | {settings.steps:,} steps of {settings.batch_size}, peak learning rate {settings.lr:.2g}, {context.precision.name} |

Scores stand beside their baselines in `results/{name}/scores.csv` and in the report.

```
maestro reconstruct models/{name}/seed-{seed} FILE --out r.png
maestro embed models/{name}/seed-{seed} FOLDER --out features.parquet
```

```python
from mae_core.model import MaskedAutoencoder
model = MaskedAutoencoder.load("models/{name}/seed-{seed}")
features = model.encode(raw)      # {data.info["sample"]["dtype"]} (B, {", ".join(map(str, data.shape))}) → (B, F)
```

Everything else that made it stands in `config.json`.
"""


def history(run: Run) -> str:
    """The training curves of every seed as CSV. Steps that were trained twice, after a kill, are there once: both tries are equal."""
    rows = {(row["seed"], row["step"]): row for row in run.log_rows() if "loss" in row}
    parts = sorted({name for row in rows.values() for name in row if name.startswith(PART_PREFIXES)})
    out = io.StringIO()
    writer = csv.DictWriter(out, [*HISTORY_COLUMNS, *parts], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[key] for key in sorted(rows))
    return out.getvalue()


def timing(run: Run, context: Context, seconds: float) -> dict[str, Any]:
    """Wall-clock facts of this stage; of a resumed one, those of its last stretch."""
    rows = [row for row in run.log_rows() if "loss" in row]
    rates = sorted(row["samples_per_s"] for row in rows) or [0.0]
    return {
        "seconds": round(seconds, 2),
        "samples_per_s": round(rates[len(rates) // 2], 1),
        "data_wait": round(sum(row["data_wait"] for row in rows) / max(len(rows), 1), 4),
        "device": context.placement.device,
        "workers": context.placement.workers,
        "strategy": context.placement.strategy,
        "precision": context.precision.name,
        "reason": context.precision.reason,
        "flops": train_flops(context.resolved.config, context.resolved.settings.batch_size)
        * context.resolved.settings.batch_size
        * context.resolved.settings.steps
        * len(context.recipe.pretrain.seeds),
    }
