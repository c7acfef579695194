"""What a search may choose: the space file narrowed to what the recipe leaves ``auto`` and the images allow, and proposals from it."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

import mae_core.registry as registry
from experiments.names import NAME
from experiments.networks import KINDS, idle
from experiments.recipe import Recipe, RecipeError, value_at
from experiments.resolving import SEARCHABLE, resolve
from experiments.yaml_files import read_yaml
from mae_core.draws import key as draw_key
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder
from mae_core.registry import nearest

DIGITS = 4
"""Significant digits kept of a sampled float, so that what was tried is what best.yaml says."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class SpaceError(RecipeError):
    """A space file that cannot be used: says where, what and what to do."""


class Space(NamedTuple):
    """The searched keys alone."""

    keys: dict[str, BaseDistribution]
    """Dotted key → values, sorted by key; empty where there is nothing to search."""
    defaults: dict[str, Any]
    """The default of each searched key."""
    notes: list[str]
    """Values and keys that were left out, and why."""


class Listed(dict[str, BaseDistribution]):
    """Dotted key → values, as a space file lists them."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: dict[str, str] = {}
        """By key: what of it is never tried, whatever the recipe says."""


class Tried(NamedTuple):
    """A configuration and what it scored; None where it failed."""

    chosen: dict[str, Any]
    score: float | None
    others: tuple[float, ...] = ()
    """Of several objectives, those beside the score; more is better."""


def load_space(name: str, root: Path = Path()) -> Listed:
    """Every key of ``experiments/spaces/<name>.yaml``. Raises SpaceError naming the file, the key and the nearest right one."""
    folder = root / "experiments" / "spaces"
    path = folder / f"{name}.yaml"
    if not NAME.match(name) or not path.is_file():
        names = sorted(p.stem for p in folder.glob("*.yaml"))
        raise SpaceError(f"no search space {name!r}{nearest(name, names)}: {folder} has {', '.join(names) or 'none'}")
    return parse_space(read_yaml(path, SpaceError), str(path))


def parse_space(raw: Any, where: str) -> Listed:
    """Every key of a mapping as a space file holds it. Raises SpaceError naming ``where``, the key and the nearest right one."""
    if not isinstance(raw, dict):
        raise SpaceError(f"{where} holds {type(raw).__name__}, a space is a mapping of dotted keys")
    found = Listed()
    for key, spec in ((str(key), spec) for key, spec in raw.items()):
        found[key] = values = _distribution(f"{where}: {key}", key, spec)
        if not isinstance(values, CategoricalDistribution) and values.high < (asked := _read(where, key, spec["high"])):
            found.notes[key] = (
                f"{key}: the range ends at {values.high}, for steps of {values.step} do not reach {asked}"
            )
    return found


def _distribution(where: str, key: str, spec: Any) -> CategoricalDistribution | FloatDistribution | IntDistribution:
    """The values of a key; a range ends where its steps do."""
    if key not in SEARCHABLE:
        raise SpaceError(f"{where} cannot be searched{nearest(key, SEARCHABLE)}: there are {', '.join(SEARCHABLE)}")
    if not isinstance(spec, dict) or not (set(spec) == {"choices"} or {"low", "high"} <= set(spec)):
        raise SpaceError(f"{where}: write {{choices: [a, b]}} or {{low: a, high: b}}, with step: or log: true")
    if "choices" in spec:
        values = spec["choices"]
        if not isinstance(values, list) or not values or not all(type(v) in (int, float, str, bool) for v in values):
            raise SpaceError(f"{where}: choices is a list of numbers or names (given: {values!r})")
        if "auto" in values:
            raise SpaceError(
                f"{where}: auto is what leaves a key to the search, no value of it: write numbers or names"
            )
        return CategoricalDistribution(tuple(dict.fromkeys(tidy(_read(where, key, value)) for value in values)))
    unknown = set(spec) - {"low", "high", "step", "log"}
    if unknown:
        raise SpaceError(f"{where}: unknown {', '.join(sorted(unknown))}: a range has low, high, step and log")
    ends = {name: _read(where, key, spec[name]) for name in ("low", "high")}
    if not all(type(end) in (int, float) for end in ends.values()):
        raise SpaceError(f"{where} has no numbers between low and high: write {{choices: [a, b]}}")
    whole = all(type(end) is int for end in ends.values())
    if type(spec.get("log", False)) is not bool:
        raise SpaceError(f"{where}: log is true or false (given: {spec['log']!r})")
    if whole and type(spec.get("step", 1)) is not int:
        raise SpaceError(f"{where}: step is a whole number, as the values are (given: {spec['step']!r})")
    if spec.get("step") is not None:
        ends["high"] = _last(where, ends["low"], ends["high"], spec["step"])
    try:
        return IntDistribution(**{**spec, **ends}) if whole else FloatDistribution(**{**spec, **ends})
    except (TypeError, ValueError, ArithmeticError) as problem:
        raise SpaceError(f"{where}: {problem}") from None


def _last(where: str, low: float, high: float, step: Any) -> float:
    """The last value from ``low`` to ``high`` in steps of ``step``. Raises SpaceError where there are no such steps."""
    if type(step) not in (int, float) or not 0 < step < math.inf:
        raise SpaceError(f"{where}: step is a number above 0 (given: {step!r})")
    if low >= high:
        return high
    start, end, by = (Fraction(str(number)) for number in (low, high, step))  # of floats 0.1 + 0.2 is more than 0.3
    if by > end - start:
        raise SpaceError(
            f"{where}: a step of {step} is larger than the range, from {low} to {high}: take a smaller one"
        )
    return type(high)(start + (end - start) // by * by)


def _read(where: str, key: str, value: Any) -> Any:
    """``value`` as the recipe's schema reads it for ``key``, which is what trials are given. Raises SpaceError where it refuses it."""
    try:
        return value_at(key, value)
    except RecipeError as problem:
        raise SpaceError(f"{where}: {problem}") from None


