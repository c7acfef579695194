"""The estimate beside what is really alive while a step runs, and budgets that choose what is recomputed."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mae_core.draws import Draws
from mae_core.memory import AUTO, MB, blocks_to_recompute, estimate, largest_pass
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start

ROWS = 8
PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vit, joint": (
        {"kind": "vit", "width": 64, "depth": 4, "heads": 4},
        {"kind": "joint", "width": 32, "depth": 2, "heads": 4},
    ),
    "vit, cross": (
        {"kind": "vit", "width": 64, "depth": 4, "heads": 4},
        {"kind": "cross", "width": 32, "depth": 2, "heads": 4},
    ),
    "hybrid, linear": (
        {"kind": "hybrid", "width": 64, "depth": 4, "heads": 4},
        {"kind": "linear", "width": 32, "heads": 4},
    ),
    "conv, unet": ({"kind": "conv", "width": 64, "depth": 4}, {"kind": "unet", "width": 32, "depth": 1}),
}


class Alive(TorchDispatchMode):
    """Bytes of all tensors that are alive at once, at most; those that were there before are not counted."""

    def __init__(self, known: list[torch.Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.watched: dict[int, Any] = {}
        self.now = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self._watch(tensor.untyped_storage())
        return found

    def _watch(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self.known or place in self.watched:
            return

        def freed(_: object) -> None:
            self.now -= size
            del self.watched[place]

        self.watched[place] = weakref.ref(storage, freed)
        self.now += size
        self.most = max(self.most, self.now)


def config_of(name: str) -> dict[str, Any]:
    encoder, decoder = PARTS[name]
    return {
        "modality": {"kind": "image", "channels": 3, "size": [32, 32], "patch": 4},
        "encoder": dict(encoder),
        "decoder": dict(decoder),
        "masking": {"strategy": "random", "ratio": 0.6},
        "objective": {"reconstruction": 1.0, "target": "pixels"},
    }


def measured(config: dict[str, Any], recomputed: int) -> int:
    """Bytes of weights, and the most that was alive beside them, in one step's forward and backward."""
    model = MaskedAutoencoder.build(config)
    model.recompute_activations(recomputed)
    raw = torch.randint(0, 256, (ROWS, 3, 32, 32)).to(torch.uint8)
    weights = [*model.parameters(), *model.buffers()]
    model(raw, Draws(0, 0, torch.arange(ROWS)))  # what is computed once and kept is there afterwards
    with Alive([*weights, raw]) as alive:
        model(raw, Draws(0, 1, torch.arange(ROWS))).total.backward()
    return alive.most + sum(p.numel() * p.element_size() for p in model.parameters())


def said(config: dict[str, Any], recomputed: int) -> int:
    """What ``estimate`` says of the same: no optimiser."""
    found = estimate(config, ROWS, recomputed=recomputed)
    return found.total - found.optimiser  # none is made


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("recomputed", [0, 2, 99])
def test_the_estimate_is_near_what_is_alive(name, recomputed):
    config = config_of(name)
    assert said(config, recomputed) == pytest.approx(measured(config, recomputed), rel=0.3)


@pytest.mark.parametrize("pair", ["second", "complement_of_0", "full"])
@pytest.mark.parametrize("recomputed", [0, 3, 99])
@pytest.mark.parametrize("name", ["vit, joint", "conv, unet"])
def test_second_views_are_recomputed_too(name, recomputed, pair):
    config = config_of(name)
    config["encoder"]["depth"] = 8
    config["objective"] |= {"mask_contrastive": 0.1, "pair": pair}
    assert said(config, recomputed) == pytest.approx(measured(config, recomputed), rel=0.3)


@pytest.mark.parametrize("recomputed", [0, 99])
def test_pairs_of_hidden_cells_are_held(recomputed):
    """As many as the square of what is hidden: here half of all that is alive."""
    config = config_of("vit, joint")
    config["modality"] |= {"patch": 2}
    config["masking"]["ratio"] = 0.75
    plain = said(config, recomputed)
    config["objective"]["loss_ranking"] = 1.0
    assert said(config, recomputed) == pytest.approx(measured(config, recomputed), rel=0.3)
    assert said(config, recomputed) > 1.3 * plain


@pytest.mark.parametrize("name", PARTS)
def test_recomputing_saves_what_is_said(name):
    """Of what is kept for backward, recomputing every block leaves less than two thirds."""
    config = config_of(name)
    assert measured(config, 99) < measured(config, 0)
    assert estimate(config, ROWS, recomputed=99).activations < 0.67 * estimate(config, ROWS).activations
    by_count = [estimate(config, ROWS, recomputed=count).activations for count in range(1, 5)]
    assert by_count == sorted(by_count, reverse=True)


def test_parameters_and_moments_are_exact():
    config = config_of("vit, joint")
    count = sum(p.numel() for p in MaskedAutoencoder.build(config).parameters())
    found = estimate(config, ROWS, ema=True)
    assert (found.parameters, found.gradients, found.optimiser) == (4 * count, 4 * count, 12 * count)
    assert found.total == 16 * count + max(4 * count, found.activations)
    assert found._replace(passes=2).total == 20 * count + found.activations


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"objective": {"target": "latent"}}, ["modality", "encoder"]),
        (
            {"masking": {"strategy": "loss_ranked"}, "objective": {"loss_ranking": 1.0}},
            ["modality", "encoder", "decoder"],
        ),
    ],
)
def test_teachers_are_held_too(make_config, changes, parts):
    config = make_config(**changes)
    model = MaskedAutoencoder.build(config)
    count = sum(p.numel() for part in parts for p in getattr(model, part).parameters())
    found = estimate(config, ROWS)
    assert found.teachers == 4 * count and found.total == found._replace(teachers=0).total + 4 * count
    assert estimate(make_config(), ROWS).teachers == 0


