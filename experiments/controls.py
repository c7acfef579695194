"""The ``controls`` stage: twins of the pretrained models that show what masking brings, trained at equal FLOPs.

``autoencoder`` is the same network and loop with nothing hidden; ``supervised`` is the same encoder trained with the labels. Samples are
changed and weights averaged for both as for the pretraining, so that neither lies between them and the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.pretrain import Context, job_of, prepare_context
from experiments.publish import publish
from experiments.recipe import RecipeError
from experiments.runs import Run, claim, fingerprint
from experiments.train import train
from mae_core.atomic import replace_folder
from mae_core.evaluation import finetune
from mae_core.evaluation.classifier import Classifier
from mae_core.flops import encode_flops, train_flops
from mae_core.model import MaskedAutoencoder

SUPERVISED_LR = 1e-3
"""Of the supervised twin, per 128 samples: that of a network from scratch, the same in all layers."""


def controls(recipe: str, root: Path = Path()) -> None:
    """Trains ``controls.models`` for every pretraining seed into ``controls/<recipe>/<model>-<seed>``; none makes an empty folder.

    A killed autoencoder goes on from its last checkpoint. Raises RecipeError where a supervised twin has no labels to learn.
    """
    root = root.resolve()
    context = prepare_context(recipe, root)
    asked = context.recipe.controls.models
    if "supervised" in asked and not context.dataset.labelled:
        raise RecipeError(
            f"controls.models of {recipe} asks for a supervised twin, but {context.dataset.name} has no labels of two classes: "
            "take it out of experiments/recipes/" + f"{recipe}.yaml"
        )
    if "supervised" in asked and context.resolved.settings.batch_size < 2:
        raise RecipeError(
            f"controls.models of {recipe} asks for a supervised twin, whose head normalises over the batch: pretrain.batch_size has to be "
            "2 or more"
        )
    mark = fingerprint("controls", recipe, context.precision.name, root)
    with claim("controls", recipe, mark, root) as run:
        began, spent = time.perf_counter(), 0.0
        with replace_folder(root / "controls" / recipe) as staging:
            for model in asked:
                for seed in context.recipe.pretrain.seeds:
                    spent += MAKERS[model](recipe, seed, context, run, root, staging / f"{model}-{seed}")
            (staging / "README.md").write_text(_note(recipe, asked))
        run.timing(
            seconds=round(time.perf_counter() - began, 2),
            device=context.placement.device,
            workers=context.placement.workers,
            precision=context.precision.name,
            reason=context.precision.reason,
            flops=spent,
        )
        run.delivered()
    publish(root, "controls", recipe, mark)


def _autoencoder(recipe: str, seed: int, context: Context, run: Run, root: Path, folder: Path) -> float:
    """Trains and saves the twin that hides nothing; returns its FLOPs."""
    config = {**context.resolved.config, "masking": {**context.resolved.config["masking"], "ratio": 0.0}}
    cost = train_flops(config, context.resolved.settings.batch_size)
    steps = equal_steps(context, cost)
    settings = replace(context.resolved.settings, steps=steps, seed=seed, precision=context.precision.name)
    job = job_of(recipe, f"autoencoder-{seed}", config, settings, context, run, root)
    model = train(job, context.placement, root).result()
    spent = cost * settings.batch_size * steps
    model.config["provenance"] = _provenance(recipe, seed, context, run, steps, settings.lr, spent)
    model.save(
        folder, card=_card(recipe, seed, "A plain autoencoder: the same network and loop, nothing hidden.", steps)
    )
    return spent


def _supervised(recipe: str, seed: int, context: Context, run: Run, root: Path, folder: Path) -> float:
    """Trains and saves the twin that learns the labels; returns its FLOPs. It starts afresh after a kill."""
    config, batch_size = context.resolved.config, context.resolved.settings.batch_size
    per_sample = 3 * encode_flops(config)  # backward costs twice the forward pass
    steps = equal_steps(context, per_sample)
    split, classes = context.dataset.split("train"), context.dataset.classes
    labels = np.asarray(split.labels)
    samples = split.samples if (labels >= 0).all() else split.samples[labels >= 0]
    lr = SUPERVISED_LR * batch_size / 128
    settings = finetune.Settings(
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        layer_decay=1.0,
        shift=0,
        seed=seed,
        precision=context.precision.name,
    )
    network = Classifier.build(config, classes, seed)
    if init_from := context.recipe.pretrain.init_from:
        begun = MaskedAutoencoder.load(root / init_from)
        network.modality.load_state_dict(begun.modality.state_dict())
        network.encoder.load_state_dict(begun.encoder.state_dict())
    # here, where the stage runs, which may be a machine of the cluster without a GPU
    network.to(context.placement.device if torch.cuda.is_available() else "cpu")
    shared = context.resolved.settings
    for done in finetune.train(network, samples, labels[labels >= 0], settings, shared.augmentation, shared.ema):
        if done.step % 50 == 0 or done.step == steps - 1:
            run.heartbeat(name=f"supervised-{seed}", seed=seed, step=done.step + 1, steps=steps, loss=done.loss)
    spent = per_sample * batch_size * steps
    provenance = _provenance(recipe, seed, context, run, steps, lr, spent)
    card = _card(recipe, seed, "A supervised twin: the same encoder trained with the labels, with a head.", steps)
    network.cpu().save(folder, provenance, card)
    return spent


MAKERS: Mapping[str, Callable[[str, int, Context, Run, Path, Path], float]] = {
    "autoencoder": _autoencoder,
    "supervised": _supervised,
}


def equal_steps(context: Context, flops_per_sample: float) -> int:
    """Steps at the recipe's batch size that cost what the pretraining costs, at least one."""
    settings = context.resolved.settings
    spent = settings.steps * train_flops(context.resolved.config, settings.batch_size)
    return max(round(spent / flops_per_sample), 1)


def _provenance(
    recipe: str, seed: int, context: Context, run: Run, steps: int, lr: float, spent: float
) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "dataset": context.row.dataset,
        "dataset_fingerprint": context.dataset.fingerprint,
        "fingerprint": run.fingerprint,
        "seed": seed,
        "steps": steps,
        "batch_size": context.resolved.settings.batch_size,
        "lr": lr,
        "precision": context.precision.name,
        "train_flops": spent,
    }


def _card(recipe: str, seed: int, what: str, steps: int) -> str:
    return f"# Control of {recipe}, seed {seed}\n\n{what}\n{steps:,} steps, which cost what the pretraining costs. See config.json.\n"


def _note(recipe: str, models: list[Any]) -> str:
    made = ", ".join(models) or "none: `controls.models` of the recipe is empty"
    return f"Controls of {recipe}: {made}.\n"