def narrow(
    keys: dict[str, BaseDistribution],
    recipe: Recipe,
    info: dict[str, Any],
    modality: str = "image",
    root: Path = Path(),
) -> Space:
    """The keys that ``recipe`` leaves ``auto``, with the values that fit the dataset (its ``dataset.json``).

    A default that is not among the choices joins them. A key left with one value is not searched.
    Raises SpaceError where the defaults themselves make no model.
    """
    resolved = resolve(recipe, info, {}, modality, root)
    values = resolved.values
    if problem := unbuildable(resolved.config):
        raise SpaceError(f"the recipe with its defaults makes no model: {problem}")
    searched: dict[str, BaseDistribution] = {}
    kinds = {key: [values[key].value] for key in KINDS}
    notes: list[str] = []
    said = keys.notes if isinstance(keys, Listed) else {}
    for key in sorted(keys, key=lambda key: (key not in KINDS, key)):  # which kinds are left says what the others mean
        if values[key].origin != "default":
            continue
        if recipe.pretrain.init_from and key.startswith("model."):
            notes.append(f"{key} is not searched: pretrain.init_from says what the model is")
            continue
        if key == "masking.ratio" and recipe.masking.options.get("ratios"):
            notes.append(f"{key} is not searched: masking.options.ratios says what is hidden")
            continue
        if reason := idle(key, kinds):
            notes.append(f"{key} is not searched: {reason}")
            continue
        if isinstance(values[key].value, list | dict):
            notes.append(
                f"{key} is not searched: it has several sides here, {values[key].value}, which a recipe may pin"
            )
            continue
        distribution = keys[key]
        if isinstance(distribution, CategoricalDistribution):
            fitting = []
            for value in distribution.choices:
                reason = misfit(recipe, info, key, value, modality, root)
                if reason:
                    notes.append(f"{key} = {value} is left out: {reason}")
                else:
                    fitting.append(value)
            default = tidy(values[key].value)
            distribution = CategoricalDistribution(fitting if default in fitting else [default, *fitting])
        if distribution.single() and _contains(distribution, tidy(values[key].value)):
            notes.append(f"{key} is not searched: {values[key].value} alone is left")
            continue
        searched[key] = distribution
        notes += [said[key]] if key in said else []
        if isinstance(distribution, CategoricalDistribution) and key in kinds:
            kinds[key] = list(distribution.choices)
    searched = dict(sorted(searched.items()))
    return Space(searched, {key: tidy(values[key].value) for key in searched}, notes)


def misfit(
    recipe: Recipe, info: dict[str, Any], key: str, value: Any, modality: str = "image", root: Path = Path()
) -> str:
    """Why a value cannot be used on these samples, '' where it can."""
    if key == "model.patch":
        reason = registry.resolve(MODALITIES, modality, "modality").misfit(info, value)
        if reason:
            return reason
    try:
        return unbuildable(resolve(recipe, info, {key: value}, modality, root).config)
    except RecipeError as problem:
        return str(problem)


