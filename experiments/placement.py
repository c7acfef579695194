"""Where a training runs: how many workers, on what. It never changes what is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationError

from experiments.cluster import Machines
from experiments.params import read_params
from experiments.recipe import Auto, RecipeError, Section, explain
from mae_core.training.world import STRATEGIES

Reading = Literal["stream", "ray_data", "memory"]


class ResourceError(RuntimeError):
    """More was asked for than there is."""


class ResourceSection(Section):
    """``resources`` of params.yaml. No stage depends on it."""

    workers: Annotated[int, Field(ge=1)] | Auto = Field("auto", description="auto: one a GPU, else one")
    gpu: bool | Auto = Field("auto", description="auto: where there are GPUs")
    strategy: Literal["ddp", "fsdp2"] = Field("ddp", description="copy the model to every worker, or shard it")
    reading: Reading = Field(
        "stream", description="of samples in shards: as they are needed, by Ray Data, or all at once"
    )


class Placement(NamedTuple):
    """Workers of one training and what each is given."""

    workers: int
    gpu: bool
    cpus: int
    """Of each worker."""
    strategy: str
    reason: str
    reading: Reading = "stream"
    """How each worker reads samples that lie in shards."""

    @property
    def backend(self) -> str:
        """What the workers talk through."""
        return "nccl" if self.gpu else "gloo"

    @property
    def device(self) -> str:
        """Type of the device that each worker trains on."""
        return "cuda" if self.gpu else "cpu"


def read_resources(root: Path = Path()) -> ResourceSection:
    """``resources`` of params.yaml; its defaults where the file says nothing. Raises RecipeError naming each wrong key."""
    path = root / "params.yaml"
    try:
        return ResourceSection.model_validate(read_params(root).get("resources") or {})
    except ValidationError as problem:
        lines = "\n".join(f"  resources.{line}" for line in explain(problem, ResourceSection))
        raise RecipeError(f"{path}:\n{lines}") from None


def place(asked: ResourceSection, there: Machines, batch_size: int) -> Placement:
    """The workers of a training. Raises ResourceError at once where more is asked for than exists, instead of waiting for it.

    On CPUs one worker takes every core: torch's threads share a step without copying gradients. More workers are for more machines.
    """
    assert set(STRATEGIES) == {"ddp", "fsdp2"}
    fit = sum(min(node.gpus, node.cpus) for node in there.each)
    if asked.gpu is True and not fit:
        raise ResourceError(f"resources.gpu is true, but {there}: set it to auto or false")
    gpu = fit > 0 if asked.gpu == "auto" else asked.gpu
    most = fit if gpu else there.cpus
    unit = "GPUs, each beside a CPU of its own machine" if gpu and fit < there.gpus else "GPUs" if gpu else "CPUs"
    if asked.workers == "auto":
        workers = min(most, batch_size) if gpu else 1
        why = f"one a GPU, {there}" if gpu else f"one takes every core, {there}"
    else:
        workers, why = asked.workers, "resources.workers"
    if workers > most:
        raise ResourceError(f"{workers} workers need {workers} {unit}, but {there}: lower resources.workers")
    if workers > batch_size:
        raise ResourceError(f"a batch of {batch_size} cannot be shared by {workers} workers: lower resources.workers")
    return Placement(workers, gpu, _cpus(there, gpu, workers), asked.strategy, why, asked.reading)


def _cpus(there: Machines, gpu: bool, workers: int) -> int:
    """The most CPUs that each of so many workers can have, none of them spread over two machines."""
    if gpu:
        return max(min(node.cpus // node.gpus for node in there.each if node.gpus and node.cpus), 1)
    sizes = range(max(node.cpus for node in there.each), 1, -1)
    return next((size for size in sizes if sum(node.cpus // size for node in there.each) >= workers), 1)
