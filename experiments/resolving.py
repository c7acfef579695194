"""A recipe, what the search chose and the dataset become plain values, each with its origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import mae_core.registry as registry
from experiments.given_models import check_given, check_start
from experiments.maps import masking_details
from experiments.networks import network
from experiments.recipe import DecoderSection, EncoderSection, ObjectiveSection, Recipe, RecipeError
from mae_core.flops import train_flops
from mae_core.memory import AUTO, check_pass
from mae_core.modalities import MODALITIES
from mae_core.teacher import describe
from mae_core.training.loop import Settings
from mae_core.training.schedule import peak_lr


class Value(NamedTuple):
    """A resolved value and where it came from."""

    value: Any
    origin: Literal["recipe", "search", "default"]


class Resolved(NamedTuple):
    """A recipe with every ``auto`` replaced."""

    values: dict[str, Value]
    """Dotted key → value, for the keys that may be auto."""
    config: dict[str, Any]
    """What MaskedAutoencoder.build takes."""
    settings: Settings
    """What fit takes, for the first pretraining seed."""


SEARCHABLE = (
    "masking.ratio",
    "masking.strategy",
    *(f"model.decoder.{key}" for key in sorted(DecoderSection.model_fields)),
    *(f"model.encoder.{key}" for key in sorted(EncoderSection.model_fields)),
    "model.patch",
    "pretrain.lr",
)
"""Keys that may be ``auto``."""


def resolve(
    recipe: Recipe,
    dataset: dict[str, Any],
    chosen: dict[str, Any] | None = None,
    modality: str = "image",
    root: Path = Path(),
) -> Resolved:
    """Plain values for a dataset (its ``dataset.json``) with what the search chose (dotted keys); folders lie below ``root``.

    ``settings.steps`` is the recipe's for the default architecture; another gets the steps of equal training FLOPs.
    """
    defaults = _resolve(recipe, dataset, {}, modality, root)
    resolved = _resolve(recipe, dataset, chosen or {}, modality, root)
    batch = recipe.pretrain.batch_size
    try:
        share = train_flops(defaults.config, batch) / train_flops(resolved.config, batch)
    except ValueError as problem:
        raise RecipeError(str(problem)) from None
    steps = round(recipe.pretrain.steps * share)
    settings = Settings(**{**resolved.settings.__dict__, "steps": max(steps, 1)})
    return resolved._replace(settings=settings)


def _resolve(recipe: Recipe, dataset: dict[str, Any], chosen: dict[str, Any], modality: str, root: Path) -> Resolved:
    kind = registry.resolve(MODALITIES, modality, "modality")
    values: dict[str, Value] = {}

    def pick(key: str, default: Any) -> Any:
        given: Any = recipe
        for part in key.split("."):
            given = getattr(given, part)
        if given != "auto":
            values[key] = Value(given, "recipe")
        elif key in chosen:
            values[key] = Value(chosen[key], "search")
        else:
            values[key] = Value(default, "default")
        return values[key].value

    patch = pick("model.patch", _default_patch(kind, dataset) if recipe.model.patch == "auto" else None)
    encoder, decoder = network(recipe.model.encoder, "encoder", pick), network(recipe.model.decoder, "decoder", pick)
    try:
        registry.allow(kind.encoders, encoder["kind"], "encoder", modality)
    except ValueError as problem:
        raise RecipeError(f"model.encoder.kind: {problem}") from None
    objective = _objective(recipe.objective, kind, root)
    config = {
        "modality": {"kind": modality, **kind.configure(dataset, patch)},
        "encoder": encoder,
        "decoder": decoder,
        "masking": {
            "strategy": pick("masking.strategy", "random"),
            "ratio": pick("masking.ratio", kind.default_ratio),
            "ratio_spread": recipe.masking.ratio_spread,
        },
        "objective": objective,
    }
    config["masking"] |= masking_details(recipe.masking, config)
    if folder := recipe.objective.features_from:
        check_given("objective.features_from", root / folder, folder, config, dataset)
    p = recipe.pretrain
    if p.init_from:
        check_start(root / p.init_from, p.init_from, config, dataset)
    if p.micro_batch == "auto":
        try:
            check_pass(config)
        except ValueError as problem:
            raise RecipeError(str(problem)) from None
    settings = Settings(
        steps=p.steps,
        batch_size=p.batch_size,
        lr=pick("pretrain.lr", peak_lr(p.batch_size)),
        warmup=p.warmup,
        weight_decay=p.weight_decay,
        clip=p.clip,
        ema=p.ema,
        precision=p.precision,
        seed=p.seeds[0],
        micro_batch=AUTO if p.micro_batch == "auto" else p.micro_batch,
        recompute=p.recompute,
        memory_budget_mb=p.memory_budget_mb,
        crop=p.crop,
        flip=p.flip,
        color_jitter=p.color_jitter,
        teacher_momentum=p.teacher_momentum,
        teacher_momentum_end=p.teacher_momentum_end,
        log_grad_norms=p.log_grad_norms,
    )
    if wrong := kind.cannot_change(settings.augmentation):
        raise RecipeError(wrong)
    if recipe.objective.pair == "augmented" and not settings.augmentation.asked:
        raise RecipeError(
            "objective.pair augmented: nothing is augmented, so the pair would be the same sample: set pretrain.crop below 1, such as 0.5, "
            "pretrain.flip or pretrain.color_jitter, or take pair second"
        )
    return Resolved(values, config, settings)


def _objective(section: ObjectiveSection, kind: Any, root: Path) -> dict[str, Any]:
    """The objective's part of a model's config: what the recipe says other than by default, and always weight and target."""
    found = section.model_dump(exclude_defaults=True) | {"reconstruction": section.reconstruction}
    found["target"] = kind.default_target if section.target == "auto" else section.target
    folder = found.pop("features_from", None)
    if folder is None:
        return found
    if "features" not in (found["target"], *section.targets):
        raise RecipeError(
            "objective.features_from is of the target features: name that as target or under targets, or leave it out"
        )
    try:
        return found | {"source": describe(root / folder, folder)}
    except ValueError as problem:
        raise RecipeError(f"objective.features_from: {problem}") from None


def _default_patch(kind: Any, dataset: dict[str, Any]) -> Any:
    try:
        return kind.default_patch(dataset)
    except ValueError as problem:
        raise RecipeError(str(problem)) from None
