"""The recipe: every key, default, unit and bound in one place. Unknown keys are refused by name, with the nearest right one.

``auto`` marks a value that the search may choose; a literal pins it. ``resolving`` makes plain values of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from experiments.goals import METRICS, OBJECTIVES, PROXIES, SCORE
from experiments.names import ALLOWED, NAME
from experiments.yaml_files import parse_yaml, read_text
from mae_core.decoders import DECODERS
from mae_core.encoders import ENCODERS
from mae_core.masking import MASKERS
from mae_core.registry import nearest
from mae_core.targets import TARGETS

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Patch = Count | list[Count]
Ratio = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Never negative: it is part of names, such as seed-0."""


class RecipeError(ValueError):
    """A recipe, or params.yaml, that cannot be used: says where, what and what to do."""


class Section(BaseModel):
    """A part of a recipe; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _known(table: Mapping[str, Any], what: str, auto: bool = True) -> Any:
    def check(value: str) -> str:
        if value not in table and not (auto and value == "auto"):
            raise ValueError(f"unknown {what} {value!r}{nearest(value, table)}: there are {', '.join(sorted(table))}")
        return value

    return check


class EncoderSection(Section):
    """The network that reads visible cells."""

    kind: str = Field("vit", description="docs/architectures.md says which fit which data")
    width: Count | Auto = 128
    depth: Count | Auto = 6
    heads: Count | Auto = Field("auto", description="auto: width / 32")
    local_start: bool | Auto = Field(False, description="keys start as queries: attention begins with near cells")
    registers: Annotated[int, Field(ge=0)] | Auto = Field(0, description="global tokens beside the first")
    qk_norm: bool | Auto = Field(False, description="queries and keys are normalised in each head")
    drop_path: Annotated[float, Field(ge=0, lt=1)] | Auto = Field(
        0.0, description="chance that a sample skips the last block in training; rises evenly from 0 in the first"
    )
    layer_scale: Annotated[float, Field(ge=0)] | Auto = Field(
        0.0, description="what learned factors of what blocks add start at; 0: none"
    )
    positions: Literal["sincos", "rope", "none", "auto"] = Field(
        "sincos", description="added to cells, or queries and keys are turned by them; none: of encoder conv"
    )
    global_pool: Literal["mean", "token", "auto"] = Field(
        "mean", description="what stands for a whole sample: the mean over cells or the global token"
    )
    global_token: bool | Auto = Field(
        True, description="a token beside the cells; without it a step costs a little less"
    )
    stages: Count | Auto = Field(2, description="of encoder conv: resolutions")
    kernel: Count | Auto = Field(7, description="of encoder conv: sites a side that a convolution reaches over; odd")

    _kind = field_validator("kind")(_known(ENCODERS, "encoder"))


class DecoderSection(Section):
    """The network that predicts hidden cells; thrown away afterwards."""

    kind: str = Field("joint", description="docs/architectures.md says which fit which encoder")
    width: Count | Auto = 64
    depth: Count | Auto = 1
    heads: Count | Auto = Field("auto", description="auto: width / 16")
    local_start: bool | Auto = Field(False, description="keys start as queries: attention begins with near cells")
    share: Annotated[float, Field(gt=0, le=1)] | Auto = Field(
        1.0, description="of decoders cross and linear: share of the hidden cells that a step predicts"
    )
    kernel: Count | Auto = Field(7, description="of decoder unet: as the encoder's")

    _kind = field_validator("kind")(_known(DECODERS, "decoder"))


class ModelSection(Section):
    """What is trained."""

    encoder: EncoderSection = EncoderSection()
    decoder: DecoderSection = DecoderSection()
    patch: Patch | dict[str, Patch] | Auto = Field("auto", description="pixels a side of a cell, or [rows, columns]")


class ScheduleSection(Section):
    """How the mask ratio changes, from ``masking.ratio`` on."""

    kind: str = Field("fixed", description="fixed, truncated_normal, linear, cosine or steps")
    end: Annotated[float, Field(gt=0, lt=1)] | None = Field(None, description="linear, cosine: the last ratio")
    deviation: Annotated[float, Field(gt=0)] = Field(0.25, description="truncated_normal, about the ratio")
    low: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="truncated_normal: cut off below")
    high: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="truncated_normal: cut off above")
    steps: list[tuple[float, float]] = Field([], description="steps: [share of the training, ratio from there on]")


class MaskingSection(Section):
    """What is hidden."""

    strategy: str = "random"
    ratio: Ratio | Auto = Field("auto", description="share of cells hidden")
    ratio_spread: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0, description="each batch draws its ratio evenly from ratio ± this; 0: fixed"
    )
    schedule: ScheduleSection = ScheduleSection()
    looks: Count = Field(1, description="masks under which a step sees each loaded sample")
    options: dict[str, Any] = Field({}, description="what the strategy knows beside its name (docs/masks.md)")
    weights: str | None = Field(None, description="weight_map: a .npy file or a picture, from the project's folder")

    _strategy = field_validator("strategy")(_known(MASKERS, "masking strategy"))

    @model_validator(mode="after")
    def _of_one_strategy(self) -> MaskingSection:
        if self.strategy == "auto" and self.options:
            raise ValueError("options belong to one strategy: name it instead of auto")
        return self


Weight = Annotated[float, Field(ge=0)]


class ObjectiveSection(Section):
    """What is minimised: weights of the parts, and what they predict and compare (docs/objectives.md)."""

    reconstruction: Annotated[float, Field(gt=0)] = 1.0
    contrastive: Weight = Field(0.0, description="a joint sample's parts find each other")
    mask_contrastive: Weight = Field(0.0, description="two masks of a sample find each other among other samples")
    invariance: Weight = Field(0.0, description="two masks of a sample have like features (VICReg)")
    variance: Weight = Field(0.0, description="no feature is alike for all samples (VICReg)")
    covariance: Weight = Field(0.0, description="no two features say the same (VICReg)")
    uniformity: Weight = Field(0.0, description="features of samples do not point the same way (U-MAE: 0.01)")
    loss_ranking: Weight = Field(0.0, description="which hidden cell is reconstructed worse; leads masks loss_ranked")
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field({}, description="of a joint sample's parts; 1: not named")
    target: str = Field("auto", description="what reconstruction predicts; auto: the modality's own")
    targets: dict[str, Annotated[float, Field(gt=0)]] = Field({}, description="predicted beside it, with weights")
    loss: Literal["auto", "l2", "l1", "smooth_l1"] = Field("auto", description="of numbers; auto: the target's own")
    pair: Literal["second", "augmented", "complement_of_0", "full"] = Field(
        "second", description="view that mask_contrastive and invariance compare with the masked one"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(0.1, description="of mask_contrastive")
    projector: Annotated[int, Field(ge=0)] = Field(
        0, description="width of a head before objectives that compare samples; 0: none"
    )
    latent_blocks: Count = Field(
        4,
        description="the teacher's last blocks, of which the target latent is the mean; 1: its output after the last norm",
    )
    features_from: str | None = Field(None, description="model folder that the target features is of")

    _target = field_validator("target")(_known(TARGETS, "target"))

    @field_validator("targets")
    @classmethod
    def _targets(cls, targets: dict[str, float]) -> dict[str, float]:
        for name in targets:
            if name not in TARGETS:
                raise ValueError(
                    f"unknown target {name!r}{nearest(name, TARGETS)}: there are {', '.join(sorted(TARGETS))}"
                )
        return targets


class PretrainSection(Section):
    """How it is trained. ``steps`` holds for the default architecture; others get the steps of equal FLOPs."""

    steps: Count = 3000
    batch_size: Count = Field(128, description="of all workers together")
    lr: Annotated[float, Field(gt=0)] | Auto = Field("auto", description="peak; auto: 4e-3 per 256 samples")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.07, description="share of the steps")
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    clip: Annotated[float, Field(ge=0)] = Field(1.0, description="largest gradient norm; 0: unlimited")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="decay of averaged weights; 0: none")
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    crop: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="smallest share of a random crop: of the area, of series of the time; 1: none"
    )
    flip: bool = False
    color_jitter: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="strength of random colours of pictures and videos; 0: none"
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    init_from: str | None = Field(None, description="model folder to start from instead of random weights")
    micro_batch: Annotated[int, Field(ge=0)] | Auto = Field(0, description="samples of a pass; 0: all; auto: what fits")
    recompute: bool = Field(False, description="recompute activations in backward to save memory")
    memory_budget_mb: Annotated[float, Field(ge=0)] = Field(
        0.0, description="of a worker: so few blocks are recomputed that training fits, by an estimate; 0: unlimited"
    )
    checkpoint_every: Count = Field(200, description="steps")
    teacher_momentum: Annotated[float, Field(ge=0, le=1)] = Field(
        0.996, description="what a teacher keeps of itself at the first step"
    )
    teacher_momentum_end: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="and towards which it goes, on a line"
    )
    log_grad_norms: bool = Field(False, description="log how hard each objective pulls at the encoder's output")

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds {seeds} repeat: each pretraining seed may appear once")
        return seeds


class SearchSection(Section):
    """How ``auto`` values are chosen. ``trials: 0`` switches the search off: defaults are used."""

    trials: Annotated[int, Field(ge=0)] = 8
    budget: Annotated[float, Field(gt=0, le=1)] = Field(
        0.15, description="FLOPs of the longest trial over the final run's"
    )
    rungs: Annotated[int, Field(ge=1, le=4)] = Field(
        2, description="complete schedules of growing length; a third go on"
    )
    metric: str = Field("knn", description="what ranks trials; without labels enough: label_free")
    objectives: list[str] = Field([SCORE], description="what is weighed: metric first, then flops, parameters, proxies")
    proxies: list[str] = Field(list(PROXIES), description="what is measured beside the metric")
    space: str = "image_small"
    confirm_seeds: Annotated[int, Field(ge=2)] = Field(
        3, description="seeds on which the winner must beat the defaults"
    )
    confirm_budget: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="as budget, of each of those trainings; where it is less, budget holds"
    )
    method: Literal["halving", "population"] = Field(
        "halving", description="population: schedules of the mask ratio and the learning rate"
    )
    population: Annotated[int, Field(ge=4)] = Field(6, description="members that train side by side")
    rounds: Annotated[int, Field(ge=2)] = Field(
        6, description="parts of the schedule; after each the worst copy the best"
    )
    seed: Seed = 0

    _metric = field_validator("metric")(_known(METRICS, "metric", auto=False))

    @field_validator("objectives", "proxies")
    @classmethod
    def _named(cls, names: list[str], info: ValidationInfo) -> list[str]:
        of_objectives = info.field_name == "objectives"
        table, what = (OBJECTIVES, "objective") if of_objectives else (PROXIES, "proxy")
        check = _known(table, what, auto=False)
        for name in names:
            check(name)
        if len(set(names)) < len(names):
            raise ValueError(f"{names} repeats: name each once")
        if of_objectives and names[:1] != [SCORE]:
            raise ValueError(f"the first is {SCORE}, which search.metric names; the others stand beside it")
        return names

    @model_validator(mode="after")
    def _of_one_score(self) -> SearchSection:
        if self.method == "population" and len(self.objectives) > 1:
            raise ValueError(f"method population ranks by the score alone: leave objectives at [{SCORE}]")
        return self


class ControlsSection(Section):
    """Twins trained at equal FLOPs: the same network without masking, and with labels."""

    models: list[Literal["autoencoder", "supervised"]] = []


class FinetuneSection(Section):
    """Fine-tuning against the same network from scratch."""

    labels_per_class: list[Count | Literal["all"]] = [10]
    trials: Count = Field(3, description="settings tried for each, chosen on validation")
    steps: Count = 150


class EvaluateSection(Section):
    """What is measured on frozen features and by fine-tuning."""

    tasks: list[Literal["knn", "linear", "few_label", "finetune", "reconstruction", "rank", "embedding"]] = [
        "knn", "linear", "few_label", "finetune", "reconstruction", "rank", "embedding",
    ]  # fmt: skip
    probe_seeds: Annotated[list[Seed], Field(min_length=1)] = Field(
        [0, 1, 2],
        description="of the labels that few_label and finetune draw; finetune chooses its rate with the first",
    )
    labels_per_class: list[Count] = Field([1, 5, 10, 50], description="of few_label")
    knn_k: Count = Field(20, description="neighbours of knn")
    finetune: FinetuneSection = FinetuneSection()


class Recipe(Section):
    """One experiment."""

    model: ModelSection = ModelSection()
    masking: MaskingSection = MaskingSection()
    objective: ObjectiveSection = ObjectiveSection()
    pretrain: PretrainSection = PretrainSection()
    search: SearchSection = SearchSection()
    controls: ControlsSection = ControlsSection()
    evaluate: EvaluateSection = EvaluateSection()


def parse_recipe(text: str, where: str) -> Recipe:
    """A recipe from YAML. Raises RecipeError naming each wrong key, its place and the nearest right one."""
    raw = parse_yaml(text, where, RecipeError)
    if not isinstance(raw, dict):
        raise RecipeError(f"{where} holds {type(raw).__name__}, a recipe is a mapping of sections")
    try:
        return Recipe.model_validate(raw)
    except ValidationError as problem:
        lines = "\n".join(f"  {line}" for line in explain(problem, Recipe))
        raise RecipeError(f"{where}:\n{lines}") from None


def value_at(key: str, value: Any) -> Any:
    """``value`` as the schema reads it at a dotted key. Raises RecipeError where it refuses it."""
    tree, path = value, key.split(".")
    for part in reversed(path):
        tree = {part: tree}
    try:
        found: Any = Recipe.model_validate(tree)
    except ValidationError as problem:
        raise RecipeError(explain(problem, Recipe)[0]) from None
    for part in path:
        found = getattr(found, part)
    return found


def explain(problem: ValidationError, schema: type[BaseModel]) -> list[str]:
    """One line per wrong key, with the nearest right one of ``schema``."""
    lines = []
    for error in problem.errors():
        place = [str(part) for part in error["loc"] if isinstance(part, int) or not _is_type_tag(str(part))]
        dotted = ".".join(place)
        if error["type"] == "extra_forbidden":
            names = _fields(schema, place[:-1])
            lines.append(f"unknown key {dotted!r}{nearest(place[-1], names)}: there are {', '.join(names)}")
        else:
            message = error["msg"].removeprefix("Value error, ")
            lines.append(f"{dotted}: {message} (given: {error['input']!r})")
    return list(dict.fromkeys(lines))


def _is_type_tag(part: str) -> bool:
    """pydantic names the branch of a union in the location; users did not write it."""
    return part in {"int", "float", "bool", "constrained-int", "constrained-float"} or "[" in part


def _fields(schema: type[BaseModel], path: list[str]) -> list[str]:
    for name in path:
        annotation = schema.model_fields[name].annotation if name in schema.model_fields else None
        annotation = next(iter(get_args(annotation)), annotation)  # of a section that may be left out
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        schema = annotation
    return list(schema.model_fields)


def recipe_path(root: Path, name: str) -> Path:
    """Where the recipe ``name`` lies. Raises RecipeError for a name that is not one, or that has no file."""
    if not NAME.match(name):
        raise RecipeError(f"recipe name {name!r}: {ALLOWED} (it becomes part of paths and commands)")
    folder = root / "experiments" / "recipes"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = sorted(p.stem for p in folder.glob("*.yaml"))
        raise RecipeError(f"no recipe {name!r}{nearest(name, names)}: {folder} has {', '.join(names) or 'none'}")
    return path


def load_recipe(name: str, root: Path = Path()) -> Recipe:
    """The recipe of that name."""
    path = recipe_path(root, name)
    recipe = parse_recipe(read_text(path, RecipeError), str(path))
    if recipe.masking.weights is None:
        return recipe
    masking = recipe.masking.model_copy(update={"weights": str(root / recipe.masking.weights)})
    return recipe.model_copy(update={"masking": masking})
