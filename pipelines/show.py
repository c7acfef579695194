"""What ``maestro datasets`` and ``maestro plan`` print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from experiments import forecast, many_gpus
from experiments.best import read_best
from experiments.datasets import load_dataset_spec
from experiments.forecast import Training, training_of
from experiments.params import recipe_row
from experiments.placement import ResourceError
from experiments.recipe import load_recipe
from experiments.resolving import Resolved, resolve
from mae_core.data.dataset import DatasetError, open_dataset
from mae_core.flops import encode_flops, train_flops
from mae_core.memory import MB, estimate
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import pass_size
from mae_core.training.precision import choose_precision

HOW = (
    "`maestro plan {recipe} --calibrate` measures it once, `--measure` runs this recipe's first steps; ten seconds each"
)


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


class ManyGpus(NamedTuple):
    """What is asked about more GPUs than there are here."""

    workers: Sequence[int] = ()
    """Numbers of them; none: nothing is asked."""
    kind: str = "H100"
    strategy: str = "ddp"


def plan_text(
    recipe: str,
    root: Path,
    measure: bool = False,
    calibrate: bool = False,
    price: float | None = None,
    many: ManyGpus = ManyGpus(),  # noqa: B008 - a value, never changed
) -> str:
    """The resolved recipe with each value's origin, its cost, and a forecast of time and memory where this machine is known.

    Args:
        measure: forecast from the recipe's own first steps, run for ten seconds.
        calibrate: measure this machine for ten seconds first, and keep what was found.
        price: of an hour of this machine, in any currency.
        many: GPUs that are not here.

    Raises ValueError where ``many`` cannot share the recipe's batch or are of an unknown kind, and where best.yaml is damaged.
    """
    row = recipe_row(recipe, root)
    wanted = load_recipe(recipe, root)
    dataset = open_dataset(root / "data" / row.dataset)
    resolved = resolve(wanted, dataset.info, read_best(root, recipe), row.modality, root)
    lines = [f"{recipe} on {row.dataset} ({row.modality})"]
    lines += [f"  {key:<24} {value.value!s:<10} {value.origin}" for key, value in resolved.values.items()]
    lines += _cost(resolved)
    try:
        training = training_of(wanted, dataset, resolved, root)
        said = _forecast(recipe, training, root, measure, calibrate, price)
    except ResourceError as problem:  # a plan for larger machines is a plan all the same
        said = [("time, peak memory", f"not known: {problem}")]
    if many.workers:
        said += many_gpus.lines(resolved, many.workers, many.kind, many.strategy)
    return "\n".join([*lines, *(f"  {name:<24} {text}" for name, text in said)])


def _cost(resolved: Resolved) -> list[str]:
    settings, config = resolved.settings, resolved.config
    parameters = sum(p.numel() for p in MaskedAutoencoder.build(config).parameters())
    step = train_flops(config, settings.batch_size) * settings.batch_size
    rows = pass_size(config, settings, settings.batch_size, torch.device("cpu"))
    precision = choose_precision(settings.precision, torch.device("cpu")).name
    memory = estimate(config, rows, precision, ema=settings.ema > 0)
    weights = memory.parameters + memory.gradients + memory.optimiser
    return [
        f"  {'steps':<24} {settings.steps}",
        f"  {'parameters':<24} {parameters:,}",
        f"  {'training':<24} {step * settings.steps / 1e12:.2f} TFLOP, {step / 1e9:.2f} GFLOP a step of {settings.batch_size}",
        f"  {'encoding one sample':<24} {encode_flops(config) / 1e6:.1f} MFLOP",
        f"  {'weights and optimiser':<24} {weights / MB:.0f} MB",
        f"  {'activations':<24} {memory.activations / MB:.0f} MB of {rows} samples at once, estimated for a CPU, nothing recomputed",
    ]


def _forecast(
    recipe: str, training: Training, root: Path, measure: bool, calibrate: bool, price: float | None
) -> list[tuple[str, str]]:
    """Time, memory and cost, as names and texts."""
    threads = training.placement.cpus
    if calibrate:
        forecast.calibrate(root, threads)
    if measure:
        return forecast.lines(training, forecast.measure(training, root), price)
    machine = forecast.known_machine(root, threads)
    if training.placement.gpu:
        return forecast.gpu_lines(training, torch.cuda.get_device_name(), price)
    if machine is None:
        return [("time, peak memory", f"not known of this machine: {HOW.format(recipe=recipe)}")]
    return forecast.lines(training, forecast.look(training, machine), price)
