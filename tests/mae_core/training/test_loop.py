"""The loop: every sample once an epoch, exact resume, memory savers that change nothing, steps skipped when a loss is not finite."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mae_core.data.loader import Batches
from mae_core.draws import Draws
from mae_core.training.loop import Settings, TrainingDiverged, fit, start
from mae_core.training.state import load_checkpoint, save_checkpoint
from mae_core.training.world import World

SETTINGS = Settings(steps=10, batch_size=6, lr=2e-3, ema=0.9, crop=0.6, flip=True, precision="fp32")


@pytest.fixture
def samples(make_raw, make_config):
    """16 of them: an epoch is 2 2/3 batches."""
    return make_raw(16, make_config()).numpy()


def watch(state):
    """The sample ids of every forward pass of ``state``'s model, as a list that grows."""
    seen = []
    state.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].ids.tolist()))
    return seen


def train(state, samples, settings, stop=None):
    """Progress of every step, up to ``stop``."""
    found = []
    for progress in fit(state, samples, settings, report_every=1):
        found.append(progress)
        if state.step == stop:
            break
    return found


def assert_equal(a, b):
    a, b = a.tensors(), b.tensors()
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.mark.parametrize("stop", [1, 5, 8])
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(make_config, samples, tmp_path, stop):
    whole = start(make_config(), SETTINGS)
    ids = watch(whole)
    unbroken = train(whole, samples, SETTINGS)

    first = start(make_config(), SETTINGS)
    seen = watch(first)
    train(first, samples, SETTINGS, stop)
    save_checkpoint(first, tmp_path, "run")
    second = start(make_config(), replace(SETTINGS, seed=99))  # other weights: they are to come from the checkpoint
    assert load_checkpoint(second, tmp_path, "run") == stop
    more = watch(second)
    resumed = train(second, samples, SETTINGS)

    assert_equal(whole, second)
    assert ids == seen + more and len(ids) == 10
    assert [p.loss for p in unbroken[stop:]] == [p.loss for p in resumed]
    assert [p.lr for p in unbroken[stop:]] == [p.lr for p in resumed]


def test_a_finished_run_trains_no_further(make_config, samples):
    state = start(make_config(), SETTINGS)
    train(state, samples, SETTINGS)
    before = state.tensors()
    assert train(state, samples, SETTINGS) == []
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())


@pytest.mark.parametrize(("n", "batch_size"), [(16, 6), (7, 7), (10, 3), (3, 8), (1, 2)])
def test_every_sample_comes_once_an_epoch(n, batch_size):
    batches = Batches(np.zeros((n, 1, 2, 2), np.uint8), batch_size, 5, World(), torch.device("cpu"))
    walk = torch.cat([batches.ids(step) for step in range(4 * n)])
    for epoch in range(len(walk) // n):
        assert sorted(walk[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))
    if n > 6:
        assert not torch.equal(walk[:n], walk[n : 2 * n]), "each epoch is shuffled anew"


@pytest.mark.parametrize("workers", [1, 3])
def test_copies_of_a_sample_in_one_batch_have_names_of_their_own(workers):
    """A split of fewer samples than a batch fills it several times over; copies that are masked alike would teach nothing more."""
    samples = np.arange(5 * 4, dtype=np.uint8).reshape(5, 1, 2, 2)
    ranks = [Batches(samples, 12, 5, World(rank, workers), torch.device("cpu")) for rank in range(workers)]
    for step in range(3):
        ids, named = (torch.cat(parts) for parts in zip(*((b.ids, b.named) for b in (rank(step) for rank in ranks))))
        assert len(set(named.tolist())) == 12 and torch.equal(named % 5, ids)
        assert set(range(5)) <= set(named.tolist()), "the first of each keeps its own"
    enough = Batches(samples, 5, 5, World(), torch.device("cpu"))(1)
    assert torch.equal(enough.named, enough.ids)


@pytest.mark.parametrize("name", ["mask_contrastive", "uniformity"])
def test_a_batch_of_which_samples_are_to_differ_is_no_larger_than_the_split(make_config, samples, name):
    state = start(make_config(objective={name: 0.1}), SETTINGS)
    few = samples[: SETTINGS.batch_size - 1]
    with pytest.raises(
        ValueError,
        match=rf"no more than the {len(few)} of the train split: lower pretrain.batch_size to {len(few)} or less",
    ):
        train(state, few, SETTINGS)
    assert train(state, samples[: SETTINGS.batch_size], SETTINGS, stop=1)


@pytest.mark.parametrize("name", ["invariance", "variance", "covariance"])
def test_means_over_samples_may_count_copies(make_config, samples, name):
    """A series of fifteen has fewer samples than any batch."""
    few = samples[: SETTINGS.batch_size - 1]
    assert train(start(make_config(objective={name: 0.1}), SETTINGS), few, SETTINGS, stop=1)


def test_a_step_may_be_asked_for_in_any_order():
    samples = np.arange(11 * 4, dtype=np.uint8).reshape(11, 1, 2, 2)
    batches = Batches(samples, 4, 5, World(), torch.device("cpu"))
    forwards = {step: batches(step) for step in range(12)}
    for step in (11, 0, 7, 3, 8):
        again = Batches(samples, 4, 5, World(), torch.device("cpu"))(step)
        assert torch.equal(again.ids, forwards[step].ids) and torch.equal(again.raw, forwards[step].raw)
        assert torch.equal(again.raw, torch.from_numpy(samples)[again.ids])


def test_no_samples_are_an_error_that_says_where_to_look():
    with pytest.raises(ValueError, match=r"no training samples.*quarantine\.csv"):
        Batches(np.zeros((0, 1, 2, 2), np.uint8), 4, 5, World(), torch.device("cpu"))


def gradients(config, samples, settings):
    """The gradient of the first step, before it is clipped or applied."""
    state = start(config, settings)
    found = {}

    def keep(optimizer, *_):
        names = {id(p): name for name, p in state.model.named_parameters()}
        found.update({names[id(p)]: p.grad.clone() for g in optimizer.param_groups for p in g["params"]})

    state.optimizer.register_step_pre_hook(keep)
    train(state, samples, replace(settings, clip=0.0), stop=1)
    return found


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 5, 6, 100])
def test_micro_batches_change_no_gradient(make_config, samples, micro_batch):
    expected = gradients(make_config(), samples, SETTINGS)
    found = gradients(make_config(), samples, replace(SETTINGS, micro_batch=micro_batch))
    assert found.keys() == expected.keys() and any(value.abs().max() > 1e-2 for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_no_forward_pass_is_larger_than_a_micro_batch(make_config, samples):
    state = start(make_config(), SETTINGS)
    seen = watch(state)
    train(state, samples, replace(SETTINGS, micro_batch=4), stop=1)
    assert [len(ids) for ids in seen] == [3, 3]


def test_a_sample_is_read_once_and_looked_at_under_several_masks(make_config, samples):
    config = make_config()
    twice = {**config, "masking": {**config["masking"], "looks": 2}}
    settings = replace(SETTINGS, crop=1.0, flip=False)
    state = start(twice, settings)
    seen = watch(state)
    train(state, samples, settings, stop=1)
    assert len(seen) == 2 and seen[0] == seen[1]

    model = start(config, settings).model
    draws = Draws(settings.seed, 0, torch.tensor(seen[0]))
    raw = torch.from_numpy(samples[seen[0]])
    for look in range(2):
        (model(raw, draws._replace(look=look)).total / 2).backward()
    for name, value in gradients(twice, samples, settings).items():
        torch.testing.assert_close(value, dict(model.named_parameters())[name].grad, rtol=1e-4, atol=1e-6, msg=name)
    other = gradients(config, samples, settings)
    assert any((value - other[name]).abs().max() > 1e-3 for name, value in gradients(twice, samples, settings).items())


def test_recomputing_activations_changes_no_gradient(make_config, samples):
    expected = gradients(make_config(), samples, SETTINGS)
    found = gradients(make_config(), samples, replace(SETTINGS, recompute=True))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6, msg=name)


