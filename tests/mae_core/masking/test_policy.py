"""Learned masks: what they draw, what they learn from, and that a training of them can be cut, resumed and shared."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mae_core.cells import Cells, Context
from mae_core.draws import Draws
from mae_core.masking.ground import Ground
from mae_core.masking.learning import PolicyLearner, advantages_of, entropy_share
from mae_core.masking.policy import PolicyMasker, Scorer
from mae_core.masking.rewards import REWARDS, ProbeReward, Seen, mean_ok
from mae_core.masking.updates import UPDATES, Ppo, Reinforce
from mae_core.model import MaskedAutoencoder
from mae_core.teacher import describe
from mae_core.training.loop import Settings, fit, start
from mae_core.training.state import load_checkpoint, save_checkpoint
from mae_core.training.world import World

BANDIT = {"strategy": "bandit", "ratio": 0.75, "options": {"families": ["random", "grid"], "every": 2}}
SETTINGS = Settings(steps=6, batch_size=8, lr=1e-3, precision="fp32")


def policy(**options):
    return {"strategy": "policy", "ratio": 0.75, "options": {"random": 0.0, "hidden": 16, **options}}


def trained(config, raw, settings=SETTINGS, labels=None, state=None):
    state = start(config, settings) if state is None else state
    for progress in fit(state, raw.numpy(), settings, report_every=1, labels=labels):
        last = progress
    return state, last


def policy_of(state):
    return {name: value for name, value in state.tensors().items() if ".masker." in name}


class VisibleFirstCell:
    """A reward that is known: 1 where the first cell is visible."""

    def before(self, model, seen):
        return None

    def of(self, model, seen):
        return (seen.plan.keep == 0).any(1).float()


class TestAdvantages:
    def test_of_several_looks_each_is_compared_with_the_others(self):
        rewards = [torch.tensor([1.0, 5.0]), torch.tensor([2.0, 5.0]), torch.tensor([6.0, 5.0])]
        raw = torch.tensor([[1 - 4.0, 0], [2 - 3.5, 0], [6 - 1.5, 0]])
        expected = raw / raw.square().mean().sqrt()
        torch.testing.assert_close(torch.stack(advantages_of(rewards, 3, World())), expected)

    def test_of_one_look_the_batch_is_what_it_is_compared_with(self):
        rewards = [torch.tensor([1.0, 2.0]), torch.tensor([6.0])]
        raw = torch.tensor([1 - 4.0, 2 - 3.5, 6 - 1.5])
        expected = raw / raw.square().mean().sqrt()
        torch.testing.assert_close(torch.cat(advantages_of(rewards, 1, World())), expected)

    @pytest.mark.parametrize("looks", [1, 2])
    def test_samples_without_a_reward_count_for_nobody(self, looks):
        some, nan = [torch.tensor([1.0, 2.0, 6.0]), torch.tensor([3.0, 5.0, 0.0])], torch.tensor([torch.nan])
        alone = advantages_of(some, looks, World())
        found = advantages_of([torch.cat([one, nan]) for one in some], looks, World())
        torch.testing.assert_close(torch.stack(found)[:, :3], torch.stack(alone))
        assert not torch.stack(found)[:, 3].any()
        assert not torch.stack(advantages_of([nan, nan], looks, World())).any(), "nobody has one"

    @pytest.mark.parametrize("rewards", [[[0.8]], [[torch.nan, -1.3], [torch.nan]]])
    def test_one_that_can_be_compared_with_nobody_teaches_nothing(self, rewards):
        assert not torch.cat(advantages_of([torch.tensor(part) for part in rewards], 1, World())).any()

    def test_equal_rewards_teach_nothing(self):
        assert not torch.cat(advantages_of([torch.ones(3), torch.ones(3)], 2, World())).any()


def test_entropy_is_a_share_of_the_uniform_ones():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, -50.0, -50.0]])
    torch.testing.assert_close(entropy_share(logits, None), torch.tensor([1.0, 0.5]))
    valid = torch.tensor([[True, True, False, False], [True, False, False, False]])
    torch.testing.assert_close(entropy_share(logits, valid), torch.tensor([1.0, 1.0]))
    logits.requires_grad_(True)
    entropy_share(logits, valid).sum().backward()
    assert logits.grad.isfinite().all(), "of two cells the overflowing case"


def test_ppo_is_reinforce_where_nothing_moved_and_stops_where_it_moved_far():
    advantage = torch.tensor([[2.0], [-2.0]])
    for rule in (Reinforce(), Ppo()):
        picks = torch.zeros(2, 3, requires_grad=True)
        (gradient,) = torch.autograd.grad(rule.loss(picks, torch.zeros(2, 3), advantage).sum(), picks)
        assert gradient.tolist() == [[-2.0] * 3, [2.0] * 3]
    far = torch.tensor([[0.5], [-0.5]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Ppo().loss(far, torch.zeros(2, 1), advantage).sum(), far)
    assert not gradient.any(), "likelier than a fifth and good, less likely than a fifth and bad: far enough"


def test_an_untrained_policy_is_the_random_mask(make_config, make_raw):
    config = make_config(masking=policy())
    model = MaskedAutoencoder.build(config)
    raw = make_raw(400, config)
    plan = model.plan(raw, 0.75, "policy", seed=3)
    often = torch.zeros(400, 16).scatter(1, plan.hide, 1.0).mean(0)
    assert (often - 0.75).abs().max() < 5 * math.sqrt(0.75 * 0.25 / 400)
    assert model(raw[:4], Draws(0, 0, torch.arange(4))).total > 0


def test_the_scorer_does_not_see_cells_that_are_not_there():
    scorer = Scorer(8, 16)
    torch.nn.init.normal_(scorer.out.weight)
    x, coords = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)), torch.arange(5.0).view(5, 1)
    valid = torch.tensor([[True] * 5, [True, True, True, False, False]])
    other = torch.where(valid.unsqueeze(-1), x, 7.0)
    assert torch.equal(scorer(x, coords, valid)[valid], scorer(other, coords, valid)[valid])


def test_the_models_weights_are_the_same_with_and_without_a_policy(make_config):
    plain = MaskedAutoencoder.build(make_config(), seed=5).state_dict()
    led = MaskedAutoencoder.build(make_config(masking=policy()), seed=5).state_dict()
    assert all(torch.equal(led[name], value) for name, value in plain.items())
    assert {name for name in led if name not in plain} == {name for name in led if name.startswith("masker.")} != set()


@pytest.mark.parametrize("update", UPDATES)
def test_a_known_reward_is_found(make_config, make_raw, update):
    """The first cell is to stay visible: at random it does a quarter of the time."""
    config = make_config(masking=policy(update=update, rate=0.02, plans=4))
    raw = make_raw(64, config)
    settings = replace(SETTINGS, steps=40, batch_size=16)
    state = start(config, settings)
    state.learner.reward = VisibleFirstCell()
    _, last = trained(config, raw, settings, state=state)
    keep = state.model.plan(make_raw(200, config, seed=9), 0.75, "policy", seed=1).keep
    assert (keep == 0).any(1).float().mean() > 0.6
    assert last.masks["mask/reward"] > 0.5 and 0 < last.masks["mask/entropy"] <= 1
    assert 0.1 < last.masks["mask/agreement"] <= 1
    assert (
        last.masks["mask/hidden_least"] < 0.5 < last.masks["mask/hidden_most"] <= 1
        and last.masks["mask/evenness"] > 0.5
    )


def test_the_floor_keeps_the_policy_from_narrowing(make_config, make_raw):
    def entropy(floor):
        config = make_config(masking={**policy(update="ppo", rate=0.05, plans=4, floor=floor), "ratio": 0.1})
        settings = replace(SETTINGS, steps=30, batch_size=16)
        state = start(config, settings)

        class HideFirst(VisibleFirstCell):
            def of(self, model, seen):
                return (seen.plan.hide == 0).any(1).float()

        state.learner.reward = HideFirst()
        return trained(config, make_raw(64, config), settings, state=state)[1].masks["mask/entropy"]

    assert entropy(0.95) > entropy(0.0) + 0.05


def test_random_batches_teach_nothing(make_config, make_raw):
    config = make_config(masking=policy(random=1.0))
    raw = make_raw(16, config)
    state, last = trained(config, raw)
    fresh = start(config, SETTINGS)
    assert all(
        torch.equal(value, policy_of(fresh)[name]) for name, value in policy_of(state).items() if "model" in name
    )
    assert last.masks == {}


@pytest.mark.parametrize("pair", ["second", "augmented"])
def test_all_views_of_a_random_batch_are_masked_at_random(make_config, make_raw, pair):
    config = make_config(masking=policy(random=1.0), objective={"mask_contrastive": 0.1, "pair": pair})
    settings = replace(SETTINGS, steps=3, flip=True)
    state = start(config, settings)
    torch.nn.init.normal_(state.model.masker.scorer.out.weight, std=20)  # far from random, were it asked
    kept, encode = [], state.model.encoder.forward

    def watching(modality, cells, plan=None, layer=None):
        kept.append(plan.keep)
        return encode(modality, cells, plan, layer)

    state.model.encoder.forward = watching
    for _ in fit(state, make_raw(1, config).repeat(64, 1, 1, 1).numpy(), replace(settings, batch_size=64)):
        pass
    first, second = torch.cat(kept[::2]), torch.cat(kept[1::2])
    for view in (first, second):
        often = torch.bincount(view.flatten(), minlength=16) / len(view)
        assert (often - 0.25).abs().max() < 0.15
    assert not torch.equal(first, second)


CONFIGS = {
    "reinforce, two plans": policy(),
    "ppo, batch baseline": policy(update="ppo", plans=1),
    "low error": policy(seek="low", plans=3),
    "progress": policy(reward="progress", plans=1, random=0.3),
    "probe": policy(reward="probe"),
    "spread ratios": {**policy(), "ratio_spread": 0.2},
}
LABELS = np.arange(24) % 3


@pytest.mark.parametrize("name", CONFIGS)
def test_a_resumed_training_is_an_unbroken_one(make_config, make_raw, tmp_path, name):
    config = make_config(masking=CONFIGS[name])
    raw = make_raw(24, config)
    whole, _ = trained(config, raw, labels=LABELS)
    state = start(config, SETTINGS)
    for progress in fit(state, raw.numpy(), SETTINGS, report_every=1, labels=LABELS):
        if progress.step == 3:
            save_checkpoint(state, tmp_path, "x")
            break
    again = start(config, SETTINGS)
    assert load_checkpoint(again, tmp_path, "x") == 3
    trained(config, raw, labels=LABELS, state=again)
    a, b = whole.tensors(), again.tensors()
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    assert any("optimizer.exp_avg.masker.scorer" in key for key in a)
    fresh = start(config, SETTINGS).tensors()
    assert not torch.equal(a["model.masker.scorer.out.weight"], fresh["model.masker.scorer.out.weight"]), "it learned"


@pytest.mark.parametrize("name", ["reinforce, two plans", "ppo, batch baseline", "progress", "probe"])
def test_micro_batches_change_nothing_but_rounding(make_config, make_raw, name):
    config = make_config(masking=CONFIGS[name])
    raw = make_raw(24, config)
    whole, _ = trained(config, raw, labels=LABELS)
    cut, _ = trained(config, raw, replace(SETTINGS, micro_batch=3), labels=LABELS)
    for key, value in whole.tensors().items():
        if key.startswith("model.masker"):
            torch.testing.assert_close(cut.tensors()[key], value, rtol=1e-3, atol=1e-4)


def test_no_gradient_of_the_model_reaches_the_policy(make_config, make_raw):
    config = make_config(masking=policy())
    model = MaskedAutoencoder.build(config)
    model(make_raw(4, config), Draws(0, 0, torch.arange(4))).total.backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.masker.parameters())


def test_a_saved_model_masks_as_it_learned(make_config, make_raw, tmp_path):
    config = make_config(masking=policy())
    raw = make_raw(16, config)
    model = trained(config, raw, replace(SETTINGS, steps=10))[0].result()
    with torch.no_grad():
        model.masker.scorer.out.weight.mul_(50)
    back = MaskedAutoencoder.load(model.save(tmp_path / "m"))
    a, b = (one.reconstruct(raw, seed=2) for one in (model, back))
    assert torch.equal(a.plan.hide, b.plan.hide) and torch.equal(a.filled, b.filled)
    untrained = MaskedAutoencoder.build(config).reconstruct(raw, seed=2)
    assert not torch.equal(a.plan.hide, untrained.plan.hide)


def test_the_log_probability_of_a_plan_is_that_of_its_order(make_config, make_raw):
    config = make_config(masking=policy())
    raw, model = make_raw(3, config), MaskedAutoencoder.build(config)
    learner = PolicyLearner(model.masker, model)
    _, plan = learner.lead(raw, Draws(0, 0, torch.arange(3)), Context(), 0)
    uniform = -sum(math.log(16 - i) for i in range(12))
    torch.testing.assert_close(plan.log_prob, torch.full((3,), uniform))
    _, other = learner.lead(raw, Draws(0, 0, torch.arange(3)), Context(), 1)
    assert not torch.equal(plan.hide, other.hide), "each look draws anew"
    assert torch.equal(plan.hide, model.plan(raw, 0.75, "policy", seed=0).hide), (
        "the first is what the model itself draws"
    )


class TestRewards:
    def seen(self, make_config, make_raw, reward, encoder=None, **options):
        config = make_config(masking=policy(reward=reward, **options), encoder=encoder or {})
        raw, model = make_raw(6, config), MaskedAutoencoder.build(config, seed=2)
        learner = PolicyLearner(model.masker, model)
        learner.prepare(Ground(raw.numpy(), np.array([0, 1, 0, 1, 0, -1]), rows=2))
        _, plan = learner.lead(raw, Draws(0, 4, torch.arange(6)), Context(), 0)
        learner.saw(plan, model(raw, plan=plan).per_cell)
        return model, learner, learner._seen[0]

    def test_error_is_the_mean_over_hidden_cells(self, make_config, make_raw):
        model, learner, seen = self.seen(make_config, make_raw, "error")
        torch.testing.assert_close(learner.reward.of(model, seen), seen.per_cell.mean(1))
        ok = torch.tensor([[True, True, False]])
        assert mean_ok(torch.tensor([[1.0, 3.0, 99.0]]), ok).item() == 2

    def test_progress_is_what_a_step_brought(self, make_config, make_raw):
        model, learner, seen = self.seen(make_config, make_raw, "progress", plans=1)
        assert not learner.reward.of(model, seen).any(), "no step, no progress"
        model(seen.raw, seen.draws).total.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.01 * parameter.grad)
        assert (learner.reward.of(model, seen) > 0).float().mean() > 0.5

    def test_the_probe_is_a_nearest_neighbour_vote_without_the_sample_itself(self, make_config, make_raw):
        model, _, seen = self.seen(make_config, make_raw, "probe")
        labels = torch.tensor([0, 1, 0, 1, 0])
        with torch.no_grad():
            view = model.encoder(model.modality, seen.cells, seen.plan).pooled
            bank = model.encode(seen.raw[:5], "mean")
        for i in range(5):
            cosine = torch.nn.functional.cosine_similarity(view[i], bank)
            votes = (cosine.double() / 0.07).exp()
            votes[i] = 0
            expected = (votes[labels == labels[i]].sum() / votes.sum()).log()
            torch.testing.assert_close(seen.before[i].double(), expected, rtol=1e-4, atol=1e-4)
        assert seen.before[5].isnan(), "it has no label"

    def test_the_probe_compares_like_with_like_whatever_is_pooled(self, make_config, make_raw):
        """A view of nearly all cells is nearest to the whole sample itself, also where the first token stands for it."""
        found = {}
        for pool in ("mean", "token"):
            _, _, seen = self.seen(make_config, make_raw, "probe", encoder={"global_pool": pool})
            found[pool] = seen.before
        torch.testing.assert_close(found["token"], found["mean"], equal_nan=True, msg="cells are pooled for both")

    def test_what_the_probe_needs(self, make_config, make_raw):
        config = make_config(masking=policy(reward="probe"))
        raw = make_raw(6, config)
        with pytest.raises(ValueError, match="reward probe needs the labels of train"):
            trained(config, raw)
        with pytest.raises(ValueError, match="labelled samples of two classes"):
            ProbeReward().prepare(Ground(raw.numpy(), np.array([0, 0, 0, -1, -1, -1])))

    def test_one_number_for_all_plans_needs_one_plan(self):
        with pytest.raises(ValueError, match="reward progress is one for all masks of a sample: set option plans to 1"):
            PolicyMasker(reward="progress", plans=2)

    def test_every_row_is_a_reward(self, make_config, make_raw):
        for reward in REWARDS:
            _, learner, seen = self.seen(make_config, make_raw, reward, plans=1)
            assert isinstance(seen, Seen) and learner.reward.of(learner.model, seen).shape == (6,)


def test_sharded_training_is_refused(make_config, make_raw):
    config = make_config(masking=policy())
    state = start(config, SETTINGS)
    with pytest.raises(ValueError, match=r"do not train under fsdp2: set resources\.strategy to ddp"):
        next(fit(state, make_raw(16, config).numpy(), SETTINGS, World(0, 1, "fsdp2")))


def test_a_decoder_that_predicts_a_share_is_refused(make_config):
    decoder = {"kind": "cross", "depth": 1, "share": 0.5}
    with pytest.raises(
        ValueError, match="'policy' is rewarded for all of the cells that it hides: set the decoder's share to 1"
    ):
        MaskedAutoencoder.build(make_config(masking=policy(), decoder=decoder))


@pytest.mark.parametrize("masking", [policy(reward="progress", plans=1), BANDIT], ids=["progress", "bandit"])
@pytest.mark.parametrize("where", ["target", "targets"])
def test_what_is_learned_from_errors_knows_the_teacher(make_config, make_raw, tmp_path, masking, where):
    """A frozen model's features are a target that the model cannot say itself."""
    other = MaskedAutoencoder.build(make_config(), seed=9).save(tmp_path / "other")
    objective = {"source": describe(other, "other")}
    objective |= {"target": "features"} if where == "target" else {"target": "pixels", "targets": {"features": 1.0}}
    config = make_config(masking=masking, objective=objective)
    state = start(config, SETTINGS, features_from=other)
    _, last = trained(config, make_raw(16, config), state=state)
    assert math.isfinite(last.masks["mask/reward"])


def test_a_plain_autoencoder_has_nothing_to_learn_of_masks(make_config):
    assert start(make_config(masking={**policy(), "ratio": 0.0}), SETTINGS).learner is None
    assert start(make_config(), SETTINGS).learner is None


def test_a_policy_needs_what_only_a_model_gives():
    cells = Cells(None, torch.arange(4.0).view(4, 1))
    with pytest.raises(ValueError, match="scores the embedding of cells"):
        PolicyMasker(width=8).score(cells, Draws(0, 0, torch.arange(2)))
