"""A bandit over strategies and ratios: how it draws, how it is paid, and that its state is the training's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mae_core.cells import Context
from mae_core.draws import Draws
from mae_core.flops import costs
from mae_core.masking.bandit import BanditMasker
from mae_core.masking.ground import Ground
from mae_core.model import MaskedAutoencoder
from mae_core.training.loop import Settings, fit, start
from mae_core.training.state import load_checkpoint, save_checkpoint
from mae_core.training.world import World

pytestmark = pytest.mark.filterwarnings("error:The given NumPy array is not writable")
SETTINGS = Settings(steps=14, batch_size=8, lr=1e-3, precision="fp32")


def bandit(**options):
    given = {"families": ["random", "variance"], "ratios": [0.5, 0.75], "every": 3, **options}
    return {"strategy": "bandit", "ratio": 0.75, "options": given}


def pay(masker, arm, amount):
    learner = type("Model", (), {})()
    masker.learner(learner)._pay(arm, torch.tensor(amount))


class TestArms:
    def test_all_are_as_likely_at_first(self):
        masker = BanditMasker(["random", "grid"], [0.5, 0.75])
        assert masker.probabilities() == pytest.approx([0.25] * 4)
        assert masker.names() == ["random 0.5", "random 0.75", "grid 0.5", "grid 0.75"]
        assert [type(masker.family(arm)).__name__ for arm in range(4)] == ["RandomMasker"] * 2 + ["GridMasker"] * 2

    def test_they_are_drawn_by_their_probabilities(self):
        masker = BanditMasker(["random", "grid"], rate=0.2)
        masker.value.data = torch.tensor([0.0, 2.0])
        ids = torch.arange(1)
        drawn = [masker.arm(Draws(0, 99, ids), round_) for round_ in range(2000)]
        assert abs(sum(drawn) / 2000 - masker.probabilities()[1]) < 0.04

    def test_exp3_follows_what_pays_and_never_stops_trying(self):
        masker = BanditMasker(["random", "grid", "coarse"], rate=0.3)
        for _ in range(50):
            pay(masker, 1, 1.0)
            pay(masker, 0, 0.0)
        chances = masker.probabilities()
        assert sum(chances) == pytest.approx(1) and chances[1] > 0.7 and min(chances) >= 0.1 - 1e-6
        assert masker.count.tolist() == [50, 50, 0]

    def test_ucb_tries_each_first_then_the_best(self):
        masker = BanditMasker(["random", "grid", "coarse"], rule="ucb", rate=0.1)
        for arm in range(3):
            assert masker.probabilities()[arm] == 1
            pay(masker, arm, [0.2, 0.9, 0.1][arm])
        assert masker.probabilities() == [0, 1, 0]

    def test_what_is_refused(self, make_config):
        with pytest.raises(ValueError, match="families is 'policy'"):
            BanditMasker(["policy"])
        for families in (["random", "random"], "random", []):
            with pytest.raises(ValueError, match=r"option families is .*each once"):
                BanditMasker(families)
        with pytest.raises(ValueError, match=r"families is 'weight_map': there are random, grid, block"):
            BanditMasker(["weight_map", "random"])
        with pytest.raises(ValueError, match=r"option ratios is 0\.5: a list"):
            BanditMasker(ratios=0.5)
        with pytest.raises(ValueError, match=r"option ratios is 1\.5"):
            BanditMasker(ratios=[1.5])
        with pytest.raises(ValueError, match="one arm has nothing to choose"):
            start(make_config(masking={"strategy": "bandit", "ratio": 0.5}), SETTINGS)
        with pytest.raises(ValueError, match="'tube' does not fit the modality 'image'"):
            MaskedAutoencoder.build(make_config(masking=bandit(families=["random", "tube"])))


def rows(state, raw, settings=SETTINGS):
    samples = raw.numpy().copy()
    samples.flags.writeable = False  # as those of a mapped file are
    return list(fit(state, samples, settings, report_every=1))


@pytest.mark.parametrize("rule", ["exp3", "ucb"])
def test_a_round_is_paid_and_told(make_config, make_raw, rule):
    config = make_config(masking=bandit(rule=rule, rate=0.2))
    state = start(config, SETTINGS)
    found = rows(state, make_raw(24, config))
    assert state.model.masker.count.sum() == 4, "four whole rounds of three steps in fourteen"
    assert found[0].masks == {} and set(found[-1].masks) == {"mask/reward"} | {
        f"mask/{name}" for name in ("random 0.5", "random 0.75", "variance 0.5", "variance 0.75")
    }
    chances = [value for name, value in found[-1].masks.items() if name != "mask/reward"]
    assert sum(chances) == pytest.approx(1)
    assert state.model.masker.memory[0] > 0


@pytest.mark.parametrize("rule", ["exp3", "ucb"])
def test_averaged_weights_come_with_the_bandit_as_it_is(make_config, make_raw, rule):
    """Averages of counts and payments would be a bandit that has never masked anything."""
    config = make_config(masking=bandit(rule=rule))
    settings = replace(SETTINGS, ema=0.99)
    state = start(config, settings)
    rows(state, make_raw(24, config), settings)
    ended = [own.clone() for own in (state.model.masker.value, state.model.masker.count, state.model.masker.memory)]
    weights = {name: value.clone() for name, value in state.model.named_parameters()}
    made = state.result()
    assert all(
        torch.equal(own, was) for own, was in zip((made.masker.value, made.masker.count, made.masker.memory), ended)
    )
    assert not torch.equal(dict(made.named_parameters())["modality.project.weight"], weights["modality.project.weight"])


def test_a_round_has_one_arm(make_config, make_raw):
    config = make_config(masking=bandit())
    state = start(config, SETTINGS)
    raw, hidden = make_raw(24, config), []
    model_forward = state.model.forward

    def forward(raw, draws=None, plan=None, *rest):
        terms = model_forward(raw, draws, plan, *rest)
        if plan is None:  # else it is the probe
            hidden.append(terms.per_cell.shape[1])
        return terms

    state.model.forward = forward
    rows(state, raw)
    assert len(hidden) == 14 and set(hidden) <= {8, 12}
    assert all(len(set(hidden[i : i + 3])) == 1 for i in range(0, 12, 3))


def test_looks_and_views_are_of_the_rounds_arm_and_not_alike(make_config, make_raw):
    """Every look at a sample hides other cells of it, and its pair is masked by the same family at the same ratio."""
    masking = {**bandit(families=["grid", "random"]), "looks": 2}
    config = make_config(masking=masking, objective={"mask_contrastive": 0.1})
    state = start(config, SETTINGS)
    seen = []
    encode = state.model.encoder.forward

    def watching(modality, cells, plan=None, layer=None):
        if torch.is_grad_enabled():  # else it is the probe
            seen.append(plan.keep)
        return encode(modality, cells, plan, layer)

    state.model.encoder.forward = watching
    rows(state, make_raw(24, config))
    steps = [seen[i : i + 4] for i in range(0, len(seen), 4)]
    assert len(steps) == SETTINGS.steps
    assert {keep.shape[1] for keep in seen} == {4, 8}, "both ratios came"
    for first, pair, second, its_pair in steps:
        assert first.shape == pair.shape == second.shape == its_pair.shape
        assert not any(torch.equal(first, other) for other in (pair, second, its_pair))


def test_a_round_is_paid_for_what_a_pass_at_its_ratio_costs(make_config):
    """The decoder reads all cells whatever is hidden, so that an arm is not cheap by as much as it hides."""
    config = make_config(masking=bandit(families=["random"]))
    gains = []
    for arm in range(2):
        state = start(config, SETTINGS)
        state.model.masker.memory[0] = 2.0
        state.learner.held, state.learner._probe = (arm, True), lambda: torch.tensor(1.0)
        state.learner.lead(torch.zeros(0), Draws(0, 2, torch.arange(8)), Context(), 0)
        state.learner.learn(2, World(), True)
        gains.append(state.learner.parts["mask/reward"])
    dear, cheap = (costs(config, ratio).total for ratio in (0.5, 0.75))
    assert gains[1] / gains[0] == pytest.approx(dear / cheap) and 1 < dear / cheap < 1.9


def test_a_decoder_predicts_its_share(make_config, make_raw):
    config = make_config(masking=bandit(ratios=[0.5]), decoder={"kind": "cross", "depth": 1, "share": 0.5})
    state = start(config, SETTINGS)
    raw = make_raw(8, config)
    learner = state.learner
    context, plan = learner.lead(raw, Draws(0, 1, torch.arange(8)), Context(), 0)
    assert plan is None and state.model(raw, Draws(0, 1, torch.arange(8)), plan, context).per_cell.shape == (8, 4)


def test_a_round_is_paid_though_its_last_step_was_skipped(make_config, make_raw):
    config = make_config(masking=bandit())
    state = start(config, SETTINGS)
    state.learner.prepare(Ground(make_raw(8, config).numpy(), None, rows=3))
    for step, moved in enumerate([True, True, False]):
        state.learner.lead(make_raw(8, config), Draws(0, step, torch.arange(8)), Context(), 0)
        state.learner.learn(step, World(), moved)
    assert state.model.masker.count.sum() == 1 and state.model.masker.memory[0] > 0


@pytest.mark.parametrize("at", [3, 7])
def test_a_resumed_training_is_an_unbroken_one(make_config, make_raw, tmp_path, at):
    """At the end of a round, and within one."""
    config = make_config(masking=bandit())
    raw = make_raw(24, config)
    whole = start(config, SETTINGS)
    told = [progress.masks for progress in rows(whole, raw)]
    state = start(config, SETTINGS)
    for progress in fit(state, raw.numpy(), SETTINGS, report_every=1):
        if progress.step == at:
            save_checkpoint(state, tmp_path, "x")
            break
    again = start(config, SETTINGS)
    assert load_checkpoint(again, tmp_path, "x") == at
    assert [progress.masks for progress in rows(again, raw)] == told[at:]
    a, b = whole.tensors(), again.tensors()
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_averaged_weights_and_saved_models(make_config, make_raw, tmp_path):
    config = make_config(masking=bandit())
    settings = replace(SETTINGS, ema=0.9)
    state = start(config, settings)
    raw = make_raw(24, config)
    rows(state, raw, settings)
    model = state.result()
    back = MaskedAutoencoder.load(model.save(tmp_path / "m"))
    assert back.masker.probabilities() == model.masker.probabilities()
    assert torch.equal(back.reconstruct(raw, seed=1).plan.hide, model.reconstruct(raw, seed=1).plan.hide)