def spoil(state, steps):
    """Makes the loss of these steps not a number."""

    def change(_, inputs, terms):
        return terms._replace(total=terms.total * float("nan")) if inputs[1].step in steps else terms

    state.model.register_forward_hook(change)


def test_a_step_without_a_finite_loss_is_skipped(make_config, samples):
    state = start(make_config(), SETTINGS)
    spoil(state, {2, 3})
    snapshots = []
    for progress in fit(state, samples, SETTINGS, report_every=1):
        snapshots.append((progress, state.tensors()))
    for step in (2, 3):
        before, after = snapshots[step - 1][1], snapshots[step][1]
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert [p.nonfinite_steps for p, _ in snapshots] == [0, 0, 1, 2, 2, 2, 2, 2, 2, 2]
    assert all(torch.isfinite(value).all() for value in snapshots[-1][1].values())
    assert not torch.equal(snapshots[3][1]["model.head.weight"], snapshots[4][1]["model.head.weight"])


def test_too_many_in_a_row_stop_the_run_and_say_what_to_do(make_config, samples):
    settings = replace(SETTINGS, max_nonfinite=3)
    state = start(make_config(), settings)
    spoil(state, {1, 2, 3, 5, 6, 7, 8, 9})
    with pytest.raises(
        TrainingDiverged, match=r"4 steps in a row up to step 8 .*lower pretrain\.lr or set pretrain\.precision"
    ):
        train(state, samples, settings)
    assert state.nonfinite_steps == 7


def test_gradients_are_clipped_to_the_stated_norm(make_config, samples):
    norms = []
    state = start(make_config(), SETTINGS)

    def keep(optimizer, *_):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.stack([g.norm() for g in grads]).norm()))

    state.optimizer.register_step_pre_hook(keep)
    reported = [p.grad_norm for p in train(state, samples, replace(SETTINGS, clip=0.05))]
    assert min(reported) > 0.05, "the norm before clipping is reported"
    assert norms == pytest.approx([0.05] * 10, rel=1e-3)


def test_progress_is_reported_at_the_stated_steps_and_at_the_end(make_config, samples):
    found = list(fit(start(make_config(), SETTINGS), samples, SETTINGS, report_every=4))
    assert [p.step for p in found] == [4, 8, 10]
    last = found[-1]
    assert (last.steps, last.samples, last.epoch, last.eta_s) == (10, 60, 60 / 16, 0.0)
    assert last.samples_per_s > 0 and 0 <= last.data_wait <= 1 and last.lr > 0


def test_the_loss_falls_on_something_that_can_be_learned(make_config):
    config = make_config()
    ramp = np.linspace(0, 255, 8 * 8).reshape(8, 8).astype(np.uint8)
    samples = np.stack([np.roll(ramp, k, 1) for k in range(8)])[:, None].repeat(3, 1)
    settings = Settings(steps=80, batch_size=8, lr=5e-3, precision="fp32")
    losses = [p.loss for p in fit(start(config, settings), samples, settings, report_every=1)]
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])


def test_the_seed_decides_everything(make_config, samples):
    def losses(seed):
        settings = replace(SETTINGS, seed=seed)
        return [p.loss for p in train(start(make_config(), settings), samples, settings)]

    assert losses(0) == losses(0) != losses(1)