def test_a_policy_keeps_the_embeddings_of_a_step(make_config):
    """Those of all its passes, however many samples each has; a plain autoencoder has nothing to learn of masks."""
    masking = {"strategy": "policy", "options": {"plans": 2}}
    whole, cut = (estimate(make_config(masking=masking), rows, passes=passes) for rows, passes in ((8, 2), (2, 8)))
    assert whole.masks == cut.masks == 4 * 16 * 16 * 8 * 2
    assert whole.total == whole._replace(masks=0).total + whole.masks
    assert estimate(make_config(masking={**masking, "ratio": 0.0}), 8).masks == estimate(make_config(), 8).masks == 0


def test_more_rows_and_float32_take_more():
    config = config_of("vit, joint")
    one, two = estimate(config, 8).activations, estimate(config, 16).activations
    assert two == pytest.approx(2 * one, rel=1e-6)
    assert estimate(config, 8, "bf16", device="cuda").activations < one


def test_a_budget_recomputes_as_little_as_fits():
    config = config_of("vit, joint")
    whole = estimate(config, ROWS).total / MB
    least = estimate(config, ROWS, recomputed=6).total / MB
    assert blocks_to_recompute(config, ROWS, 0) == blocks_to_recompute(config, ROWS, whole + 0.01) == 0
    assert blocks_to_recompute(config, ROWS, least + 0.01) <= 6
    middle = (whole + least) / 2
    count = blocks_to_recompute(config, ROWS, middle)
    assert 0 < count <= 6
    assert estimate(config, ROWS, recomputed=count).total / MB <= middle
    assert estimate(config, ROWS, recomputed=count - 1).total / MB > middle


def test_a_budget_that_nothing_meets_is_refused_before_the_first_step(make_config, make_raw):
    settings = Settings(steps=2, batch_size=4, lr=1e-3, precision="fp32", memory_budget_mb=0.001)
    state = start(make_config(), settings)
    with pytest.raises(
        ValueError, match=r"4 samples takes about .* MB with all of 4 blocks.*lower pretrain\.micro_batch"
    ):
        list(fit(state, make_raw(8, make_config()).numpy(), settings))
    assert state.step == 0


def test_a_budget_changes_memory_and_not_results(make_config, make_raw):
    config, samples = make_config(), make_raw(8, make_config()).numpy()
    plain = Settings(steps=3, batch_size=4, lr=1e-3, precision="fp32", micro_batch=2)
    tight = estimate(config, 2, recomputed=3, passes=2).total / MB + 1e-6
    budget = Settings(**{**plain.__dict__, "memory_budget_mb": tight})
    losses = []
    for settings in (plain, budget):
        state = start(config, settings)
        losses.append([progress.loss for progress in fit(state, samples, settings, report_every=1)])
        recomputed = state.model.encoder.recompute + state.model.decoder.recompute
        assert recomputed == (0 if settings is plain else blocks_to_recompute(config, 2, tight, passes=2)) <= 3
    assert losses[0] == losses[1]
    assert recomputed > 0


def test_the_largest_pass_that_fits_is_found():
    config = config_of("vit, joint")
    whole = estimate(config, 24).total / MB
    assert largest_pass(config, 24, whole + 0.01) == 24
    rows = largest_pass(config, 24, 0.6 * whole)
    assert rows in (12, 8, 6, 5, 4, 3, 2), "a share of a whole number of passes"
    assert estimate(config, rows, passes=2).total <= 0.6 * whole * MB
    assert largest_pass(config, 24, 0.6 * whole, recompute=True) > rows
    assert largest_pass(config, 24, 0.0) == 1, "the least; recomputing may help"


def test_passes_that_fit_change_memory_and_not_results(make_config, make_raw):
    config, samples = make_config(), make_raw(8, make_config()).numpy()
    given = Settings(steps=3, batch_size=4, lr=1e-3, precision="fp32", micro_batch=2)
    budget = estimate(config, 2, passes=2).total / MB + 1e-6
    assert budget < estimate(config, 4).total / MB
    found = []
    for settings in (given, replace(given, micro_batch=AUTO, memory_budget_mb=budget)):
        state, rows = start(config, settings), []
        state.model.register_forward_pre_hook(lambda _, inputs, rows=rows: rows.append(len(inputs[0])))
        found.append([progress.loss for progress in fit(state, samples, settings, report_every=1)])
        assert rows == [2] * 6 and state.model.encoder.recompute + state.model.decoder.recompute == 0
    assert found[0] == found[1]


def test_memory_does_not_decide_which_samples_are_compared(make_config, make_raw):
    config = make_config()
    config = {**config, "objective": {**config["objective"], "uniformity": 0.1}}
    settings = Settings(steps=2, batch_size=4, lr=1e-3, precision="fp32", micro_batch=AUTO)
    with pytest.raises(ValueError, match=r"micro_batch auto: uniformity compares the samples of a forward pass"):
        list(fit(start(config, settings), make_raw(8, config).numpy(), settings))
