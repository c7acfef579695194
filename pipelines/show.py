"""What ``maestro datasets`` and ``maestro plan`` print."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml

from experiments.datasets import load_dataset_spec
from experiments.recipe import load_recipe, recipe_row
from experiments.resolving import Resolved, resolve
from mae_core.data.dataset import DatasetError, open_dataset
from mae_core.flops import encode_flops, train_flops
from mae_core.memory import MB, estimate
from mae_core.model import MaskedAutoencoder
from mae_core.training.precision import choose_precision


def datasets_text(root: Path) -> str:
    """A line per dataset: modality, licence, whether it is prepared, and where it comes from."""
    lines = []
    for path in sorted((root / "experiments" / "datasets").glob("*.yaml")):
        prepared = root / "data" / path.stem / "dataset.json"
        state = "prepared" if prepared.is_file() else "not prepared"
        try:
            spec = load_dataset_spec(path.stem, root)
        except DatasetError as problem:
            lines.append(f"{path.stem:<20} cannot be used: {problem}")
        else:
            lines.append(f"{path.stem:<20} {spec.modality:<8} {state:<13} {spec.licence or 'no licence stated'}")
    hint = "\nuse one: maestro enable RECIPE --dataset NAME; files are looked for in $MAESTRO_MIRROR first"
    return "\n".join(lines) + hint


def plan_text(recipe: str, root: Path) -> str:
    """The resolved recipe with each value's origin, and its cost. Runs nothing."""
    row = recipe_row(recipe, root)
    wanted = load_recipe(recipe, root)
    dataset = open_dataset(root / "data" / row.dataset)
    best = root / "results" / recipe / "best.yaml"
    chosen = (yaml.safe_load(best.read_text()) or {}) if best.is_file() else {}
    resolved = resolve(wanted, dataset.info, chosen, row.modality, root)
    lines = [f"{recipe} on {row.dataset} ({row.modality})"]
    lines += [f"  {key:<24} {value.value!s:<10} {value.origin}" for key, value in resolved.values.items()]
    return "\n".join([*lines, *_cost(resolved)])


def _cost(resolved: Resolved) -> list[str]:
    settings, config = resolved.settings, resolved.config
    parameters = sum(p.numel() for p in MaskedAutoencoder.build(config).parameters())
    step = train_flops(config) * settings.batch_size
    rows = min(settings.micro_batch or settings.batch_size, settings.batch_size)
    precision = choose_precision(settings.precision, torch.device("cpu")).name
    memory = estimate(config, rows, precision, ema=settings.ema > 0)
    weights = memory.parameters + memory.gradients + memory.optimiser
    return [
        f"  {'steps':<24} {settings.steps}",
        f"  {'parameters':<24} {parameters:,}",
        f"  {'training':<24} {step * settings.steps / 1e12:.2f} TFLOP, {step / 1e9:.2f} GFLOP a step of {settings.batch_size}",
        f"  {'encoding one sample':<24} {encode_flops(config) / 1e6:.1f} MFLOP",
        f"  {'weights and optimiser':<24} {weights / MB:.0f} MB",
        f"  {'activations':<24} {memory.activations / MB:.0f} MB, estimated for one worker on a CPU, nothing recomputed",
    ]