def unbuildable(config: dict[str, Any]) -> str:
    """Why ``config`` describes no model, '' where it does; no memory is spent on weights."""
    try:
        with torch.device("meta"):
            MaskedAutoencoder.build(config)
    except ValueError as problem:
        return str(problem)
    return ""


def propose(
    space: Space, history: list[Tried], count: int, seed: int, startup: int, objectives: int = 1
) -> list[dict[str, Any]]:
    """``count`` configurations that are not in ``history``: a pure function of its arguments, so a resumed search proposes the same.

    Seeded multivariate TPE (Bergstra et al. 2011; of several ``objectives`` Ozaki et al. 2022) with a constant liar, so that those of one
    call differ. The first ones, ``startup`` with the defaults, are drawn at random. Fewer come back where the space holds no more.
    """
    sampler = optuna.samplers.TPESampler(
        seed=draw_key(seed, "search", len(history)) % 2**32,
        n_startup_trials=0 if history else startup,
        constant_liar=True,
        multivariate=True if objectives > 1 else None,
    )
    study = study_of(space, history, sampler, objectives)
    known = {_identity(tried.chosen) for tried in history} | {_identity(space.defaults)}
    fresh: list[dict[str, Any]] = []
    for _ in range(20 * count):
        if len(fresh) == count:
            break
        trial = study.ask(space.keys)
        chosen = {key: tidy(trial.params[key]) for key in space.keys}
        if _identity(chosen) not in known:
            known.add(_identity(chosen))
            fresh.append(chosen)
    return fresh


def study_of(
    space: Space, history: list[Tried], sampler: optuna.samplers.BaseSampler | None = None, objectives: int = 1
) -> optuna.Study:
    """An in-memory study that holds ``history``; a default outside the ranges of the space cannot be part of it.

    With one objective it is of the score alone, whatever else is known.
    """
    directions = [optuna.study.StudyDirection.MAXIMIZE] * objectives
    study = optuna.create_study(directions=directions, sampler=sampler or optuna.samplers.RandomSampler(seed=0))
    for tried in history:
        if all(_contains(space.keys[key], tried.chosen[key]) for key in space.keys):
            state = optuna.trial.TrialState.FAIL if tried.score is None else optuna.trial.TrialState.COMPLETE
            values = None if tried.score is None else [tried.score, *tried.others][:objectives]
            study.add_trial(
                optuna.trial.create_trial(params=tried.chosen, distributions=space.keys, values=values, state=state)
            )
    return study


def importance(space: Space, history: list[Tried]) -> tuple[dict[str, float], int]:
    """Share of each searched key in the variance of the score (fANOVA, Hutter et al. 2014), and the number of trials it rests on."""
    study = study_of(space, history)
    trials = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    n = len(trials)
    if n < 3 or len({trial.value for trial in trials}) < 2:
        return {}, n
    from optuna.importance import FanovaImportanceEvaluator  # imports scikit-learn, which every worker would wait for

    try:
        shares = optuna.importance.get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except RuntimeError:  # scores that differ by rounding alone, which no tree tells apart
        return {}, n
    return {name: round(float(shares[name]), 4) for name in sorted(shares) if math.isfinite(shares[name])}, n


def tidy(value: Any) -> Any:
    """Floats with four significant digits."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _identity(chosen: dict[str, Any]) -> tuple[Any, ...]:
    """What tells configurations apart: where kinds are among the keys, those that the chosen kind does not take count as None."""
    kinds = {key: [chosen[key]] for key in KINDS if key in chosen}
    return tuple(None if _without_effect(key, kinds) else chosen[key] for key in sorted(chosen))


def _without_effect(key: str, kinds: dict[str, list[str]]) -> bool:
    """Whether the kind of network that ``key`` is of is among ``kinds`` and does not take it; what no kind takes was left out before."""
    return f"{key.rpartition('.')[0]}.kind" in kinds and bool(idle(key, kinds))


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    steps = (value - distribution.low) / (distribution.step or 1)
    on_the_grid = distribution.step is None or abs(steps - round(steps)) < 1e-8
    return bool(distribution.low <= value <= distribution.high and on_the_grid)
