"""The search space: what a file may say, what is left of it for a recipe and its images, and proposals that can be repeated."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from experiments.recipe import Recipe, load_recipe, parse_recipe
from experiments.resolving import resolve
from experiments.space import Space, SpaceError, Tried, importance, load_space, narrow, parse_space, propose, study_of
from mae_core.model import MaskedAutoencoder

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = Recipe.model_validate(
    {
        "model": {
            "encoder": {"width": "auto", "depth": "auto"},
            "decoder": {"width": "auto", "depth": "auto"},
            "patch": "auto",
        },
        "masking": {"strategy": "auto", "ratio": "auto"},
        "pretrain": {"lr": "auto"},
    }
)


def info(size: int = 28, channels: int = 1) -> dict[str, Any]:
    return {"sample": {"shape": [channels, size, size]}, "mean": [0.5] * channels, "std": [0.2] * channels}


def written(tmp_path: Path, space: Any) -> Path:
    folder = tmp_path / "experiments" / "spaces"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(space if isinstance(space, str) else yaml.safe_dump(space))
    return tmp_path


def test_the_space_that_ships_can_be_searched_whole() -> None:
    keys = load_space("image_small", ROOT)
    space = narrow(keys, EVERYTHING, info())
    assert list(space.keys) == sorted(keys) == list(space.defaults)
    for chosen in propose(space, [], 30, 0, 30):
        resolve(EVERYTHING, info(), chosen)


def test_the_default_recipe_is_searched_by_what_it_leaves_auto() -> None:
    space = narrow(load_space("image_small", ROOT), load_recipe("digits", ROOT), info())
    assert list(space.keys) == ["masking.ratio", "masking.strategy"]
    assert space.defaults == {"masking.ratio": 0.75, "masking.strategy": "random"}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"masking.ration": {"low": 0.1, "high": 0.5}}, "masking.ration cannot be searched.*masking.ratio"),
        ({"pretrain.steps": {"low": 1, "high": 5}}, "pretrain.steps cannot be searched"),
        ({"masking.ratio": [0.1, 0.5]}, "write {choices: .* or {low"),
        ({"masking.ratio": {"low": 0.1}}, "write {choices: .* or {low"),
        ({"masking.ratio": {"low": 0.1, "high": 0.5, "stop": 1}}, "unknown stop"),
        ({"masking.ratio": {"low": 0.5, "high": 0.1}}, "masking.ratio: "),
        ({"masking.ratio": {"low": 0.5, "high": 1.5}}, "masking.ratio: .*given: 1.5"),
        ({"masking.strategy": {"choices": ["random", "grdi"]}}, "unknown masking strategy 'grdi'.*grid"),
        ({"masking.strategy": {"choices": []}}, "choices is a list"),
        ({"model.patch": {"choices": ["auto", 4]}}, "model.patch: auto is what leaves a key to the search"),
        ({"model.encoder.depth": {"choices": [[1]]}}, "choices is a list"),
        ({"model.encoder.depth": {"low": 2.5, "high": 8}}, "model.encoder.depth: .*given: 2.5"),
        ({"model.encoder.depth": {"low": 2, "high": 8, "step": 0.5}}, "step is a whole number.*given: 0.5"),
        *(
            ({"masking.ratio": {"low": 0.4, "high": 0.9, "step": step}}, f"step is a number above 0.*given: {step!r}")
            for step in (math.nan, math.inf, True, 0, -0.1, "a")
        ),
        (
            {"masking.ratio": {"low": 0.4, "high": 0.9, "step": 5}},
            "a step of 5 is larger than the range, from 0.4 to 0.9",
        ),
        (
            {"model.encoder.depth": {"low": 2, "high": 8, "step": 7}},
            "a step of 7 is larger than the range, from 2 to 8",
        ),
        ({"model.encoder.depth": {"low": 2, "high": 8, "step": True}}, "step is a whole number.*given: True"),
        ({"masking.ratio": {"low": 0.4, "high": 0.9, "step": 1e-40}}, "masking.ratio: "),
        ({"masking.ratio": {"low": 0.4, "high": 0.9, "step": 0.1, "log": True}}, "`step` is not supported when `log`"),
        ({"model.encoder.qk_norm": {"low": 0, "high": 1}}, "no numbers between low and high: write {choices"),
        ({"pretrain.lr": {"low": 0.001, "high": "much"}}, "pretrain.lr: .*given: 'much'"),
        ("- a", "holds list"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_space_is_refused_by_name(tmp_path: Path, space: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        load_space("mine", written(tmp_path, space))


@pytest.mark.parametrize("name", ["image_smal", "../recipes/digits", ""])
def test_a_space_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(SpaceError, match=r"no search space.*image_small"):
        load_space(name, ROOT)


def test_kinds_follow_from_what_a_key_takes(tmp_path: Path) -> None:
    space = {
        "model.encoder.depth": {"low": 1, "high": 5, "step": 2},
        "masking.ratio": {"low": 0.4, "high": 0.8, "step": 0.1},
        "masking.strategy": {"choices": ["grid", "random", "grid"]},
    }
    keys = load_space("mine", written(tmp_path, space))
    assert keys["model.encoder.depth"] == IntDistribution(1, 5, step=2)
    assert keys["masking.ratio"] == FloatDistribution(0.4, 0.8, step=0.1)
    assert keys["masking.strategy"] == CategoricalDistribution(("grid", "random"))


@pytest.mark.parametrize(
    ("key", "low", "high", "step", "end"),
    [("masking.ratio", 0.4, 0.9, 0.2, 0.8), ("masking.ratio", 0.1, 0.6, 0.3, 0.4), ("model.encoder.depth", 1, 8, 3, 7)],
)
def test_a_range_that_its_steps_do_not_end_is_cut_with_a_note(key, low, high, step, end) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keys = parse_space({key: {"low": low, "high": high, "step": step}}, "x")
    space = narrow(keys, EVERYTHING, info())
    assert space.notes == [f"{key}: the range ends at {end}, for steps of {step} do not reach {high}"]
    assert {chosen[key] for chosen in propose(space, [], 20, 0, 20)} | {space.defaults[key]} >= {low, end}
    pinned = narrow(keys, Recipe.model_validate({"masking": {"ratio": 0.6}}), info())
    assert pinned.notes == [], "of what is searched alone"


def test_a_range_that_its_steps_end_has_no_note() -> None:
    for low, high, step in ((0.4, 0.9, 0.05), (0.1, 0.7, 0.1), (0.5, 0.5, 0.1), (0.1, 0.3, 0.2)):
        keys = parse_space({"masking.ratio": {"low": low, "high": high, "step": step}}, "x")
        assert keys == {"masking.ratio": FloatDistribution(low, high, step=step)} and keys.notes == {}


def test_values_are_what_the_recipe_reads(tmp_path: Path) -> None:
    """YAML calls 1e-3 a text, 2.0 no whole number and 0 no answer."""
    space = """
        pretrain.lr: {choices: [1e-3, 3e-3, 0.003]}
        model.encoder.qk_norm: {choices: [0, 1]}
        model.encoder.depth: {low: 2.0, high: 8.0}
        model.encoder.width: {choices: ['64', 128.0]}
        masking.ratio: {low: 0, high: 5e-1}
    """
    keys = load_space("mine", written(tmp_path, space))
    assert keys["pretrain.lr"] == CategoricalDistribution((0.001, 0.003))
    assert [type(value) for value in keys["model.encoder.qk_norm"].choices] == [bool, bool]
    assert keys["model.encoder.depth"] == IntDistribution(2, 8)
    assert [(value, type(value)) for value in keys["model.encoder.width"].choices] == [(64, int), (128, int)]
    assert keys["masking.ratio"] == FloatDistribution(0.0, 0.5)


def test_values_that_do_not_fit_the_images_are_left_out_with_a_note() -> None:
    space = narrow(load_space("image_small", ROOT), EVERYTHING, info(28))
    patches = space.keys["model.patch"]
    assert isinstance(patches, CategoricalDistribution) and patches.choices == (4, 7)
    notes = " ".join(space.notes)
    assert "model.patch = 8 is left out: it does not divide images of 28x28" in notes
    assert "model.patch = 14 is left out: it leaves fewer than 4 cells a side" in notes


def test_a_default_joins_the_choices_and_one_choice_is_no_search(tmp_path: Path) -> None:
    keys = load_space(
        "mine", written(tmp_path, {"model.patch": {"choices": [16]}, "model.encoder.depth": {"choices": [6]}})
    )
    space = narrow(keys, EVERYTHING, info(32))
    assert space.keys == {} and space.defaults == {}, "the default of 32 pixels is a patch of 8, and 16 leaves 2 cells"
    assert "model.encoder.depth is not searched: 6 alone is left" in space.notes
    wide = narrow(keys, EVERYTHING, info(64))
    assert wide.keys == {}, "16 is the default of 64 pixels"
    keys = {"model.encoder.depth": CategoricalDistribution((2, 3))}
    assert narrow(keys, EVERYTHING, info()).keys == {"model.encoder.depth": CategoricalDistribution((6, 2, 3))}


def test_what_would_change_nothing_or_has_several_sides_is_not_searched() -> None:
    keys: dict[str, Any] = {
        "masking.ratio": FloatDistribution(0.4, 0.8),
        "model.patch": CategoricalDistribution((2, 4)),
    }
    bandit = {"strategy": "bandit", "ratio": "auto", "options": {"families": ["random"], "ratios": [0.5, 0.75]}}
    space = narrow(keys, Recipe.model_validate({"masking": bandit}), info())
    assert "masking.ratio is not searched: masking.options.ratios says what is hidden" in space.notes
    film = {"sample": {"shape": [1, 8, 16, 16]}, "mean": [0.5], "std": [0.2], "stride": 1}
    space = narrow(keys, EVERYTHING, film, "video")
    assert list(space.keys) == ["masking.ratio"]
    assert any(note.startswith("model.patch is not searched: it has several sides here, [") for note in space.notes)


def test_a_model_to_begin_with_says_what_the_architecture_is(tmp_path: Path) -> None:
    MaskedAutoencoder.build(resolve(EVERYTHING, info(), {}).config).save(tmp_path / "models" / "a" / "seed-0")
    begun = EVERYTHING.model_copy(
        update={"pretrain": EVERYTHING.pretrain.model_copy(update={"init_from": "models/a/seed-0"})}
    )
    space = narrow(load_space("image_small", ROOT), begun, info(), "image", tmp_path)
    assert space.keys and not any(key.startswith("model.") for key in space.keys)
    assert "model.patch is not searched: pretrain.init_from says what the model is" in space.notes


def test_defaults_that_make_no_model_are_an_error() -> None:
    wrong = Recipe.model_validate({"model": {"encoder": {"width": 30, "heads": 4}}})
    with pytest.raises(SpaceError, match="the recipe with its defaults makes no model"):
        narrow(load_space("image_small", ROOT), wrong, info())


SPACE = Space(
    {
        "masking.ratio": FloatDistribution(0.4, 0.9, step=0.05),
        "masking.strategy": CategoricalDistribution(("random", "grid")),
        "pretrain.lr": FloatDistribution(5e-4, 6e-3, log=True),
    },
    {"masking.ratio": 0.75, "masking.strategy": "random", "pretrain.lr": 0.002},
    [],
)


def test_proposals_are_a_function_of_what_is_known() -> None:
    first = propose(SPACE, [], 6, 0, 6)
    assert first == propose(SPACE, [], 6, 0, 6) != propose(SPACE, [], 6, 1, 6)
    history = [Tried(chosen, i / 10) for i, chosen in enumerate(first)]
    assert propose(SPACE, history, 3, 0, 6) == propose(SPACE, history, 3, 0, 6)
    for chosen in first:
        assert chosen["pretrain.lr"] == float(f"{chosen['pretrain.lr']:.4g}")
        assert round(chosen["masking.ratio"] * 20) / 20 == pytest.approx(chosen["masking.ratio"])


def test_what_was_tried_is_not_proposed_again() -> None:
    small = Space({"depth": IntDistribution(1, 4)}, {"depth": 2}, [])
    history = [Tried({"depth": 2}, 0.5), Tried({"depth": 3}, None)]
    assert sorted(chosen["depth"] for chosen in propose(small, history, 5, 0, 1)) == [1, 4]


def test_after_the_random_ones_scores_guide_though_some_are_unknown() -> None:
    """A trial that failed, or defaults outside the ranges, do not make the next ones random again."""
    first = propose(SPACE, [], 9, 0, 10)
    for unknown in (None, 0.5):
        found = []
        for turn in (1, -1):
            scored = [Tried(chosen, turn * chosen["masking.ratio"]) for chosen in first[1:]]
            history = [Tried({**SPACE.defaults, "masking.ratio": 0.3}, 0.5), Tried(first[0], unknown), *scored]
            found.append(propose(SPACE, history, 4, 0, 10))
        assert found[0] != found[1]
        more, less = (sum(chosen["masking.ratio"] for chosen in some) for some in found)
        assert more > less
    assert len(propose(SPACE, [Tried(first[0], None)], 4, 0, 10)) == 4, "nothing is known at all"


def test_a_default_outside_the_space_is_left_out_of_its_study() -> None:
    history = [
        Tried({**SPACE.defaults, "pretrain.lr": 0.1}, 0.5),
        Tried({**SPACE.defaults, "masking.ratio": 0.77}, 0.5),
        Tried({**SPACE.defaults, "masking.strategy": "block"}, 0.5),
        Tried(SPACE.defaults, 0.5),
        Tried({**SPACE.defaults, "masking.ratio": 0.4}, None),
    ]
    assert [trial.state.name for trial in study_of(SPACE, history).trials] == ["COMPLETE", "FAIL"]
    assert len(propose(SPACE, history, 2, 0, 1)) == 2


def test_importance_finds_the_key_that_matters_and_repeats_itself() -> None:
    history = [Tried(chosen, chosen["masking.ratio"]) for chosen in propose(SPACE, [], 40, 0, 40)]
    shares, n = importance(SPACE, [*history, Tried(SPACE.defaults, None)])
    assert n == 40 and shares["masking.ratio"] > 0.9 and sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert importance(SPACE, history)[0] == shares


def test_importance_is_of_scores_within_the_space_alone() -> None:
    history = [Tried(chosen, 0.5) for chosen in propose(SPACE, [], 4, 0, 4)]
    outside = Tried({**SPACE.defaults, "pretrain.lr": 0.1}, 0.9)
    assert importance(SPACE, [outside, *history]) == ({}, 4)


@pytest.mark.parametrize("values", [[], [0.5, 0.6], [0.5, 0.5, 0.5], [None, None, None]])
def test_importance_of_nothing_is_not_invented(values: list[float | None]) -> None:
    history = [Tried(chosen, value) for chosen, value in zip(propose(SPACE, [], 3, 0, 3), values)]
    shares, n = importance(SPACE, history)
    assert shares == {} and n == sum(value is not None for value in values)


def test_scores_that_differ_by_rounding_alone_have_no_importance() -> None:
    space = Space({"masking.ratio": CategoricalDistribution((0.25, 0.5, 0.75))}, {"masking.ratio": 0.5}, [])
    scored = [(0.25, 1.0), (0.5, 1.0 + 1e-8), (0.75, 1.0)]
    assert importance(space, [Tried({"masking.ratio": ratio}, score) for ratio, score in scored]) == ({}, 3)


def test_keys_that_no_kind_takes_that_is_left_are_not_searched() -> None:
    keys = parse_space({"model.encoder.kind": {"choices": ["vit"]}, "model.encoder.kernel": {"choices": [5, 7]}}, "x")
    found = narrow(keys, parse_recipe("model: {encoder: {kind: auto, kernel: auto}}", "x"), info())
    assert found.keys == {}
    assert found.notes == [
        "model.encoder.kind is not searched: vit alone is left",
        "model.encoder.kernel is not searched: encoder 'vit' does not take it",
    ]
    both = parse_space(
        {"model.encoder.kind": {"choices": ["vit", "hybrid"]}, "model.encoder.kernel": {"choices": [5, 7]}}, "x"
    )
    found = narrow(both, parse_recipe("model: {encoder: {kind: auto, kernel: auto}}", "x"), info())
    assert list(found.keys) == ["model.encoder.kind"] and "'vit' or 'hybrid' does not take it" in found.notes[0]


def test_one_value_beside_another_default_is_searched() -> None:
    one = {"masking.ratio": FloatDistribution(0.4, 0.9, step=5)}
    found = narrow(one, parse_recipe("masking: {ratio: auto}", "x"), info())
    assert found.notes == [] and propose(found, [Tried(found.defaults, 0.5)], 3, 0, 1) == [{"masking.ratio": 0.4}]
